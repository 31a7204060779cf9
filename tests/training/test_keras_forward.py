"""What objectives see of a Keras model, against the same network in torch, and against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xaibench.errors import InputError
from xaibench.rng import SampleRng
from xaibench.threats import Linf
from xaibench.training.keras_learner import KerasLearner
from xaibench.training.learner import Normalisation
from xaibench.training.objectives import Forward, TrainingLoss
from xaibench.training.objectives.ascent import SummedCrossEntropy, ascended
from xaibench.training.recipe import Recipe
from xaibench.training.torch_learner import TorchLearner

Loss = Callable[[Tensor], Tensor]
Step = Callable[[Forward, Tensor, Tensor], Tensor]
Y = torch.arange(6) % 3
STATISTICS = Normalisation(torch.tensor([0.4, 0.6]).reshape(2, 1, 1), torch.tensor([0.2, 0.3]).reshape(2, 1, 1))


def recipe(**changes: Any) -> Recipe:
    base = {"name": "tiny", "data": "digits", "architecture": {"name": "mlp"}, "optimizer": {"name": "sgd"}}
    return Recipe.of(base | changes)


def image_twins(**changes: Any) -> tuple[TorchLearner, KerasLearner]:
    """A convolution, batch norm, a smooth activation and a head of three classes; Keras's ends in softmax."""
    from keras import Input, Sequential, layers

    model = Sequential(
        [
            Input((5, 5, 2)),
            layers.Conv2D(3, 3, padding="same"),
            layers.BatchNormalization(epsilon=1e-5, momentum=0.5),
            layers.Activation("softplus"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.BatchNorm2d(3, momentum=0.5),
        nn.Softplus(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3, 3),
    )
    state = {name: value.detach() for name, value in module.state_dict().items()}
    model.layers[0].set_weights([state["0.weight"].permute(2, 3, 1, 0).numpy(), state["0.bias"].numpy()])
    model.layers[4].set_weights([state["5.weight"].T.numpy(), state["5.bias"].numpy()])
    plan = recipe(**changes)
    return TorchLearner(module, plan, STATISTICS), KerasLearner(model, plan, STATISTICS)


class TextNet(nn.Module):
    """Embedding, a convolution over the words, the mean of its softplus, a single unit."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.conv, self.head = nn.Embedding(7, 4), nn.Conv1d(4, 3, 2), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.head(F.softplus(self.conv(self.embedding(x).transpose(1, 2))).mean(2))
        return z


def text_twins() -> tuple[TorchLearner, KerasLearner]:
    from keras import Input, Sequential, layers

    torch.manual_seed(0)
    module = TextNet()
    model = Sequential(
        [
            Input((5,), dtype="int32"),
            layers.Embedding(7, 4, mask_zero=False),
            layers.Conv1D(3, 2, activation="softplus"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    state = module.state_dict()
    values = [state["embedding.weight"], state["conv.weight"].permute(2, 1, 0), state["conv.bias"]]
    values += [state["head.weight"].T, state["head.bias"]]
    model.set_weights([value.numpy() for value in values])
    options: dict[str, Any] = {"task": "text", "input_shape": (5,)}
    return (
        TorchLearner(module, recipe(), Normalisation(), **options),
        KerasLearner(model, recipe(), Normalisation(), **options),
    )


def images() -> Tensor:
    return torch.rand((6, 2, 5, 5), generator=torch.Generator().manual_seed(1))


def words() -> Tensor:
    return torch.randint(0, 7, (6, 5), generator=torch.Generator().manual_seed(2))


def shift() -> Tensor:
    return 0.1 * torch.randn((6, 5, 4), generator=torch.Generator().manual_seed(3))


class Probe:
    """An objective that calls what it is given, keeps what that returns, and has its own scalar as the loss."""

    name, adversarial = "probe", False

    def __init__(self, step: Step) -> None:
        self._step = step
        self.seen: list[Tensor] = []

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        return x

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        result = self._step(forward, x, y)
        self.seen.append(result.detach().clone())
        loss = result.square().sum() if result.requires_grad else 0 * forward(x)[0].sum()
        return TrainingLoss(loss, forward.evaluate(x))


def compare(learners: tuple[TorchLearner, KerasLearner], x: Tensor, y: Tensor, step: Step, rate: float = 0.05) -> None:
    """Both see the same values, and one step moves both to the same logits."""
    seen = []
    for learner in learners:
        probe = Probe(step)
        learner.step([(x, y)], probe, rate=rate, seed=0)
        seen.append(probe.seen[0])
    torch.testing.assert_close(seen[0], seen[1], rtol=2e-4, atol=1e-5)
    torch.testing.assert_close(learners[0].logits(x), learners[1].logits(x), rtol=1e-3, atol=1e-4)


def kl(logits: Tensor) -> Tensor:
    uniform = torch.full_like(logits, 1 / logits.shape[1])
    return F.kl_div(logits.log_softmax(1), uniform, reduction="sum")


LOSSES = {"cross entropy": SummedCrossEntropy(Y), "divergence": kl}


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_input_gradient_is_that_of_torch(loss: Loss, mode: str) -> None:
    compare(image_twins(attack_mode=mode), images(), Y, lambda forward, x, y: forward.input_gradient(x, loss))


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_climb_in_one_graph_ends_where_single_steps_do(mode: str) -> None:
    """Batch norm learns the same on the way where attacks see it in training mode."""
    x, threat, ends, learners = images(), Linf(0.1), [], []
    unknown: Loss = lambda logits: F.cross_entropy(logits, Y, reduction="sum")  # noqa: E731  # the same by other means
    for loss in (SummedCrossEntropy(Y), unknown):
        _, learner = image_twins(attack_mode=mode)
        forward = learner._forward(SampleRng(torch.arange(6), 0, "test"), 1.0, threat)
        start = threat.sample(forward.rng, x, forward.bounds)
        ends.append(ascended(forward, x, loss, start=start, steps=4, step_size=0.3))
        learners.append(learner)
    torch.testing.assert_close(*ends, rtol=0, atol=1e-6)
    assert 0 < float((ends[0] - x).abs().max()) <= 0.1 + 1e-6
    torch.testing.assert_close(*(learner.weights() for learner in learners))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_differentiable_input_gradient_moves_the_weights_as_in_torch(loss: Loss) -> None:
    def step(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        return forward.input_gradient(x, loss, differentiable=True)

    compare(image_twins(), images(), Y, step, rate=0.5)


def test_the_gradient_of_a_gradient_is_that_of_finite_differences() -> None:
    _, learner = image_twins()
    x, weight, found = images(), learner._moving[0], []

    def penalty() -> Tensor:
        forward = learner._forward(SampleRng(torch.arange(6), 0, "test"), 1.0, None)
        return forward.input_gradient(x, SummedCrossEntropy(Y), differentiable=True).double().square().sum()

    (gradient,) = torch.autograd.grad(penalty(), learner._leaves[0])
    kept, direction = weight.numpy().copy(), torch.randn(gradient.shape, generator=torch.Generator().manual_seed(0))
    for sign in (1, -1):
        weight.assign(kept + sign * 1e-2 * direction.numpy())
        found.append(float(penalty().detach()))
    assert float((gradient * direction).sum()) == pytest.approx((found[0] - found[1]) / 2e-2, rel=5e-3)


def test_outputs_are_differentiable_towards_the_input_and_weights_at_once() -> None:
    def step(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        point = x.clone().requires_grad_()
        logits = forward(point)[0]
        (gradient,) = torch.autograd.grad(logits.square().sum(), point, retain_graph=True)
        return torch.cat([logits, gradient.flatten(1)], 1)

    compare(image_twins(), images(), Y, step)


def test_a_gradient_taken_on_the_side_adds_nothing_to_that_of_the_weights() -> None:
    outcomes = []
    for twice in (True, False):
        _, learner = image_twins()

        def step(forward: Forward, x: Tensor, y: Tensor, twice: bool = twice) -> Tensor:
            point = x.clone().requires_grad_()
            logits = forward(point)[0]
            if twice:
                torch.autograd.grad(logits.sum(), point, retain_graph=True)
            return logits

        learner.step([(images(), Y)], Probe(step), rate=0.5, seed=0)
        outcomes.append(learner.logits(images()))
    assert torch.equal(*outcomes)


def test_shifted_embeddings_are_those_of_torch() -> None:
    def outputs(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        moved = shift().requires_grad_()
        logits = forward(x, shift=moved)[0]
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, y), moved, retain_graph=True)
        return torch.cat([logits, gradient.flatten(1)], 1)

    def fused(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        return forward.input_gradient(x, SummedCrossEntropy(y), shift=shift())

    def double(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        return forward.input_gradient(x, kl, shift=shift(), differentiable=True)

    for step in (outputs, fused, double, lambda forward, x, _: forward.embed(x)):
        compare(text_twins(), words(), Y % 2, step, rate=0.5)


def test_a_shift_is_added_to_the_embeddings() -> None:
    """Shifting by the difference of two words' embeddings reads one word as the other."""
    for learner in text_twins():
        seen: list[Tensor] = []

        def step(forward: Forward, x: Tensor, y: Tensor, seen: list[Tensor] = seen) -> Tensor:
            other = (x + 1) % 7
            seen.extend([forward(x, shift=forward.embed(other) - forward.embed(x))[0], forward(other)[0]])
            return seen[0]

        learner.step([(words(), Y % 2)], Probe(step), rate=0.0, seed=0)
        torch.testing.assert_close(*seen)


def test_weights_ascend_as_in_torch_and_come_back() -> None:
    def step(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        forward.ascend_weights(lambda: F.cross_entropy(forward(x)[0], y), 0.1)
        return forward(x)[0]

    compare(image_twins(), images(), Y, step)
    for learner in image_twins():
        before = learner.weights()

        def fail(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
            forward.ascend_weights(lambda: F.cross_entropy(forward(x)[0], y), 0.1)
            raise RuntimeError("on the way")

        with pytest.raises(RuntimeError, match="on the way"):
            learner.step([(images(), Y)], Probe(fail), rate=0.5, seed=0)
        kernels = [k for k, v in learner.weights().items() if v.ndim >= 2]
        assert len(kernels) == 2
        assert all(torch.equal(learner.weights()[k], before[k]) for k in kernels)


def test_an_ascent_moves_each_kernel_by_a_share_of_its_norm() -> None:
    _, learner = image_twins()
    moved: list[Tensor] = []
    before = [v for v in learner.weights().values() if v.ndim >= 2]

    def step(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        forward.ascend_weights(lambda: F.cross_entropy(forward(x)[0], y), 0.1)
        moved.extend(v for v in learner.weights().values() if v.ndim >= 2)
        return forward(x)[0]

    learner.step([(images(), Y)], Probe(step), rate=0.0, seed=0)
    for old, new in zip(before, moved, strict=True):
        assert float((new - old).norm()) == pytest.approx(0.1 * float(old.norm()), rel=1e-4)


def test_the_classifier_of_a_learner_gives_the_logits_before_the_softmax() -> None:
    for learner in (*image_twins(), *text_twins()):
        x = images() if learner.classifier.task == "image" else words()
        torch.testing.assert_close(learner.classifier.logits(x).detach(), learner.logits(x), rtol=1e-4, atol=1e-5)


def test_dropout_is_a_function_of_the_seed_in_both_passes() -> None:
    """The gradient belongs to the very units that the pass kept: of those dropped it is zero."""
    from keras import Input, Sequential, layers

    model = Sequential([Input((40,)), layers.Dropout(0.5), layers.Dense(1)])
    learner = KerasLearner(model, recipe(), Normalisation(), task="tabular")
    x = torch.ones(2, 40)
    kernel = torch.tensor(model.layers[1].kernel.numpy())

    def seen(seed: int) -> tuple[Tensor, Tensor]:
        found: list[Tensor] = []

        def step(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
            point = x.clone().requires_grad_()
            logits = forward(point)[0]
            found.extend([logits.detach(), *torch.autograd.grad(logits[:, 1].sum(), point, retain_graph=True)])
            return logits

        learner.step([(x, torch.zeros(2, dtype=torch.int64))], Probe(step), rate=0.0, seed=seed)
        return found[0], found[1]

    logits, gradient = seen(1)
    assert torch.equal(logits, seen(1)[0])
    assert not torch.equal(logits, seen(2)[0])
    torch.testing.assert_close(gradient.sum(1), logits[:, 1])  # of a linear map without a bias, at ones
    assert (gradient == 0).any()
    assert torch.equal(gradient != 0, torch.isclose(gradient, kernel[:, 0]) & (gradient != 0))


def test_a_shift_needs_an_embedding() -> None:
    for learner in image_twins():

        def step(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
            return forward(x, shift=shift())[0]

        with pytest.raises(InputError, match="Embedding"):
            learner.step([(images(), Y)], Probe(step), rate=0.0, seed=0)
