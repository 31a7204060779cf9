"""TracIn by closed form against autograd, hand-made gradients and planted label noise; on torch and Keras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import inputs_for, keras_cnn, keras_token_net, linear, table_mlp, token_net, torch_cnn
from torch import Tensor, nn
from torch.nn import functional as F

from xaibench.classifiers import TorchClassifier
from xaibench.data import Data, load_data
from xaibench.data.dataset import data_digest
from xaibench.errors import InputError, UnsupportedError
from xaibench.examples import Checkpoint, kept_checkpoints, self_influence, tracin
from xaibench.metrics import area_under_curve
from xaibench.training import Recipe, train
from xaibench.types import Bounds, Classifier, Task
from xaibench.zoo import load_model


def as_data(x: Tensor, y: Tensor, classes: int, task: Task = "tabular") -> Data:
    names = tuple(map(str, range(classes)))
    digest = data_digest(x, y, names)
    return Data("made", "train", task, x, y, names, torch.arange(len(y)), digest, Bounds(-9.0, 9.0))


def random_data(model: Classifier, n: int, seed: int) -> Data:
    x = inputs_for(model, n, seed)
    y = torch.randint(0, model.num_classes, (n,), generator=torch.Generator().manual_seed(seed))
    return as_data(x, y, model.num_classes, model.task)


def naive(model: TorchClassifier, layer: nn.Linear, train: Data, test: Data) -> Tensor:
    """Dot products of per-sample gradients by autograd, one sample at a time."""

    def gradients(data: Data) -> Tensor:
        rows = []
        for x, y in zip(data.inputs, data.labels, strict=True):
            assert isinstance(x, Tensor)
            loss = F.cross_entropy(model.module.eval()(model._interface.normalise(x[None])), y[None])
            found = torch.autograd.grad(loss, list(layer.parameters()))
            rows.append(torch.cat([part.flatten() for part in found]))
        return torch.stack(rows).double()

    return gradients(test) @ gradients(train).T


@pytest.mark.parametrize(("make", "name"), [(torch_cnn, "7"), (table_mlp, "2"), (token_net, "head")])
def test_closed_form_equals_autograd(make: object, name: str) -> None:
    models = [make(), make()]  # type: ignore[operator]
    with torch.no_grad():
        models[1].module.get_submodule(name).weight.mul_(1.5)
    train, test = random_data(models[0], 9, 1), random_data(models[0], 4, 2)
    found = tracin([Checkpoint(models[0], 0.1), Checkpoint(models[1], 0.03)], train, test)
    rates = (0.1, 0.03)
    expected = sum(
        rate * naive(model, model.module.get_submodule(name), train, test)
        for rate, model in zip(rates, models, strict=True)
    )
    assert found.layers == (name, name)
    torch.testing.assert_close(found.scores, expected, rtol=1e-4, atol=1e-7)
    own = tracin([Checkpoint(models[0], 0.1)], train, train).scores.diagonal()
    torch.testing.assert_close(self_influence([Checkpoint(models[0], 0.1)], train), own)


def test_softmax_regression_by_hand() -> None:
    """(p - y)(p' - y') (x x' + 1), with probabilities of one half."""
    model = linear(torch.zeros(2, 2), torch.zeros(2), Bounds(-9.0, 9.0))
    train = as_data(torch.tensor([[1.0, 2.0], [0.0, 3.0]]), torch.tensor([0, 1]), 2)
    found = tracin([Checkpoint(model, 2.0)], train, torch.tensor([[4.0, 1.0]]), torch.tensor([0]))
    assert found.scores.tolist() == [[2.0 * 0.5 * (4 + 2 + 1), -2.0 * 0.5 * (3 + 1)]]
    assert found.proponents(1).tolist() == [[0]]
    assert found.opponents(1).tolist() == [[1]]


def test_a_step_takes_away_the_loss_that_the_score_says() -> None:
    torch.manual_seed(0)
    model, rate = linear(torch.randn(3, 4).double(), torch.randn(3).double(), Bounds(-9.0, 9.0)), 1e-6
    assert isinstance(model, TorchClassifier)
    data = as_data(torch.randn(2, 4, dtype=torch.float64), torch.tensor([2, 0]), 3)
    assert isinstance(data.inputs, Tensor)
    score = float(tracin([Checkpoint(model, rate)], data.take([0]), data.take([1])).scores)

    def loss(row: int) -> Tensor:
        return F.cross_entropy(model.module(data.inputs[row][None]), data.labels[row][None])  # type: ignore[index]

    before = loss(1).item()
    gradient = torch.autograd.grad(loss(0), list(model.module.parameters()))
    with torch.no_grad():
        for value, slope in zip(model.module.parameters(), gradient, strict=True):
            value.sub_(rate * slope)
    assert before - loss(1).item() == pytest.approx(score, rel=1e-4)


def test_one_unit_has_one_gradient() -> None:
    torch.manual_seed(1)
    layer = nn.Linear(3, 1)
    model = TorchClassifier(layer, task="tabular", input_shape=(3,))
    data = as_data(torch.randn(5, 3), torch.tensor([0, 1, 1, 0, 1]), 2)
    assert isinstance(data.inputs, Tensor)
    rows = []
    for x, y in zip(data.inputs, data.labels, strict=True):
        loss = F.binary_cross_entropy_with_logits(layer(x), y[None].float())
        rows.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(layer.parameters()))]))
    stacked = torch.stack(rows).double()
    torch.testing.assert_close(
        tracin([Checkpoint(model, 1.0)], data, data).scores, stacked @ stacked.T, rtol=1e-4, atol=1e-7
    )


