"""FAB against linear programmes, closed forms on linear models, and its first steps done by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize
from small_models import TABLE, inputs_for, linear, torch_cnn
from torch import Tensor, nn

from xaibench.attacks import FAB, FABT
from xaibench.attacks.projections import length, to_hyperplane
from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError
from xaibench.threats import Linf, threat
from xaibench.types import Classifier, Loss, LossGradient

NORMS = ["linf", "l2", "l1"]


def _shortest(normal: np.ndarray, gain: float, low: np.ndarray, high: np.ndarray, norm: str) -> float:
    """The length of the shortest move to the hyperplane within the box, by a solver; infinite where there is none."""
    d = len(normal)
    if norm == "l2":
        # The dual in one unknown: moves are clipped multiples of the normal.
        def missing(t: float) -> float:
            return float((normal * np.clip(t * normal, low, high)).sum()) - gain

        ends = np.array([-1e6, 1e6])
        if missing(ends[0]) > 0 or missing(ends[1]) < 0:
            return np.inf
        return float(np.linalg.norm(np.clip(optimize.brentq(missing, *ends, xtol=1e-15) * normal, low, high)))
    # Moves are p - q, p and q >= 0; in linf all of them are at most the last unknown.
    cost = np.ones(2 * d) if norm == "l1" else np.append(np.zeros(2 * d), 1.0)
    equality = np.concatenate([normal, -normal] + ([[0.0]] if norm == "linf" else []))
    bounds = [(0, h) for h in high] + [(0, -b) for b in low] + ([(0, None)] if norm == "linf" else [])
    upper = None if norm == "l1" else np.hstack([np.eye(d), np.eye(d), -np.ones((d, 1))])
    found = optimize.linprog(
        cost, A_ub=upper, b_ub=None if upper is None else np.zeros(d), A_eq=[equality], b_eq=[gain], bounds=bounds
    )
    return float(found.fun) if found.status == 0 else np.inf


def _planes(n: int, d: int, seed: int, share: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normals with some zeros, gains of either sign up to a share of what the box allows, and boxes."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(n, d, generator=generator) * (torch.rand(n, d, generator=generator) > 0.2)
    x = torch.rand(n, d, generator=generator) * (torch.rand(n, d, generator=generator) > 0.3)
    low, high = -x, 1 - x
    most = torch.maximum(normal * low, normal * high).sum(dim=1, keepdim=True)
    least = torch.minimum(normal * low, normal * high).sum(dim=1, keepdim=True)
    part = (torch.rand(n, 1, generator=generator) * 2 - 1) * share
    return normal, torch.where(part > 0, part * most, -part * least), low, high


@pytest.mark.parametrize("share", [0.1, 0.95])
@pytest.mark.parametrize("norm", NORMS)
def test_moves_to_the_hyperplane_are_the_shortest_within_the_box(norm: str, share: float) -> None:
    normal, gain, low, high = _planes(25, 12, seed=1, share=share)
    move = to_hyperplane(normal, gain, low, high, norm)
    assert bool(((move >= low) & (move <= high)).all())
    torch.testing.assert_close((normal * move).sum(dim=1, keepdim=True), gain, rtol=1e-5, atol=1e-6)
    assert not move[normal == 0].any()
    parts = (part.double().numpy() for part in (normal, gain.squeeze(1), low, high))
    best = [_shortest(w, b, least, most, norm) for w, b, least, most in zip(*parts, strict=True)]
    assert length(move, norm).squeeze(1).tolist() == pytest.approx(best, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_a_hyperplane_beyond_the_box_is_approached_as_far_as_it_goes(norm: str) -> None:
    normal, gain, low, high = _planes(25, 12, seed=2, share=1.0)
    beyond = gain.sign() * 1e3
    move = to_hyperplane(normal, beyond, low, high, norm)
    limit = torch.where(normal * beyond > 0, high, low) * (normal != 0)
    torch.testing.assert_close(move, limit)


@pytest.mark.parametrize("norm", NORMS)
def test_rows_are_solved_by_themselves_and_at_any_scale(norm: str) -> None:
    # 300 features, and gains that need most of them: l1 has to look beyond the steepest few of some rows.
    normal, gain, low, high = _planes(20, 300, seed=3, share=0.9)
    together = to_hyperplane(normal, gain, low, high, norm)
    for row, move in enumerate(together.split(1)):
        assert torch.equal(to_hyperplane(normal[[row]], gain[[row]], low[[row]], high[[row]], norm), move)
    torch.testing.assert_close((normal * together).sum(dim=1, keepdim=True), gain, rtol=1e-5, atol=1e-5)
    for factor in (1e-30, 1e25):
        scaled = to_hyperplane(normal * factor, gain * factor, low, high, norm)
        torch.testing.assert_close(scaled, together, rtol=1e-4, atol=1e-5)
    assert not to_hyperplane(torch.zeros_like(normal), gain, low, high, norm).any()
    assert not to_hyperplane(normal, torch.zeros_like(gain), low, high, norm).any()


def test_equal_rates_share_an_l1_move() -> None:
    normal = torch.tensor([[1.0, -1.0, 0.5, 1.0]])
    low, high = torch.tensor([[-1.0, -0.25, -1.0, -1.0]]), torch.tensor([[0.5, 1.0, 1.0, 0.25]])
    move = to_hyperplane(normal, torch.tensor([[0.5]]), low, high, "l1")
    torch.testing.assert_close(move, torch.tensor([[0.25, -0.125, 0.0, 0.125]]))


def _linear_task(classes: int, d: int = 12, n: int = 60) -> tuple[Classifier, Tensor, Tensor, list[list[Tensor]]]:
    """A random linear model, inputs, labels; for each input the slope and value of every other class's lead."""
    generator = torch.Generator().manual_seed(classes)
    weight = torch.randn(classes, d, generator=generator)
    model = linear(weight, -weight.sum(dim=1) / 2)
    x = torch.rand(n, d, generator=generator)
    y = model.predict(x)
    logits = model.logits(x).detach()
    leads = [
        [torch.cat([weight[c] - weight[k], logits[row, [c]] - logits[row, [k]]]) for c in range(classes) if c != k]
        for row, k in enumerate(y.tolist())
    ]
    return model, x, y, leads


