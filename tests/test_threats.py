import itertools
import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from torch import Tensor

from xaibench.errors import InputError
from xaibench.rng import SampleRng
from xaibench.threats import L0, L1, L2, Linf, Threat, as_dict, check_threat, contains, feature_scale, threat
from xaibench.types import Bounds

UNIT = Bounds(0.0, 1.0)
WIDE = Bounds(-100.0, 100.0)
TABLE = Bounds((0.0, 2000.0, -3.0, 0.0, 10.0, 0.0), (1.0, 2001.0, 5.0, 4000.0, 11.0, 1e-3))
SCALE = feature_scale("tabular", TABLE)

CASES = [
    pytest.param(Linf(0.1), UNIT, (3, 5, 5), id="linf"),
    pytest.param(L2(0.8), UNIT, (3, 5, 5), id="l2"),
    pytest.param(L1(4.0), UNIT, (3, 5, 5), id="l1"),
    pytest.param(L0(6), UNIT, (3, 5, 5), id="l0"),
    pytest.param(Linf(0.1, scale=SCALE), TABLE, (6,), id="linf-table"),
    pytest.param(L2(0.3, scale=SCALE), TABLE, (6,), id="l2-table"),
    pytest.param(L1(0.5, scale=SCALE), TABLE, (6,), id="l1-table"),
    pytest.param(L0(2, scale=SCALE), TABLE, (6,), id="l0-table"),
]


def _inputs(bounds: Bounds, shape: tuple[int, ...], n: int = 40, seed: int = 0) -> Tensor:
    low, high = bounds.tensors(torch.zeros(()))
    return low + (high - low) * torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))


def _far(x: Tensor, bounds: Bounds, factor: float = 2.0, seed: int = 1) -> Tensor:
    low, high = bounds.tensors(x)
    return x + factor * (high - low) * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def _rng(n: int, seed: int = 0) -> SampleRng:
    return SampleRng(torch.arange(n), seed=seed, stream="test")


@pytest.mark.parametrize(("ball", "bounds", "shape"), CASES)
@pytest.mark.parametrize("factor", [0.01, 0.3, 5.0])
def test_projections_end_in_ball_and_box_and_stay_there(
    ball: Threat, bounds: Bounds, shape: tuple[int, ...], factor: float
) -> None:
    clean = _inputs(bounds, shape)
    x = _far(clean, bounds, factor)
    before = x.clone(), clean.clone()
    projected = ball.project(x, clean, bounds)
    assert projected.shape == x.shape
    assert projected.dtype == torch.float32
    assert torch.equal(bounds.clip(projected), projected)
    # No tolerance for float32: the point is rounded towards the clean input.
    assert float(ball.distance(projected, clean).max()) <= ball.eps * (1 + 1e-9)
    torch.testing.assert_close(ball.project(projected, clean, bounds), projected, rtol=1e-6, atol=1e-6)
    assert torch.equal(x, before[0])
    assert torch.equal(clean, before[1])


@pytest.mark.parametrize(("ball", "bounds", "shape"), CASES)
def test_points_inside_are_left_alone(ball: Threat, bounds: Bounds, shape: tuple[int, ...]) -> None:
    clean = _inputs(bounds, shape)
    assert torch.equal(ball.project(clean, clean, bounds), clean)
    inside = ball.project(_far(clean, bounds), clean, bounds)
    if ball.norm != "l0":
        inside = clean + (inside - clean) / 2
    torch.testing.assert_close(ball.project(inside, clean, bounds), inside, rtol=1e-6, atol=0)


@pytest.mark.parametrize("ball", [Linf(0.3), L2(0.9), L2(0.2), L2(50.0), L1(0.9), L1(0.2), L1(50.0)], ids=repr)
def test_convex_projections_are_the_nearest_points(ball: Threat) -> None:
    clean = _inputs(UNIT, (5,), n=12).double()
    x = _far(clean, UNIT, 0.7)
    got = ball.project(x, clean, UNIT)
    for row in range(len(x)):
        nearest = _nearest(ball, x[row].numpy(), clean[row].numpy())
        assert got[row].numpy() == pytest.approx(nearest, abs=2e-5)