@pytest.mark.parametrize("make", [keras_cnn, keras_token_net])
def test_keras_equals_its_gradient_tape(make: object) -> None:
    import keras
    import tensorflow as tf

    model = make()  # type: ignore[operator]
    data = random_data(model, 5, 3)
    assert isinstance(data.inputs, Tensor)
    dense = [layer for layer in model.model.layers if isinstance(layer, keras.layers.Dense)][-1]
    rows = []
    for x, y in zip(data.inputs, data.labels.tolist(), strict=True):
        native = x.permute(1, 2, 0) if x.ndim == 3 else x
        with tf.GradientTape() as tape:
            loss = keras.losses.sparse_categorical_crossentropy(
                np.array([y]), model.model(native[None].numpy(), training=False)
            )
        found = tape.gradient(loss, [dense.kernel.value, dense.bias.value])
        rows.append(torch.cat([torch.tensor(part.numpy()).flatten() for part in found]))
    stacked = torch.stack(rows).double()
    found = tracin([Checkpoint(model, 1.0)], data, data)
    torch.testing.assert_close(found.scores, stacked @ stacked.T, rtol=1e-3, atol=1e-6)


def trained(data: Data) -> list[Checkpoint]:
    """Softmax regression of digits by gradient descent, with checkpoints on the way."""
    assert isinstance(data.inputs, Tensor)
    module, run = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), []
    torch.nn.init.zeros_(module[1].weight)  # type: ignore[arg-type]
    for step in range(40):
        loss = F.cross_entropy(module(data.inputs), data.labels)
        module.zero_grad()
        loss.backward()
        with torch.no_grad():
            for value in module.parameters():
                value.sub_(0.5 * value.grad)  # type: ignore[operator]
        if step in (4, 14, 39):
            copy = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
            copy.load_state_dict(module.state_dict())
            run.append(Checkpoint(TorchClassifier(copy, input_shape=(1, 8, 8)), 0.5))
    return run


def test_planted_label_noise_is_found() -> None:
    clean = load_data("digits", "train", n=400)
    wrong = torch.arange(0, 400, 10)
    labels = clean.labels.clone()
    labels[wrong] = (labels[wrong] + 3) % 10
    data = as_data(clean.inputs, labels, 10, "image")  # type: ignore[arg-type]
    run = trained(data)
    noisy = torch.zeros(400, dtype=torch.int64)
    noisy[wrong] = 1
    area = area_under_curve(self_influence(run, data), noisy)
    assert area > 0.95, area


def test_a_mislabelled_sample_is_the_strongest_opponent_of_its_true_label() -> None:
    clean = load_data("digits", "train", n=300)
    labels = clean.labels.clone()
    labels[7] = (labels[7] + 1) % 10
    data = as_data(clean.inputs, labels, 10, "image")  # type: ignore[arg-type]
    found = tracin(trained(data), data, clean.take([7]))
    assert found.opponents(1).item() == 7
    assert set(labels[found.proponents(3)[0]].tolist()) == {int(clean.labels[7])}


@pytest.mark.parametrize("architecture", ["small_cnn", "keras_mlp"])
def test_a_training_keeps_its_checkpoints(architecture: str, tmp_path: Path) -> None:
    recipe = Recipe.of(
        {
            "name": "tiny",
            "data": "digits",
            "n": 200,
            "architecture": {"name": architecture},
            "epochs": 3,
            "batch_size": 64,
            "validation": 0,
            "schedule": {"name": "piecewise", "milestones": [0.5], "factor": 0.1},
            "optimizer": {"name": "sgd", "learning_rate": 0.1},
        }
    )
    folder = train(recipe, out=tmp_path / "tiny", keep_checkpoints=True)
    run = kept_checkpoints(folder)
    assert [checkpoint.learning_rate for checkpoint in run] == pytest.approx([0.1, 0.01, 0.01])
    assert run[-1].model.digest == load_model(folder).digest != run[0].model.digest
    assert [checkpoint.learning_rate for checkpoint in kept_checkpoints(folder, every=2)] == pytest.approx([0.1, 0.01])
    data = load_data("digits", "train", n=20)
    single = [tracin([checkpoint], data, data).scores for checkpoint in run]
    torch.testing.assert_close(tracin(run, data, data).scores, sum(single))
    train(recipe, out=folder)
    with pytest.raises(InputError, match="trained with keep_checkpoints"):
        kept_checkpoints(folder)


def test_labels_default_to_what_is_predicted() -> None:
    model = table_mlp()
    train = random_data(model, 4, 1)
    x = inputs_for(model, 3, 2)
    run = [Checkpoint(model, 1.0)]
    assert torch.equal(tracin(run, train, x).scores, tracin(run, train, x, model.predict(x)).scores)


def test_bad_input_is_refused() -> None:
    model = table_mlp()
    train = random_data(model, 4, 1)
    run = [Checkpoint(model, 1.0)]
    with pytest.raises(InputError, match="at least one checkpoint"):
        tracin([], train, train)
    with pytest.raises(InputError, match="learning rate > 0"):
        Checkpoint(model, 0.0)
    with pytest.raises(InputError, match=r"labels in 0\.\.2"):
        tracin(run, train, train, torch.full((4,), 3))
    with pytest.raises(InputError, match="as 4 class indices"):
        tracin(run, train, train, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(InputError, match="1 <= k <= 4"):
        tracin(run, train, train).opponents(5)
    convolutional = nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten())
    other = TorchClassifier(convolutional, input_shape=(1, 8, 8))
    with pytest.raises(UnsupportedError, match="dense layer"):
        self_influence([Checkpoint(other, 1.0)], as_data(torch.rand(2, 1, 8, 8), torch.zeros(2).long(), 3, "image"))