def _distances(x: Tensor, leads: list[list[Tensor]], norm: str) -> np.ndarray:
    """Distance of each input from the nearest other class, within the unit box."""
    return np.array(
        [
            min(
                _shortest(lead[:-1].double().numpy(), -float(lead[-1]), -row.numpy(), 1 - row.numpy(), norm)
                for lead in leads[place]
            )
            for place, row in enumerate(x.double())
        ]
    )


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("attack", "classes"),
    [(FABT(steps=20), 2), (FABT(steps=30), 4), (FAB(steps=20), 2), (FAB(steps=30), 4)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_linear_models_break_exactly_where_their_distance_says(attack: FAB | FABT, classes: int, norm: str) -> None:
    model, x, y, leads = _linear_task(classes)
    distance = _distances(x, leads, norm)
    assert np.isfinite(distance).all()
    for eps in np.quantile(distance, [0.25, 0.5, 0.8]).tolist():
        broken = (model.predict(attack(model, x, y, threat(norm, eps))) != y).numpy()
        assert not broken[distance > eps * (1 + 1e-5) + 1e-6].any()
        assert broken[distance < 0.99 * eps].all()


@pytest.mark.parametrize("norm", NORMS)
def test_distances_are_in_units_of_the_scale(norm: str) -> None:
    generator = torch.Generator().manual_seed(7)
    span = torch.tensor(TABLE.span)
    weight = torch.randn(2, 5, generator=generator)
    low = torch.tensor(TABLE.lower)
    x = low + span * torch.rand(40, 5, generator=generator)
    model = linear(weight / span, -(weight / span * (low + span / 2)).sum(dim=1), TABLE)
    y = model.predict(x)
    logits = model.logits(x).detach()
    unit, slope = (x - low) / span, weight[1] - weight[0]
    lead = (logits[:, 1] - logits[:, 0]).double().numpy()
    distance = np.array(
        [
            _shortest(slope.double().numpy(), -value, -row.numpy(), 1 - row.numpy(), norm)
            for value, row in zip(lead, unit.double(), strict=True)
        ]
    )
    eps = float(np.median(distance[np.isfinite(distance)]))
    broken = (model.predict(FABT(steps=20)(model, x, y, threat(norm, eps, scale=TABLE.span))) != y).numpy()
    assert not broken[distance > eps * 1.0001].any()
    assert broken[distance < 0.99 * eps].all()
    assert broken.any()


class _Recorded(TorchClassifier):
    """A classifier that keeps the points at which it is asked for gradients."""

    asked: list[Tensor]

    def loss_gradient(self, x: Any, y: Tensor, loss: Loss = "ce", **parts: Any) -> LossGradient:
        self.asked.append(x.clone())
        return super().loss_gradient(x, y, loss, **parts)


def _recorded(weight: list[list[float]], bias: list[float]) -> _Recorded:
    module = nn.Linear(len(weight[0]), len(weight))
    with torch.no_grad():
        module.weight.copy_(torch.tensor(weight))
        module.bias.copy_(torch.tensor(bias))
    model = _Recorded(module, task="tabular", input_shape=(len(weight[0]),))
    model.asked = []
    return model


def test_first_steps_by_hand() -> None:
    # The boundary is at 0.5, the clean input at 0.2: too far for the threat, so that the walk goes on.
    model = _recorded([[0.0], [2.0]], [0.0, -1.0])
    FABT(steps=4, batch_size=1)(model, torch.tensor([[0.2]]), torch.tensor([0]), Linf(0.1))
    asked = [float(x[0, 0]) for x in model.asked[-4:]]
    beyond = 0.2 + 1.05 * 0.3
    drawn = 0.2 + 0.9 * (beyond - 0.2)
    alpha = (0.5 - drawn) / (0.5 - drawn + 0.3)
    assert alpha < 0.1
    last = (drawn + 1.05 * (0.5 - drawn)) * (1 - alpha) + beyond * alpha
    assert asked == pytest.approx([0.2, beyond, drawn, last], abs=1e-6)


def test_every_class_is_asked_for_before_a_step() -> None:
    # As above, with a third class whose boundary is at 0.9; FAB steps from where a point is drawn back to at once.
    model = _recorded([[0.0], [2.0], [1.0]], [0.0, -1.0, -0.9])
    FAB(steps=3, batch_size=1)(model, torch.tensor([[0.2]]), torch.tensor([0]), Linf(0.1))
    asked = [float(x[0, 0]) for x in model.asked[-6:]]
    beyond = 0.2 + 1.05 * 0.3
    drawn = 0.2 + 0.9 * (beyond - 0.2)
    alpha = (0.5 - drawn) / (0.5 - drawn + 0.3)
    last = (drawn + 1.05 * (0.5 - drawn)) * (1 - alpha) + beyond * alpha
    assert asked == pytest.approx([0.2, 0.2, beyond, beyond, last, last], abs=1e-6)


def test_later_restarts_begin_at_half_the_radius() -> None:
    model = _recorded([[0.0] * 50, [1.0] * 50], [0.0, -40.0])
    x = torch.full((1, 50), 0.5)
    FABT(steps=1, restarts=2, batch_size=2)(model, x, torch.tensor([0]), Linf(0.1))
    first, second = model.asked[-1]
    assert torch.equal(first, x[0])
    assert 0.045 < float((second - x[0]).abs().max()) <= 0.05


@pytest.mark.parametrize(
    ("attack", "passes"), [(FABT(steps=4, targets=2, batch_size=5), 8), (FAB(steps=4, batch_size=5), 12)], ids=["t", ""]
)
def test_one_pass_a_step_and_class(attack: FAB | FABT, passes: int) -> None:
    # Four classes; the second to fourth are out of reach, whatever the step.
    model = _recorded([[0.0] * 3, [1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]], [0.0, -9.0, -8.0, -7.0])
    x, y = torch.full((5, 3), 0.5), torch.zeros(5, dtype=torch.int64)
    for _ in range(2):  # the first run tries batch shapes, too
        model.asked.clear()
        assert torch.equal(attack(model, x, y, Linf(0.1)), x)
    assert [len(points) for points in model.asked] == [5] * passes


@pytest.mark.parametrize("attack", [FABT(steps=6, targets=2, restarts=2, batch_size=16), FAB(steps=3, batch_size=16)])
@pytest.mark.parametrize("norm", NORMS)
def test_order_and_shards_change_no_bit(attack: FAB | FABT, norm: str) -> None:
    model = torch_cnn()
    x = inputs_for(model, 40)
    y, ids = model.predict(x), torch.arange(40) * 3 + 1
    ball = threat(norm, {"linf": 0.04, "l2": 0.3, "l1": 1.5}[norm])
    found = attack(model, x, y, ball, ids=ids)
    broken = int((model.predict(found) != y).sum())
    assert 0 < broken < 40
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert torch.equal(attack(model, x[order], y[order], ball, ids=ids[order])[order.argsort()], found)
    shards = [attack(model, x[a:b], y[a:b], ball, ids=ids[a:b]) for a, b in ((0, 7), (7, 8), (8, 40))]
    assert torch.equal(torch.cat(shards), found)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"steps": 0}, "expected `steps` >= 1, got 0"),
        ({"targets": 0}, "expected `targets` >= 1, got 0"),
        ({"restarts": 0}, "expected `restarts` >= 1, got 0"),
        ({"batch_size": 0}, "expected `batch_size` >= 1, got 0"),
        ({"alpha_max": 1.5}, r"expected `alpha_max` in \[0, 1\], got 1.5"),
        ({"eta": 0.9}, "expected `eta` >= 1, got 0.9"),
        ({"beta": 0.0}, r"expected `beta` in \(0, 1\], got 0.0"),
    ],
)
def test_bad_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FABT(**params)
    if "targets" not in params:
        with pytest.raises(InputError, match=message):
            FAB(**params)
