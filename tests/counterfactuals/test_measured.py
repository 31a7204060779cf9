"""The nearest other decision of linear models in closed form or by a solver; images and tables of networks."""

from __future__ import annotations

import pytest
import torch
from small_models import TABLE, inputs_for, keras_cnn, linear, table_mlp, torch_cnn
from torch import Tensor

from xaibench.attacks import attacks
from xaibench.counterfactuals import counterfactual
from xaibench.counterfactuals.boundary import Box
from xaibench.counterfactuals.goal import Goal
from xaibench.counterfactuals.sparse import pruned
from xaibench.data import load_data
from xaibench.errors import InputError
from xaibench.explainers import memory_budget
from xaibench.threats import L2
from xaibench.types import Bounds
from xaibench.zoo import load_model

FREE = Bounds(-50.0, 50.0)


def random_linear(classes: int, features: int, seed: int, bounds: Bounds) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, features, generator=generator)
    return weight, torch.randn(classes, generator=generator)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("norm", "dual"), [("l2", 2), ("l1", float("inf")), ("linf", 1)])
def test_distance_to_the_nearest_hyperplane(norm: str, dual: float, seed: int) -> None:
    weight, bias = random_linear(4, 6, seed, FREE)
    model = linear(weight, bias, FREE)
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(seed + 10))
    found = counterfactual(model, x, norm=norm)  # type: ignore[arg-type]
    logits = (x @ weight.T + bias).double()
    y = logits.argmax(dim=1)
    slope = (weight[None] - weight[y][:, None]).double()
    gap = logits.gather(1, y[:, None]) - logits
    exact = (gap / slope.norm(p=dual, dim=2)).scatter(1, y[:, None], torch.inf).amin(dim=1) / 100
    assert bool(found.found.all())
    # A table counts in shares of its range, 100 here.
    torch.testing.assert_close(found.distance, exact, rtol=5e-3, atol=1e-6)
    assert bool((found.distance >= exact - 1e-7).all())


def nearest_by_programming(norm: str, slope: Tensor, gap: float, low: Tensor, high: Tensor) -> float:
    """The least norm of a move m with slope . m >= gap and low <= m <= high, by a solver of its own."""
    import numpy as np
    from scipy import optimize

    g, d = slope.double().numpy(), len(slope)
    box = list(zip(low.tolist(), high.tolist(), strict=True))
    if norm == "l2":
        start = np.clip(g * gap / (g @ g), low.numpy(), high.numpy())
        solved = optimize.minimize(
            lambda m: m @ m,
            start,
            jac=lambda m: 2 * m,
            bounds=box,
            constraints={"type": "ineq", "fun": lambda m: g @ m - gap, "jac": lambda m: g},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 1000},
        )
        return float(solved.fun) ** 0.5 if solved.success else float("inf")
    # Variables: the move, and one bound of each |move| (l1) or of all (linf).
    extra = d if norm == "l1" else 1
    link = np.eye(d) if norm == "l1" else np.ones((d, 1))
    solved = optimize.linprog(
        np.concatenate([np.zeros(d), np.ones(extra)]),
        A_ub=np.block([[np.eye(d), -link], [-np.eye(d), -link], [-g[None], np.zeros((1, extra))]]),
        b_ub=np.concatenate([np.zeros(2 * d), [-gap]]),
        bounds=[*box, *[(0, None)] * extra],
    )
    return float(solved.fun) if solved.status == 0 else float("inf")


