"""FGSM and PGD against closed forms on linear models, and against Foolbox."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize
from small_models import inputs_for, linear, torch_cnn
from torch import Tensor

from xaibench.attacks import FGSM, PGD
from xaibench.errors import InputError
from xaibench.threats import L0, L1, L2, Linf, Threat
from xaibench.types import Classifier

foolbox_warns = pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")  # of its own old imports
BALLS = [Linf(0.03), Linf(0.1), L2(0.1), L2(0.3), L1(0.3), L1(0.6), L0(1)]


def _linear_task(d: int = 12, n: int = 200) -> tuple[Classifier, Tensor, Tensor, Tensor]:
    """A random linear model of two classes, inputs, their labels, and the slope of the margin against each label."""
    generator = torch.Generator().manual_seed(d)
    slope = torch.randn(d, generator=generator)
    model = linear(torch.stack([torch.zeros(d), slope]), torch.stack([torch.tensor(0.0), -slope.sum() / 2]))
    x = torch.rand(n, d, generator=generator)
    y = model.predict(x)
    return model, x, y, torch.where(y[:, None] == 0, slope, -slope)


def _best_gain(ball: Threat, slope: np.ndarray, x: np.ndarray) -> float:
    """The most that a linear function can rise within ball and box, from the literature's closed forms or a solver."""
    room = np.where(slope > 0, 1 - x, x)
    rate = np.abs(slope)
    if ball.norm == "linf":
        return float((rate * np.minimum(room, ball.eps)).sum())
    if ball.norm == "l0":
        return float(np.sort(rate * room)[-int(ball.eps) :].sum())
    if ball.norm == "l1":
        found = optimize.linprog(-rate, A_ub=np.ones((1, len(x))), b_ub=[ball.eps], bounds=[(0, r) for r in room])
        return -float(found.fun)
    # Moves are min(t * rate, room) for the multiplier t that spends the whole radius.
    if np.linalg.norm(room) <= ball.eps:
        return float((rate * room).sum())
    t = optimize.brentq(lambda t: np.linalg.norm(np.minimum(t * rate, room)) - ball.eps, 0, 1e4, xtol=1e-13)
    return float((rate * np.minimum(t * rate, room)).sum())


@pytest.mark.parametrize("ball", BALLS, ids=repr)
def test_pgd_breaks_a_linear_model_exactly_where_it_can_be_broken(ball: Threat) -> None:
    model, x, y, slope = _linear_task()
    logits = model.logits(x)
    margin = (logits.gather(1, 1 - y[:, None]) - logits.gather(1, y[:, None])).squeeze(1).detach().numpy()
    gain = np.array([_best_gain(ball, s, row) for s, row in zip(slope.numpy(), x.numpy(), strict=True)])
    broken = (model.predict(PGD(steps=60, random_start=False)(model, x, y, ball)) != y).numpy()
    # A success beyond the optimum would be a false claim; a miss near it is the price of finite steps.
    slack = 0.01 * gain.max()
    assert not broken[margin + gain < 0].any()
    assert broken[margin + gain > slack].all()
    assert 20 < broken.sum() < 190


@pytest.mark.parametrize("ball", [Linf(0.05), L2(0.2), L1(0.3)], ids=repr)
def test_fgsm_takes_the_best_step_on_a_linear_model(ball: Threat) -> None:
    model, x, y, slope = _linear_task()
    x = 0.5 + (x - 0.5) * 0.5
    y = model.predict(x)
    found = FGSM()(model, x, y, ball)
    broken = model.predict(found) != y
    assert 10 < int(broken.sum()) < 190
    gain = ((found - x) * slope).sum(dim=1)[broken]
    best = [_best_gain(ball, s, row) for s, row in zip(slope[broken].numpy(), x[broken].numpy(), strict=True)]
    assert gain.tolist() == pytest.approx(best, rel=1e-4)


@foolbox_warns
def test_fgsm_agrees_with_foolbox() -> None:
    model, x, y, foolbox_model, foolbox = _foolbox_task()
    for eps in (0.01, 0.03, 0.1):
        _, reference, success = foolbox.attacks.FGSM()(foolbox_model, x, y, epsilons=eps)
        found = FGSM()(model, x, y, Linf(eps))
        assert torch.equal(model.predict(found) != y, success)
        torch.testing.assert_close(found[success], reference[success], rtol=0, atol=2e-6)
        assert torch.equal(found[~success], x[~success])
    assert int(success.sum()) > 5


@foolbox_warns
@pytest.mark.parametrize(
    ("name", "ball", "step"),
    [("LinfPGD", Linf(0.03), 0.125), ("L2PGD", L2(0.3), 0.125)],
)
def test_pgd_is_no_weaker_than_foolbox(name: str, ball: Threat, step: float) -> None:
    model, x, y, foolbox_model, foolbox = _foolbox_task()
    torch.manual_seed(0)
    reference = getattr(foolbox.attacks, name)(steps=20, rel_stepsize=step, random_start=False)
    _, _, success = reference(foolbox_model, x, y, epsilons=ball.eps)
    found = PGD(steps=20, step_size=step, random_start=False)(model, x, y, ball)
    broken = model.predict(found) != y
    assert int(success.sum()) > 5
    assert int(broken.sum()) >= int(success.sum())


