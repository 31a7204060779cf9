"""Robust accuracy as a record: each sample's outcome by closed form, and figures that cannot be changed alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from xaibench import TorchClassifier
from xaibench.card import RobustAccuracy
from xaibench.data import Data
from xaibench.errors import InputError, UnsupportedError
from xaibench.evaluate import Judgement, judge
from xaibench.metrics import wilson_interval
from xaibench.types import Bounds

EPS = 0.05
N, FEATURES = 40, 6


def linear() -> tuple[TorchClassifier, Data, str]:
    """A linear model of two classes, samples away from the box, and what becomes of each within `EPS` (Linf)."""
    generator = torch.Generator().manual_seed(1)
    layer = nn.Linear(FEATURES, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(2, FEATURES, generator=generator))
        layer.bias.copy_(-layer.weight.sum(1) / 2)
    model = TorchClassifier(layer, bounds=(0.0, 1.0), task="tabular", input_shape=(FEATURES,))
    x = 0.3 + 0.4 * torch.rand(N, FEATURES, generator=generator)
    weight = (layer.weight[1] - layer.weight[0]).detach()
    margin = x @ weight + (layer.bias[1] - layer.bias[0]).detach()
    y = (margin > 0).long()
    y[::7] = 1 - y[::7]
    reach = EPS * weight.abs().sum()
    outcomes = "".join(
        "w" if int(m > 0) != label else "r" if abs(m) > reach else "b"
        for m, label in zip(margin.tolist(), y.tolist(), strict=True)
    )
    data = Data("made", "test", "tabular", x, y, ("0", "1"), torch.arange(N), "digest", Bounds(0.0, 1.0))
    return model, data, outcomes


def test_each_sample_has_the_outcome_of_the_closed_form(tmp_path: Path) -> None:
    model, data, outcomes = linear()
    assert min(map(outcomes.count, "rbw")) >= 5
    found = judge(model, data, name="linear", attack="autoattack", eps=EPS, rows="all", out=tmp_path)
    assert found.outcomes == outcomes
    assert found.clean_accuracy == 1 - outcomes.count("w") / N
    assert found.robust_accuracy == outcomes.count("r") / N
    assert found.interval == wilson_interval(outcomes.count("r"), N)
    assert (found.norm, found.eps, found.attack, found.n, found.rows) == ("linf", EPS, "autoattack", N, "all")
    assert (found.model, found.weights_digest, found.data_digest) == ("linear", model.digest, "digest")
    assert sum(stage.broken for stage in found.stages) == outcomes.count("b")
    assert judge(model, data, name="linear", attack="autoattack", eps=EPS, rows="all", out=tmp_path) == found


def test_it_comes_back_from_its_file_and_a_card_states_its_summary(tmp_path: Path) -> None:
    model, data, _ = linear()
    found = judge(model, data, name="linear", attack="pgd", eps=EPS)
    path = tmp_path / "linear.json"
    path.write_text(found.model_dump_json())
    assert Judgement.read(path) == found
    assert type(found.summary) is RobustAccuracy
    assert found.summary.model_dump().items() <= found.model_dump().items()


@pytest.mark.parametrize(
    ("key", "value"),
    [("outcomes", "r" * N), ("n", N + 1), ("robust_accuracy", 1.0), ("clean_accuracy", 1.0), ("interval", [0.0, 1.0])],
)
def test_a_figure_changed_alone_is_refused(key: str, value: object, tmp_path: Path) -> None:
    model, data, _ = linear()
    values = judge(model, data, name="linear", attack="pgd", eps=EPS).model_dump(mode="json")
    path = tmp_path / "linear.json"
    path.write_text(json.dumps({**values, key: value}))
    with pytest.raises(InputError, match=r"expected a valid robust accuracy in .*linear\.json, got"):
        Judgement.read(path)


def test_what_cannot_be_attacked_says_why() -> None:
    model, data, _ = linear()
    with pytest.raises(UnsupportedError, match="autoattack is defined for linf, l2, l1, got a threat in l0"):
        judge(model, data, name="linear", attack="autoattack", norm="l0", eps=2)
    with pytest.raises(InputError, match=r"expected a robust accuracy at nowhere\.json"):
        Judgement.read(Path("nowhere.json"))