@pytest.mark.parametrize("norm", ["l2", "l1", "linf"])
@pytest.mark.parametrize("seed", range(4))
def test_rules_and_box_are_kept_at_the_least_distance(norm: str, seed: int) -> None:
    unit = Bounds(0.0, 1.0)
    weight, bias = random_linear(2, 6, seed, unit)
    model = linear(weight, bias * 0.3, unit)
    x = torch.rand(6, 6, generator=torch.Generator().manual_seed(seed))
    rules = {"immutable": [0], "increasing": [1], "decreasing": [2], "upper": {3: 0.6}}
    found = counterfactual(model, x, norm=norm, **rules)  # type: ignore[arg-type]
    for i in range(6):
        low, high = -x[i].double(), 1 - x[i].double()
        high[3] = max(0.6 - float(x[i, 3]), 0.0)
        low[0] = high[0] = low[1] = high[2] = 0
        logits = (weight @ x[i] + bias * 0.3).double()
        y = int(logits.argmax())
        exact = nearest_by_programming(norm, weight[1 - y] - weight[y], float(logits[y] - logits[1 - y]), low, high)
        if exact == float("inf"):
            assert not bool(found.found[i])
            continue
        assert bool(found.found[i]), (i, exact)
        assert float(found.distance[i]) == pytest.approx(exact, rel=5e-3, abs=2e-3)
        move = (found.inputs[i] - x[i]).double()
        assert bool(((move >= low - 1e-6) & (move <= high + 1e-6)).all())
        assert float(move[0]) == 0


@pytest.mark.parametrize("seed", range(5))
def test_fewest_features_of_a_linear_model(seed: int) -> None:
    unit = Bounds(0.0, 1.0)
    weight, bias = random_linear(2, 9, seed, unit)
    model = linear(weight, bias, unit)
    x = torch.rand(8, 9, generator=torch.Generator().manual_seed(seed))
    found = counterfactual(model, x, norm="l0", immutable=[4])
    for i in range(8):
        logits = weight @ x[i] + bias
        y = int(logits.argmax())
        slope = weight[1 - y] - weight[y]
        gains = torch.maximum(slope * -x[i], slope * (1 - x[i]))
        gains[4] = 0
        total = gains.sort(descending=True).values.cumsum(0)
        enough = (total > logits[y] - logits[1 - y]).nonzero().flatten()
        assert bool(found.found[i]) == bool(len(enough))
        if len(enough):
            assert int(found.changed[i]) == int(enough[0]) + 1 == float(found.distance[i])


def test_changes_that_are_not_needed_are_taken_back() -> None:
    """A lead of 3 a + 2 b + c - 2.5 does not need b and c beside a."""
    model = linear(torch.tensor([[0.0, 0.0, 0.0], [3.0, 2.0, 1.0]]), torch.tensor([0.0, -2.5]))
    clean = torch.zeros(1, 3)
    goal, box = Goal.of(model, clean, None), Box(clean, clean, torch.ones(1, 3), torch.tensor(1.0))
    promise = torch.tensor([[3.0, 2.0, 1.0]]).double()
    row, found = torch.tensor([0]), torch.tensor([True])
    assert pruned(goal, box, row, torch.ones(1, 3), promise=promise, found=found).tolist() == [[1.0, 0.0, 0.0]]


def test_answers_are_fresh_flips_that_cannot_be_shortened() -> None:
    model, test = load_model("digits-cnn"), load_data("digits", "test", n=16)
    for norm in ("l2", "l1", "linf"):
        found = counterfactual(model, test.inputs, norm=norm)  # type: ignore[arg-type]
        assert bool(found.found.all())
        assert bool((model.predict(found.inputs) != model.predict(test.inputs)).all())
        assert torch.equal(model.predict(found.inputs), found.after)
        assert isinstance(test.inputs, Tensor)
        for row in range(16):  # also alone
            assert int(model.predict(found.inputs[row : row + 1])) == int(found.after[row])
        shorter = test.inputs + 0.99 * (found.inputs - test.inputs)
        assert bool((model.predict(shorter) == found.before).all())
        assert bool(((found.inputs >= 0) & (found.inputs <= 1)).all())


def test_as_near_as_the_minimal_attacks_or_nearer() -> None:
    model, test = load_model("digits-cnn"), load_data("digits", "test", n=24)
    assert isinstance(test.inputs, Tensor)
    y = model.predict(test.inputs)
    found = counterfactual(model, test.inputs, norm="l2")
    for name in ("fmn", "ddn", "carlini_wagner"):
        other = attacks.create(name)(model, test.inputs, y, L2(8.0))
        broken = model.predict(other) != y
        far = L2(8.0).distance(other, test.inputs)[broken]
        assert float(found.distance[broken].mean()) <= 1.02 * float(far.mean()), name