def _foolbox_task() -> tuple[Classifier, Tensor, Tensor, Any, Any]:
    import foolbox

    from xaibench.classifiers import TorchClassifier

    model = torch_cnn()
    x = inputs_for(model, 64, seed=1)
    y = model.predict(x)

    class Normalised(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return model.logits(x)

    assert isinstance(model, TorchClassifier)
    module = Normalised().eval()
    return model, x, y, foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu"), foolbox


def test_momentum_averages_normalised_gradients() -> None:
    model = torch_cnn()
    x = inputs_for(model, 48, seed=2)
    y, eps, steps = model.predict(x), 0.04, 6
    attack = PGD(steps=steps, step_size=0.25, momentum=0.9, random_start=False)
    found = attack(model, x, y, Linf(eps))
    broken = model.predict(found) != y
    # The method written out once more, by autograd, keeping the first iterate that fools the model.
    point, velocity, expected = x.clone(), torch.zeros_like(x), x.clone()
    for _ in range(steps):
        point = point.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(model.logits(point), y), point)
        velocity = 0.9 * velocity + gradient / gradient.abs().flatten(1).mean(1).view(-1, 1, 1, 1)
        point = (x + (point.detach() + eps / 4 * velocity.sign() - x).clamp(-eps, eps)).clamp(0, 1)
        first = (model.predict(point) != y) & (expected == x).flatten(1).all(dim=1)
        expected[first] = point[first]
    assert 5 < int(broken.sum()) < 48
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    plain = PGD(steps=steps, step_size=0.25, random_start=False)(model, x, y, Linf(eps))
    assert not torch.allclose(plain, expected, atol=1e-3)


class _Counting:
    """A classifier that notes how many samples each gradient was taken of."""

    def __init__(self, model: Classifier) -> None:
        self._model, self.sizes = model, list[int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def loss_gradient(self, x: Tensor, y: Tensor, loss: Any = "ce", **rest: Any) -> Any:
        self.sizes.append(len(x))
        return self._model.loss_gradient(x, y, loss, **rest)


def test_fooled_samples_take_no_more_gradients() -> None:
    model, x, y, _ = _linear_task()
    counting = _Counting(model)
    attack = PGD(steps=30, restarts=3, batch_size=64)
    attack(counting, x, y, L2(0.3))  # type: ignore[arg-type]
    counting.sizes.clear()  # the first run also tried the batch shapes
    found = attack(counting, x, y, L2(0.3))  # type: ignore[arg-type]
    robust = int((model.predict(found) == y).sum())
    assert 0 < robust < 100
    # Every robust sample takes all its steps; the broken ones take few, and the batch is refilled, then shrinks.
    assert 90 * robust <= sum(counting.sizes) <= 90 * robust + 64 * 30
    assert counting.sizes[0] == 64
    assert counting.sizes[-1] < 64


def test_misclassified_samples_are_never_attacked() -> None:
    model, x, y, _ = _linear_task()
    counting = _Counting(model)
    assert torch.equal(PGD()(counting, x, 1 - y, Linf(0.1)), x)  # type: ignore[arg-type]
    assert counting.sizes == []


def test_batches_bound_the_points_in_a_pass() -> None:
    model, x, y, _ = _linear_task()
    counting = _Counting(model)
    PGD(steps=2, batch_size=64)(counting, x, y, Linf(0.01))  # type: ignore[arg-type]
    assert counting.sizes[0] == 64
    assert max(counting.sizes) == 64


def test_a_ball_as_large_as_the_box_breaks_everything() -> None:
    model, x, y, _ = _linear_task()
    found = PGD(steps=20)(model, x, y, Linf(1.0))
    assert bool((model.predict(found) != y).all())


def test_restarts_help_on_a_wavy_loss() -> None:
    class Wavy(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            wave = torch.cos(40 * (x[:, :1] - 0.5)) * (1 + (x[:, :1] - 0.5).abs())
            return torch.cat([1.25 + 0 * wave, wave], dim=1)

    from xaibench.classifiers import TorchClassifier

    model = TorchClassifier(Wavy(), task="tabular", input_shape=(1,))
    x, y = torch.full((64, 1), 0.5), torch.zeros(64, dtype=torch.long)
    broken = [
        int((model.predict(PGD(steps=10, step_size=0.02, restarts=r)(model, x, y, Linf(0.5))) != y).sum())
        for r in (1, 8)
    ]
    assert broken[0] < 40
    assert broken[1] > broken[0] + 10


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"steps": 0}, "expected `steps` >= 1, got 0"),
        ({"restarts": 0}, "expected `restarts` >= 1, got 0"),
        ({"batch_size": 0}, "expected `batch_size` >= 1, got 0"),
        ({"step_size": 0.0}, "expected `step_size` > 0, got 0.0"),
        ({"momentum": -1.0}, "expected `momentum` >= 0, got -1.0"),
    ],
)
def test_bad_parameters_are_one_clear_line(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PGD(**params)
