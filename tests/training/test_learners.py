"""The two learners derive each other: the same weights, batches and optimiser move alike in torch and in Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xaibench.errors import InputError
from xaibench.training.keras_learner import KerasLearner
from xaibench.training.learner import Normalisation
from xaibench.training.objectives import Forward, Reconstruction, Standard
from xaibench.training.recipe import Recipe
from xaibench.training.torch_learner import TorchLearner

OPTIMIZERS = [
    {"name": "sgd", "learning_rate": 0.1},
    {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
    {"name": "adam", "learning_rate": 0.01, "weight_decay": 0.01},
    {"name": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
    {"name": "rmsprop", "learning_rate": 0.01},
]


def recipe(**changes: Any) -> Recipe:
    return Recipe.of({"name": "tiny", "data": "digits", "architecture": {"name": "mlp"}} | changes)


def twins() -> tuple[nn.Module, Any]:
    """The same convolutional net, twice; Keras's ends in softmax."""
    from keras import Input, Sequential, layers

    model = Sequential(
        [
            Input((6, 6, 2)),
            layers.Conv2D(3, 3, activation="relu", padding="same", name="conv"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(4, activation="softmax", name="head"),
        ]
    )
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)
    )
    state = module.state_dict()
    kernels = [state["0.weight"].permute(2, 3, 1, 0), state["0.bias"], state["4.weight"].T, state["4.bias"]]
    model.set_weights([kernel.numpy() for kernel in kernels])
    return module, model


def batches(count: int, size: int = 8) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.rand(size, 2, 6, 6, generator=generator), torch.randint(0, 4, (size,), generator=generator))
        for _ in range(count)
    ]


NORMALISE = Normalisation(torch.tensor([0.4, 0.6]).reshape(2, 1, 1), torch.tensor([0.2, 0.3]).reshape(2, 1, 1))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: "-".join(map(str, o.values())))
def test_torch_and_keras_move_alike(optimizer: dict[str, Any]) -> None:
    module, model = twins()
    plan = recipe(optimizer=optimizer, clip_norm=0.5, ema=0.9)
    learners = TorchLearner(module, plan, NORMALISE), KerasLearner(model, plan, NORMALISE)
    objective = Standard(label_smoothing=0.1)
    for batch in batches(5):
        results = [learner.step([batch], objective, rate=plan.optimizer.learning_rate, seed=0) for learner in learners]
        assert results[0].loss == pytest.approx(results[1].loss, rel=2e-4)
        assert results[0].correct == results[1].correct
    x = batches(6)[-1][0]
    torch.testing.assert_close(learners[0].logits(x), learners[1].logits(x), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        module.state_dict()["0.weight"].permute(2, 3, 1, 0).contiguous(),
        torch.tensor(model.layers[0].kernel.numpy()),
        rtol=2e-3,
        atol=2e-4,
    )