def test_few_pixels_flip_a_digit() -> None:
    model, test = load_model("digits-cnn"), load_data("digits", "test", n=12)
    found = counterfactual(model, test.inputs, norm="l0")
    assert bool(found.found.all())
    assert torch.equal(found.distance, found.changed.double())
    for row in range(12):
        assert isinstance(test.inputs, Tensor)
        moved = (found.inputs[row] != test.inputs[row]).flatten().nonzero().flatten().tolist()
        assert len(moved) == len(found.edits[row]) == int(found.changed[row])
        for place in moved:  # each of them is needed
            back = found.inputs[row].clone()
            back.view(-1)[place] = test.inputs[row].view(-1)[place]
            assert int(model.predict(back[None])) == int(found.before[row])


@pytest.mark.parametrize("make", [torch_cnn, keras_cnn, table_mlp])
@pytest.mark.parametrize("norm", ["l2", "l0"])
def test_targets_are_reached(make: object, norm: str) -> None:
    model = make()  # type: ignore[operator]
    x = inputs_for(model, 6)
    targets = (model.predict(x) + 1) % model.num_classes
    found = counterfactual(model, x, targets, norm=norm)  # type: ignore[arg-type]
    assert int(found.found.sum()) >= 5
    assert torch.equal(model.predict(found.inputs)[found.found], targets[found.found])
    assert torch.equal(found.inputs[~found.found], x[~found.found])
    assert bool(found.distance[~found.found].isinf().all())
    same = counterfactual(model, x, model.predict(x), norm=norm)  # type: ignore[arg-type]
    assert bool(same.found.all())
    assert torch.equal(same.inputs, x)
    assert same.distance.tolist() == [0.0] * 6


def test_neither_batch_nor_memory_nor_the_call_matters() -> None:
    model, x = table_mlp(), inputs_for(table_mlp(), 5)
    kept = x.clone()
    whole = counterfactual(model, x, norm="l2", restarts=3, seed=3)
    with memory_budget(1):
        again = counterfactual(model, x, norm="l2", restarts=3, seed=3)
    torch.testing.assert_close(again.distance, whole.distance, rtol=1e-4, atol=1e-6)
    single = counterfactual(model, x[3:4], norm="l2", restarts=3, seed=3)
    torch.testing.assert_close(single.distance, whole.distance[3:4], rtol=1e-4, atol=1e-6)
    assert torch.equal(x, kept)


def test_changes_are_readable() -> None:
    model = linear(
        torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.01, 0.0, 0.0]]), torch.tensor([0.0, -5.0]), TABLE
    )
    x = torch.tensor([[0.5, 0.0, 300.0, 0.005, 2.0]])
    names = ("age", "height", "income", "rate", "rank")
    found = counterfactual(model, x, norm="l1", feature_names=names)
    assert found.describe(0).startswith("0 -> 1: income: 300 -> 500")
    assert found.edits[0][0].feature == "income"
    stuck = counterfactual(model, x, norm="l1", feature_names=names, immutable=["income"])
    assert not bool(stuck.found)
    assert stuck.describe(0) == "0: no counterfactual found"
    assert stuck.edits == ((),)


def test_bad_input_is_refused() -> None:
    model, x = table_mlp(), inputs_for(table_mlp(), 2)
    with pytest.raises(InputError, match="norm as auto"):
        counterfactual(model, x, norm="words")
    with pytest.raises(InputError, match="unknown feature 'agee'"):
        counterfactual(model, x, feature_names=("age", "b", "c", "d", "e"), immutable=["agee"])
    with pytest.raises(InputError, match=r"features in 0\.\.4"):
        counterfactual(model, x, immutable=[5])
    with pytest.raises(InputError, match=r"targets in 0\.\.2"):
        counterfactual(model, x, 3)
    with pytest.raises(InputError, match="whole numbers in feature 1"):
        counterfactual(model, x, integer=[1])
    with pytest.raises(InputError, match="`steps` >= 1"):
        counterfactual(model, x, steps=0)
    with pytest.raises(InputError, match="rules of features for tables"):
        counterfactual(torch_cnn(), inputs_for(torch_cnn(), 1), integer=[1])
    with pytest.raises(InputError, match="different feature names"):
        counterfactual(model, x, feature_names=("a", "b"))
