"""Rules of tables: valid rows, and what attacks find among them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import pytest
import torch
from small_models import linear
from torch import Tensor, nn

from xaibench.attacks import attacks
from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError
from xaibench.rng import SampleRng
from xaibench.threats import L0, L1, L2, Constrained, Linf, Threat, as_dict, check_threat, contains, threat
from xaibench.types import Bounds, Classifier

# Two free features, two whole numbers, a group of three, an immutable one, and an immutable whole number.
BOUNDS = Bounds((0.0, -1.0, 0.0, -4.0, 0.0, 0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 9.0, 4.0, 1.0, 1.0, 1.0, 1.0, 5.0))
INTEGER, GROUP, IMMUTABLE = (2, 3, 8), (4, 5, 6), (7, 8)
RULES = {"integer": INTEGER, "one_hot": (GROUP,), "immutable": IMMUTABLE}
SCALE = (1.0, 2.0, 9.0, 8.0, 1.0, 1.0, 1.0, 1.0, 5.0)
CASES = [
    pytest.param(Linf(0.3), id="linf"),
    pytest.param(Linf(1.2), id="linf-flips"),
    pytest.param(L2(2.3), id="l2"),
    pytest.param(L1(3.7), id="l1"),
    pytest.param(L0(3), id="l0"),
    pytest.param(Linf(0.2, scale=SCALE), id="linf-scaled"),
    pytest.param(L2(1.6, scale=SCALE), id="l2-scaled"),
    pytest.param(L1(2.2, scale=SCALE), id="l1-scaled"),
]


def _rows(n: int = 60, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    low, high = BOUNDS.tensors(torch.zeros(()))
    x = low + (high - low) * torch.rand(n, 9, generator=generator)
    x[:, INTEGER] = x[:, INTEGER].round()
    x[:, GROUP] = nn.functional.one_hot(torch.randint(0, 3, (n,), generator=generator), 3).float()
    return x


def _far(x: Tensor, factor: float, seed: int = 1) -> Tensor:
    low, high = BOUNDS.tensors(x)
    return x + factor * (high - low) * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("ball", CASES)
@pytest.mark.parametrize("factor", [0.02, 0.3, 3.0])
def test_finished_points_are_valid_and_inside(ball: Threat, factor: float) -> None:
    rules, clean = Constrained(ball, **RULES), _rows()
    x = _far(clean, factor)
    before = x.clone(), clean.clone()
    done = rules.finish(x, clean, BOUNDS)
    assert bool(contains(rules, done, clean, BOUNDS).all())
    assert float(ball.distance(done, clean).max()) <= ball.eps * (1 + 1e-9)
    assert torch.equal(BOUNDS.clip(done), done)
    assert torch.equal(done[:, IMMUTABLE], clean[:, IMMUTABLE])
    assert torch.equal(done[:, INTEGER], done[:, INTEGER].round())
    assert bool((done[:, GROUP].sort(dim=1).values == torch.tensor([0.0, 0.0, 1.0])).all())
    torch.testing.assert_close(rules.finish(done, clean, BOUNDS), done, rtol=1e-6, atol=1e-6)
    assert torch.equal(rules.finish(clean, clean, BOUNDS), clean)
    assert torch.equal(x, before[0])
    assert torch.equal(clean, before[1])
    one = rules.finish(x[7:8], clean[7:8], BOUNDS)
    assert torch.equal(one, done[7:8])


@pytest.mark.parametrize("ball", CASES)
def test_projections_stay_inside_and_leave_what_is_immutable(ball: Threat) -> None:
    rules, clean = Constrained(ball, **RULES), _rows()
    for x in (_far(clean, 2.0), rules.sample(SampleRng(torch.arange(60), seed=0, stream="test"), clean, BOUNDS)):
        once = rules.project(x, clean, BOUNDS)
        assert float(ball.distance(once, clean).max()) <= ball.eps * (1 + 1e-9)
        torch.testing.assert_close(rules.project(once, clean, BOUNDS), once, rtol=1e-6, atol=1e-6)
        assert torch.equal(once[:, IMMUTABLE], clean[:, IMMUTABLE])
    gradient = _far(torch.zeros(60, 9), 1.0)
    moved = rules.ascend(clean, gradient, ball.eps, BOUNDS)
    assert torch.equal(moved[:, IMMUTABLE], clean[:, IMMUTABLE])


def test_rules_change_what_is_finished() -> None:
    clean = torch.tensor([[0.5, 0.0, 5.0, 0.0, 1.0, 0.0, 0.0, 0.5, 2.0]])
    x = torch.tensor([[0.9, 0.0, 6.7, -1.4, 0.2, 0.9, 0.1, 0.9, 4.0]])
    free = Constrained(Linf(3), **RULES).finish(x, clean, BOUNDS)
    torch.testing.assert_close(free, torch.tensor([[0.9, 0.0, 7.0, -1.0, 0.0, 1.0, 0.0, 0.5, 2.0]]))
    # A radius of 1.9 cuts 1.7 towards the clean value; one of 0.9 admits no change of the group, nor of whole numbers.
    tight = Constrained(Linf(1.9), **RULES).finish(x, clean, BOUNDS)
    torch.testing.assert_close(tight, torch.tensor([[0.9, 0.0, 6.0, -1.0, 0.0, 1.0, 0.0, 0.5, 2.0]]))
    none = Constrained(Linf(0.9), **RULES).finish(x, clean, BOUNDS)
    torch.testing.assert_close(none, torch.tensor([[0.9, 0.0, 5.0, 0.0, 1.0, 0.0, 0.0, 0.5, 2.0]]))


def test_a_change_of_a_group_that_does_not_fit_is_not_taken() -> None:
    clean = torch.tensor([[0.5, 0.0, 5.0, 0.0, 1.0, 0.0, 0.0, 0.5, 2.0]])
    x = clean + torch.tensor([[0.0, 0.0, 0.0, 0.0, -0.9, 0.9, 0.0, 0.0, 0.0]])
    for ball, flips in ((L1(1.9), False), (L1(2.0), True), (L2(1.41), False), (L2(1.42), True), (L0(1), False)):
        done = Constrained(ball, **RULES).finish(x, clean, BOUNDS)
        assert bool((done[:, 5] == 1).all()) == flips, ball
        assert torch.equal(done, clean) != flips


def test_limits_narrow_the_box() -> None:
    lower, upper = (0.4, *(None,) * 8), (None, None, 6.0, *(None,) * 6)
    rules = Constrained(Linf(3), integer=(2,), lower=lower, upper=upper)
    clean = torch.tensor([[0.5, 0.0, 5.0, 0.0, 1.0, 0.0, 0.0, 0.5, 2.0], [0.1, 0.0, 8.0, 0.0, 1.0, 0.0, 0.0, 0.5, 2.0]])
    down, up = (rules.finish(clean + move, clean, BOUNDS) for move in (-2.6, 2.6))
    assert down[:, 0].tolist() == pytest.approx([0.4, 0.1])
    # A clean value beyond a limit is its own limit.
    assert up[:, 2].tolist() == [6.0, 8.0]
    assert bool(contains(rules, up, clean, BOUNDS).all())
    assert not contains(rules, clean[:1] + torch.tensor([0, 0, 2.0, 0, 0, 0, 0, 0, 0]), clean[:1], BOUNDS).any()


@pytest.mark.parametrize(
    "change",
    [{7: 0.1}, {8: 1.0}, {2: 0.5}, {4: -1.0}, {5: 1.0}, {4: -0.5, 5: 0.5}, {0: 0.5}],
    ids=["immutable", "immutable-integer", "fraction", "no-member", "two-members", "half-members", "far"],
)
def test_invalid_rows_are_not_contained(change: dict[int, float]) -> None:
    clean = torch.tensor([[0.1, 0.0, 5.0, 0.0, 1.0, 0.0, 0.0, 0.5, 2.0]])
    bad = clean.clone()
    for index, step in change.items():
        bad[0, index] += step
    far = 0 in change
    ball = L1(0.4) if far else L1(4)
    assert contains(ball, bad, clean, BOUNDS).tolist() == [not far]
    assert contains(Constrained(ball, **RULES), bad, clean, BOUNDS).tolist() == [False]
    assert contains(Constrained(ball, **RULES), clean, clean, BOUNDS).tolist() == [True]


def _problem(seed: int) -> tuple[Classifier, Bounds, Constrained, Tensor]:
    """A net over three whole numbers, a group of three and a group of two: all valid rows can be counted."""
    torch.manual_seed(seed)
    bounds = Bounds((0.0,) * 8, (3.0, 3.0, 3.0, *(1.0,) * 5))
    module = nn.Sequential(nn.Linear(8, 10), nn.Tanh(), nn.Linear(10, 3))
    model = TorchClassifier(module, task="tabular", bounds=bounds, input_shape=(8,))
    return model, bounds, Constrained(L1(1), integer=(0, 1, 2), one_hot=((3, 4, 5), (6, 7))), _everything()


def _everything() -> Tensor:
    groups = [torch.eye(3).tolist(), torch.eye(2).tolist()]
    numbers = itertools.product(range(4), repeat=3)
    return torch.tensor([[*some, *first, *second] for some in numbers for first in groups[0] for second in groups[1]])


BALLS: list[Callable[[], Threat]] = [lambda: L1(3), lambda: L2(2), lambda: Linf(1), lambda: L0(3)]


@pytest.mark.parametrize("make", BALLS, ids=["l1", "l2", "linf", "l0"])
def test_attacks_find_most_of_what_trying_everything_finds(make: Callable[[], Threat]) -> None:
    breakable = broken = 0
    for seed in range(3):
        model, bounds, rules, rows = _problem(seed)
        rules = Constrained(make(), integer=rules.integer, one_hot=rules.one_hot)
        x = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:40]]
        y = model.predict(x)
        found = attacks.create("pgd:steps=30,restarts=3,loss=margin")(model, x, y, rules)
        assert bool(contains(rules, found, x, bounds).all())
        for index in range(len(x)):
            inside = contains(rules, rows, x[index].expand_as(rows), bounds)
            possible = bool((model.predict(rows[inside]) != y[index]).any())
            hit = bool((found[index] != x[index]).any())
            assert possible or not hit
            breakable, broken = breakable + possible, broken + hit
    assert breakable >= 30
    assert broken >= 0.85 * breakable


def test_whole_numbers_are_the_best_ones_of_a_linear_model() -> None:
    # The margin rises by the weights alone: PGD in Linf ends in the corner, and the largest whole steps fit in it.
    weight = torch.tensor([[0.0] * 4, [1.0, -2.0, 3.0, -4.0]])
    model = linear(weight, torch.tensor([0.0, -100.0]), Bounds((-50.0,) * 4, (50.0,) * 4))
    rules = Constrained(Linf(2.9), integer=(0, 1), immutable=(3,))
    clean = torch.zeros(1, 4)
    end = rules.finish(rules.ascend(clean, weight[1:], 100.0, model.bounds), clean, model.bounds)
    torch.testing.assert_close(end, torch.tensor([[2.0, -2.0, 2.9, 0.0]]))
    # So a sample whose margin is just below that gain falls, and one just above stands.
    gain = 2 + 4 + 3 * 2.9
    for offset, falls in ((0.05, True), (-0.05, False)):
        model = linear(weight, torch.tensor([0.0, offset - gain]), model.bounds)
        found = attacks.create("pgd")(model, clean, torch.tensor([0]), rules)
        assert bool((found != clean).any()) == falls


def test_names_and_json() -> None:
    rules = Constrained(L2(2.0, scale=SCALE), lower=(0.1, *(None,) * 8), **RULES)
    assert threat(**json.loads(json.dumps(as_dict(rules)))) == rules
    assert (rules.norm, rules.eps, rules.scale) == ("l2", 2.0, SCALE)
    names = list("abcdefghi")
    named = Constrained.named(
        L2(2.0, scale=SCALE), names, integer="cdi", one_hot=["efg"], immutable="hi", lower={"a": 0.1}
    )
    assert named == rules
    with pytest.raises(InputError, match="unknown feature 'z'"):
        Constrained.named(Linf(1), names, integer=("z",))


def test_bad_rules_are_refused_in_one_line() -> None:
    clean = _rows(4)
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: Constrained(Linf(1), one_hot=((1,),)), "expected one-hot groups of at least two features"),
        (lambda: Constrained(Linf(1), one_hot=((1, 2), (2, 3))), "expected each feature once .* got 2 twice"),
        (lambda: Constrained(Linf(1), integer=(4,), one_hot=((4, 5),)), "expected each feature once .* got 4 twice"),
        (lambda: Constrained(Linf(1), immutable=(-1,)), "expected features by index, 0 or more, got -1"),
        (
            lambda: check_threat(Constrained(Linf(0.1), integer=(9,)), BOUNDS, (9,)),
            r"expected features in 0\.\.8, got 9",
        ),
        (
            lambda: check_threat(Constrained(Linf(0.1), lower=(0.0,)), BOUNDS, (9,)),
            "`lower` for each of 9 features, got 1",
        ),
        (lambda: check_threat(Constrained(Linf(0.1)), BOUNDS, (3, 4, 4)), "expected rows of features"),
        (lambda: check_threat(Constrained(Linf(50.0)), BOUNDS, (9,)), "expected 0 < eps <= 9, the size of the box"),
        (
            lambda: check_threat(Constrained(Linf(1), lower=(9.0,) * 9), BOUNDS, (9,)),
            "expected bounds with lower < upper",
        ),
        (lambda: Constrained(Linf(1), integer=(0,)).finish(clean, clean, BOUNDS), "whole numbers in feature 0, got 0"),
        (lambda: Constrained(Linf(1), one_hot=((0, 1),)).project(clean, clean, BOUNDS), "expected one 1 and else 0"),
    ]
    for call, message in wrong:
        with pytest.raises(InputError, match=message):
            call()


def test_larger_balls_keep_the_rules() -> None:
    model, bounds, rules, rows = _problem(0)
    rules = Constrained(L1(2), integer=rules.integer, one_hot=rules.one_hot, immutable=(0,))
    y = model.predict(rows)
    found = attacks.create("apgd_ce:steps=20,restarts=1")(model, rows, y, rules)
    assert bool((found != rows).any())
    assert bool(contains(rules, found, rows, bounds).all())