def make(framework: str, plan: Recipe) -> TorchLearner | KerasLearner:
    module, model = twins()
    return TorchLearner(module, plan, NORMALISE) if framework == "torch" else KerasLearner(model, plan, NORMALISE)


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_accumulated_batches_equal_one_large_batch(framework: str) -> None:
    plan = recipe(optimizer={"name": "sgd", "learning_rate": 0.5})
    parts = batches(2)
    whole = [(torch.cat([parts[0][0], parts[1][0]]), torch.cat([parts[0][1], parts[1][1]]))]
    outcomes = []
    for given in (parts, whole):
        learner = make(framework, plan)
        learner.step(given, Standard(), rate=0.5, seed=0)
        outcomes.append(learner.logits(parts[0][0]))
    torch.testing.assert_close(*outcomes, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_the_average_follows_its_recurrence(framework: str) -> None:
    plan = recipe(optimizer={"name": "sgd", "learning_rate": 0.5}, ema=0.25)
    learner, live = make(framework, plan), make(framework, plan.model_copy(update={"ema": None}))
    average = learner.weights()
    for update, batch in enumerate(batches(4), start=1):
        learner.step([batch], Standard(), rate=0.5, seed=0)
        live.step([batch], Standard(), rate=0.5, seed=0)
        decay = min(0.25, (1 + update) / (10 + update))
        average = {
            k: decay * average[k] + (1 - decay) * v if v.is_floating_point() else v for k, v in live.weights().items()
        }
    for key, value in learner.weights().items():
        torch.testing.assert_close(value, average[key], rtol=1e-5, atol=1e-6)
    before = {k: v for k, v in learner.state().items() if k.startswith("weights")}
    learner.logits(batches(1)[0][0])
    assert all(torch.equal(v, learner.state()[k]) for k, v in before.items())


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_frozen_weights_stay_and_others_move(framework: str) -> None:
    pattern = {"torch": "0.*", "keras": "*conv/*"}[framework]
    learner = make(framework, recipe(freeze=[pattern], optimizer={"name": "sgd", "weight_decay": 0.1}))
    before = learner.weights()
    learner.step(batches(1), Standard(), rate=0.5, seed=0)
    moved = [not torch.equal(before[k], v) for k, v in learner.weights().items()]
    assert moved == [False, False, True, True]
    with pytest.raises(InputError, match="match"):
        make(framework, recipe(freeze=["nothing*"]))
    with pytest.raises(InputError, match="leave something"):
        make(framework, recipe(freeze=["*"]))


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_batch_norm_keeps_its_statistics_where_it_is_frozen(framework: str, frozen: bool, tmp_path: Path) -> None:
    learner: TorchLearner | KerasLearner
    if framework == "torch":
        module = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 4))
        learner = TorchLearner(module, recipe(freeze=["0.*"] if frozen else []), Normalisation())
    else:
        from keras import Input, Sequential, layers

        model = Sequential(
            [Input((6, 6, 2)), layers.BatchNormalization(name="norm"), layers.Flatten(), layers.Dense(4)]
        )
        learner = KerasLearner(model, recipe(freeze=["*norm/*"] if frozen else []), Normalisation())
    before = learner.weights()
    learner.step(batches(1), Standard(), rate=0.5, seed=0)
    # In both: scale, shift, running mean, running variance come first, though not in the same order as the rest.
    mean = {"torch": "0.running_mean", "keras": "2"}[framework]
    assert torch.equal(before[mean], learner.weights()[mean]) == frozen
    if framework == "keras":
        from keras.saving import load_model

        learner.save(tmp_path / "model.keras")
        assert all(layer.trainable for layer in load_model(tmp_path / "model.keras").layers)


def test_dropout_is_a_function_of_the_seed_and_leaves_the_process_alone() -> None:
    def losses(seed: int) -> float:
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(72, 4))
        return TorchLearner(module, recipe(), Normalisation()).step(batches(1), Standard(), rate=0.1, seed=seed).loss

    torch.manual_seed(5)
    expected = torch.rand(1)
    assert losses(1) == losses(1) != losses(2)
    torch.manual_seed(5)
    learner = TorchLearner(nn.Sequential(nn.Flatten(), nn.Linear(72, 4)), recipe(), Normalisation())
    torch.manual_seed(5)
    learner.step(batches(1), Standard(), rate=0.1, seed=3)
    assert torch.equal(torch.rand(1), expected)


def test_reconstruction_adds_the_weighted_error() -> None:
    x, y = batches(1)[0]
    logits = torch.randn(8, 4)
    result = Reconstruction(weight=3.0).loss(cast(Forward, lambda _: (logits, x + 0.5)), x, x, y)
    assert float(result.loss) == pytest.approx(float(F.cross_entropy(logits, y)) + 3 * 0.25, rel=1e-5)


def test_a_keras_autoencoder_moves_as_tensorflow_alone_would_move_it() -> None:
    import tensorflow as tf

    from xaibench.architectures.keras_networks import KerasAutoencoder

    x, y = torch.rand(8, 2, 3, 4), torch.arange(8) % 3
    model = KerasAutoencoder(input_shape=(2, 3, 4), classes=3, hidden=(8,), code=4).build()
    with tf.GradientTape() as tape:
        probabilities, made = model(x.permute(0, 2, 3, 1).numpy())
        error = tf.reduce_mean((made - x.permute(0, 2, 3, 1).numpy()) ** 2)
        loss = 30.0 * error - tf.reduce_mean(tf.math.log(tf.gather(probabilities, y.numpy(), axis=1, batch_dims=1)))
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    expected = [v.numpy() - 0.1 * g.numpy() for v, g in zip(model.trainable_variables, gradients, strict=True)]
    learner = KerasLearner(model, recipe(optimizer={"name": "sgd"}), Normalisation())
    result = learner.step([(x, y)], Reconstruction(weight=30.0), rate=0.1, seed=0)
    assert result.loss / 8 == pytest.approx(float(loss), rel=1e-5)
    for variable, value in zip(model.trainable_variables, expected, strict=True):
        torch.testing.assert_close(torch.tensor(variable.numpy()), torch.tensor(value), rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes in fp16")
def test_half_precision_is_refused_without_a_gpu() -> None:
    with pytest.raises(InputError, match="without a GPU"):
        make("torch", recipe(precision="fp16"))


def test_half_precision_is_refused_for_keras() -> None:
    with pytest.raises(InputError, match="precision"):
        make("keras", recipe(precision="bf16"))
