"""Whole numbers, categories and models without gradients against the enumeration of all rows."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from small_models import linear
from torch import Tensor, nn

from xaibench.classifiers import TorchClassifier
from xaibench.counterfactuals import counterfactual
from xaibench.data import load_data
from xaibench.threats import L1, L2, Linf
from xaibench.types import Bounds, Capability, Classifier

# Two whole numbers, a group of three, and one whole number that may only rise.
BOX = Bounds((0.0, 0.0, 0.0, 0.0, 0.0, 1.0), (4.0, 3.0, 1.0, 1.0, 1.0, 5.0))
RULES: dict[str, Any] = {"integer": [0, 1, 5], "one_hot": [[2, 3, 4]], "increasing": [5]}


def all_rows(clean: Tensor) -> Tensor:
    """Every valid row that the rules allow from a clean one."""
    groups = torch.eye(3).tolist()
    last = range(int(clean[5]), 6)
    return torch.tensor([[a, b, *g, c] for a, b, g, c in itertools.product(range(5), range(4), groups, last)]).float()


def network(seed: int) -> Classifier:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 2)).double().float()
    return TorchClassifier(module, task="tabular", bounds=BOX, input_shape=(6,))


def clean_rows(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    group = torch.eye(3)[torch.randint(0, 3, (n,), generator=generator)]
    whole = [torch.randint(0, top, (n, 1), generator=generator).float() for top in (5, 4, 5)]
    return torch.cat([whole[0], whole[1], group, whole[2] + 1], dim=1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("norm", ["l1", "l2", "linf", "l0"])
def test_the_nearest_of_all_rows_is_found(norm: str, seed: int) -> None:
    model, x = network(seed), clean_rows(5, seed)
    found = counterfactual(model, x, norm=norm, beam=1000, max_changes=4, **RULES)  # type: ignore[arg-type]
    for i in range(5):
        rows = all_rows(x[i])
        flips = rows[model.predict(rows) != found.before[i]]
        assert bool(found.found[i]) == bool(len(flips))
        if not len(flips):
            continue
        origin = x[i].expand_as(flips)
        if norm == "l0":
            group = (flips[:, 2:5] != origin[:, 2:5]).any(dim=1)
            far = (flips[:, [0, 1, 5]] != origin[:, [0, 1, 5]]).sum(dim=1) + group
        else:
            ball = {"l1": L1, "l2": L2, "linf": Linf}[norm](1.0, scale=BOX.span)  # type: ignore[arg-type]
            far = ball.distance(flips, origin)
        assert float(found.distance[i]) == pytest.approx(float(far.min()), abs=1e-6)
        assert any(torch.equal(found.inputs[i], row) for row in rows)


def test_a_narrow_beam_keeps_the_rules_and_comes_near() -> None:
    model, x = network(7), clean_rows(12, 7)
    wide = counterfactual(model, x, norm="l1", beam=1000, **RULES)
    narrow = counterfactual(model, x, norm="l1", beam=4, **RULES)
    assert torch.equal(narrow.found, wide.found)
    some = wide.found
    assert bool((narrow.distance[some] >= wide.distance[some] - 1e-9).all())
    assert float(narrow.distance[some].mean()) <= 1.15 * float(wide.distance[some].mean())
    for i in some.nonzero().flatten().tolist():
        assert any(torch.equal(narrow.inputs[i], row) for row in all_rows(x[i]))


def test_measured_features_go_on_from_the_categories() -> None:
    """Logit difference 2 a + b - 2.5 of a in 0, 1, 2 and a measured b: a = 1 and b = 0.5 are nearer than a = 2."""
    bounds = Bounds((0.0, 0.0), (2.0, 1.0))
    model = linear(torch.tensor([[0.0, 0.0], [2.0, 1.0]]), torch.tensor([0.0, -2.5]), bounds)
    found = counterfactual(model, torch.tensor([[0.0, 0.0]]), norm="l2", integer=[0])
    assert found.inputs[0].tolist() == pytest.approx([1.0, 0.5], abs=1e-3)


class _Tree(nn.Module):
    """A scikit-learn model, which has no gradients."""

    def __init__(self, tree: Any) -> None:
        super().__init__()
        self.tree = tree

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor(self.tree.predict_proba(x.detach().numpy())).float()


def forest(depth: int | None, trees: int) -> tuple[Classifier, Tensor]:
    from sklearn.ensemble import RandomForestClassifier

    train, test = load_data("breast-cancer", "train"), load_data("breast-cancer", "test", n=12)
    assert isinstance(train.inputs, Tensor)
    assert isinstance(test.inputs, Tensor)
    model = RandomForestClassifier(trees, max_depth=depth, random_state=0).fit(train.inputs.numpy(), train.labels)
    wrapped = TorchClassifier(
        _Tree(model), task="tabular", bounds=train.bounds, input_shape=(30,), outputs="probabilities"
    )
    return wrapped, test.inputs


def test_models_without_gradients_are_searched() -> None:
    model, x = forest(None, 20)
    assert Capability.GRADIENTS not in model.capabilities
    found = counterfactual(model, x, immutable=[0, 3])
    assert int(found.found.sum()) >= 11
    assert bool((model.predict(found.inputs) != model.predict(x))[found.found].all())
    assert bool((found.inputs[:, [0, 3]] == x[:, [0, 3]]).all())
    assert float(found.changed[found.found].double().mean()) < 4
    for i in found.found.nonzero().flatten().tolist():
        for place in (found.inputs[i] != x[i]).nonzero().flatten().tolist():
            back = found.inputs[i].clone()
            back[place] = x[i, place]
            assert int(model.predict(back[None])) == int(found.before[i])


def test_a_stump_flips_at_its_threshold() -> None:
    class Stump(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            high = (x[:, 1] > 0.7371).float()
            return torch.stack([1 - high, high], dim=1) * 0.8 + 0.1

    model = TorchClassifier(Stump(), task="tabular", input_shape=(3,), outputs="probabilities")
    found = counterfactual(model, torch.tensor([[0.2, 0.1, 0.3], [0.2, 0.9, 0.3]]), norm="l1")
    assert found.changed.tolist() == [1, 1]
    assert found.inputs[:, 1].tolist() == pytest.approx([0.7371, 0.7371], abs=1e-5)
    assert found.edits[0][0].feature == "feature 1"