def _nearest(ball: Threat, x: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """The projection as a quadratic program over the positive and negative part of the perturbation."""
    d = len(x)

    def objective(parts: np.ndarray) -> float:
        return float(((clean + parts[:d] - parts[d:] - x) ** 2).sum())

    limit = ball.eps if ball.norm == "linf" else np.inf
    box = [*((0, min(limit, 1 - value)) for value in clean), *((0, min(limit, value)) for value in clean)]
    length = {"l1": lambda parts: parts.sum(), "l2": lambda parts: ((parts[:d] - parts[d:]) ** 2).sum() ** 0.5}
    budget = {"type": "ineq", "fun": lambda parts: ball.eps - length[ball.norm](parts)} if ball.norm in length else ()
    found = optimize.minimize(
        objective, np.zeros(2 * d), bounds=box, constraints=budget, method="SLSQP", options={"ftol": 1e-14}
    )
    return clean + found.x[:d] - found.x[d:]


def test_l1_projection_meets_the_optimality_conditions_in_high_dimension() -> None:
    clean = _inputs(UNIT, (3, 32, 32), n=6).double()
    x = _far(clean, UNIT, 0.4)
    offset, got = (x - clean).flatten(1), (L1(12.0).project(x, clean, UNIT) - clean).flatten(1)
    room = torch.where(offset > 0, 1 - clean.flatten(1), clean.flatten(1))
    assert got.abs().sum(1).tolist() == pytest.approx([12.0] * 6, abs=1e-9)
    assert bool((got * offset >= 0).all())
    free = (got.abs() > 1e-12) & (got.abs() < room - 1e-12)
    shift = (offset - got).abs()
    for row in range(6):
        multiplier = shift[row][free[row]]
        assert float(multiplier.max() - multiplier.min()) < 1e-9
        assert bool((offset.abs()[row][got[row].abs() <= 1e-12] <= multiplier.mean() + 1e-9).all())
        assert bool((shift[row][got[row].abs() >= room[row] - 1e-12] >= multiplier.mean() - 1e-9).all())


def test_l0_projection_is_the_nearest_of_all_choices_of_features() -> None:
    clean = _inputs(UNIT, (6,), n=20).double()
    x = _far(clean, UNIT, 0.8)
    got = L0(2).project(x, clean, UNIT)
    for row in range(len(x)):
        costs = []
        for chosen in itertools.combinations(range(6), 2):
            candidate = clean[row].clone()
            candidate[list(chosen)] = x[row, list(chosen)].clamp(0, 1)
            costs.append(float(((candidate - x[row]) ** 2).sum()))
        assert float(((got[row] - x[row]) ** 2).sum()) == pytest.approx(min(costs), abs=1e-12)


def test_l2_projection_is_radial_where_the_box_is_far() -> None:
    clean = _inputs(UNIT, (7,))
    x = _far(clean, UNIT)
    offset = (x - clean).double()
    expected = clean + offset * (0.5 / offset.norm(dim=1, keepdim=True)).clamp(max=1)
    torch.testing.assert_close(L2(0.5).project(x, clean, WIDE), expected.float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("ball", [Linf(0.1, scale=SCALE), L1(0.5, scale=SCALE), L2(0.3, scale=SCALE)], ids=repr)
def test_a_scale_is_a_change_of_units(ball: Threat) -> None:
    clean = _inputs(TABLE, (6,)).double()
    x = _far(clean, TABLE)
    low, span = clean.new_tensor(TABLE.lower), clean.new_tensor(TABLE.span)
    plain = threat(ball.norm, ball.eps).project((x - low) / span, (clean - low) / span, UNIT)
    torch.testing.assert_close((ball.project(x, clean, TABLE) - low) / span, plain, rtol=0, atol=1e-8)
    assert ball.distance(x, clean).tolist() == pytest.approx(
        threat(ball.norm, 1).distance((x - low) / span, (clean - low) / span).tolist(), rel=1e-9
    )


@pytest.mark.parametrize("ball", [Linf(0.2), L2(0.5), L1(0.7)], ids=repr)
def test_no_other_step_of_the_size_raises_the_linearised_loss_more(ball: Threat) -> None:
    # Rooms are wide but for L1, whose step looks at the box: there the best step is a linear program's.
    x, gradient = _inputs(UNIT, (8,), n=10).double(), _far(torch.zeros(10, 8), UNIT).double()
    bounds = UNIT if ball.norm == "l1" else WIDE
    move = ball.ascend(x, gradient, ball.eps, bounds) - x
    size = ball.distance(move, torch.zeros_like(move))
    assert size.tolist() == pytest.approx([ball.eps] * 10, rel=1e-9)
    for row in range(10):
        slope = gradient[row].numpy()
        assert float((gradient[row] * move[row]).sum()) == pytest.approx(_best_slope(ball, slope, x[row].numpy()))


def _best_slope(ball: Threat, slope: np.ndarray, x: np.ndarray) -> float:
    if ball.norm == "linf":
        return ball.eps * float(np.abs(slope).sum())
    if ball.norm == "l2":
        return ball.eps * float(np.sqrt((slope**2).sum()))
    room = [*((0, 1 - value) for value in x), *((0, value) for value in x)]
    found = optimize.linprog(
        np.concatenate([-slope, slope]), A_ub=np.ones((1, 2 * len(x))), b_ub=[ball.eps], bounds=room
    )
    return -float(found.fun)


def test_the_l0_step_and_projection_take_the_features_that_gain_most() -> None:
    clean = torch.full((4, 9), 0.5)
    gradient = _far(torch.zeros(4, 9), UNIT)
    reached = L0(3).project(L0(3).ascend(clean, gradient, 3, UNIT), clean, UNIT)
    chosen = gradient.abs().topk(3, dim=1).indices
    expected = clean.clone().scatter(1, chosen, (gradient.gather(1, chosen) > 0).float())
    assert torch.equal(reached, expected)


@pytest.mark.parametrize("ball", [Linf(0.1), L2(0.5), L1(1.0), L0(2)], ids=repr)
def test_a_zero_gradient_does_not_move(ball: Threat) -> None:
    x = _inputs(UNIT, (3, 4, 4), n=2)
    assert torch.equal(ball.ascend(x, torch.zeros_like(x), ball.eps, UNIT), x)


def test_tiny_gradients_have_a_direction() -> None:
    x, gradient = torch.full((1, 4), 0.5), torch.tensor([[3e-38, -4e-38, 0.0, 0.0]])
    torch.testing.assert_close(L2(1).ascend(x, gradient, 1.0, WIDE) - x, torch.tensor([[0.6, -0.8, 0.0, 0.0]]))


@pytest.mark.parametrize(("ball", "bounds", "shape"), CASES)
def test_samples_lie_in_ball_and_box_whatever_the_batch(ball: Threat, bounds: Bounds, shape: tuple[int, ...]) -> None:
    x, rng = _inputs(bounds, shape), _rng(40)
    drawn = ball.sample(rng, x, bounds, step=3)
    assert bool(contains(ball, drawn, x, bounds).all())
    assert torch.equal(bounds.clip(drawn), drawn)
    part = ball.sample(SampleRng(rng.ids[7:9], seed=0, stream="test"), x[7:9], bounds, step=3)
    assert torch.equal(part, drawn[7:9])
    assert not torch.equal(ball.sample(rng, x, bounds, step=4), drawn)
    if ball.norm == "l0":
        assert ball.distance(drawn, x).tolist() == [ball.eps] * 40


@pytest.mark.parametrize(
    ("ball", "length"),
    [
        (Linf(0.5), lambda u: u.abs().amax(1)),
        (L2(0.5), lambda u: u.norm(dim=1)),
        (L1(0.5), lambda u: u.abs().sum(1)),
    ],
    ids=["linf", "l2", "l1"],
)
def test_samples_fill_the_ball_uniformly(ball: Threat, length: Callable[[Tensor], Tensor]) -> None:
    # In d dimensions the share of the volume within radius r is (r / eps) ** d.
    x = torch.zeros(4000, 3, dtype=torch.float64)
    drawn = ball.sample(_rng(4000), x, WIDE)
    assert stats.kstest((length(drawn) / 0.5) ** 3, "uniform").pvalue > 0.01
    octant = (drawn > 0).long() @ torch.tensor([1, 2, 4])
    assert stats.chisquare(octant.bincount(minlength=8)).pvalue > 0.01


def test_l0_samples_choose_every_feature_equally_often_and_fill_the_box() -> None:
    x = torch.full((3000, 5), 0.25, dtype=torch.float64)
    drawn = L0(2).sample(_rng(3000), x, UNIT)
    assert stats.chisquare((drawn != x).sum(0)).pvalue > 0.01
    assert stats.kstest(drawn[drawn != x], "uniform").pvalue > 0.01


def test_a_clean_value_outside_the_box_is_its_own_limit() -> None:
    clean = torch.tensor([[1.5, 0.5, -0.2]])
    raised = Linf(0.1).project(clean + 1, clean, UNIT)
    lowered = Linf(0.1).project(clean - 1, clean, UNIT)
    torch.testing.assert_close(raised, torch.tensor([[1.5, 0.6, -0.1]]))
    torch.testing.assert_close(lowered, torch.tensor([[1.4, 0.4, -0.2]]))
    assert bool(contains(Linf(0.1), raised, clean, UNIT).all())
    assert not bool(contains(Linf(0.1), clean + torch.tensor([[0.05, 0, 0]]), clean, UNIT).any())


@pytest.mark.parametrize("ball", [Linf(0.1), L2(0.5, scale=(1.0, 2.0)), L1(3), L0(4)], ids=repr)
def test_json_round_trip(ball: Threat) -> None:
    assert threat(**json.loads(json.dumps(as_dict(ball)))) == ball


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
@pytest.mark.parametrize("eps", [0.0, -1.0, float("nan"), float("inf")])
def test_a_radius_is_positive(norm: str, eps: float) -> None:
    with pytest.raises(InputError, match=f"for {norm}, got"):
        threat(norm, eps)


@pytest.mark.parametrize(
    ("ball", "bounds", "shape", "size"),
    [
        (Linf(1.01), UNIT, (3, 4, 4), "1"),
        (L2(7.0), UNIT, (3, 4, 4), "6.9282"),
        (L1(48.1), UNIT, (3, 4, 4), "48"),
        (L0(49), UNIT, (3, 4, 4), "48"),
        (Linf(1.01, scale=SCALE), TABLE, (6,), "1"),
        (L2(2.5, scale=SCALE), TABLE, (6,), "2.44949"),
    ],
    ids=repr,
)
def test_a_ball_larger_than_the_box_is_refused(ball: Threat, bounds: Bounds, shape: tuple[int, ...], size: str) -> None:
    with pytest.raises(InputError, match=f"expected 0 < eps <= {size}, the size of the box in {ball.norm}, got"):
        check_threat(ball, bounds, shape)


@pytest.mark.parametrize("ball", [Linf(1), L2(48**0.5), L1(48), L0(48)], ids=repr)
def test_a_ball_as_large_as_the_box_is_allowed(ball: Threat) -> None:
    check_threat(ball, UNIT, (3, 4, 4))


def test_bad_threats_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"unknown norm 'l3'.*known: l0, l1, l2, linf"):
        threat("l3", 1)
    with pytest.raises(InputError, match=r"a whole number.* for l0, got 2\.5"):
        threat("l0", 2.5)
    with pytest.raises(InputError, match="expected a positive scale"):
        threat("l2", 1, [1.0, 0.0])
    with pytest.raises(InputError, match="a scale for each of 6 features, got 2"):
        check_threat(L2(1, scale=(1.0, 2.0)), TABLE, (6,))


def test_feature_scale_is_for_tables() -> None:
    assert feature_scale("image", UNIT) is None
    assert feature_scale("tabular", Bounds(0.0, 4.0)) == (4.0,)
    assert feature_scale("tabular", Bounds((0.0, 1.0), (2.0, 5.0))) == (2.0, 4.0)
