"""References and backgrounds where the box of inputs has no end."""

from typing import Any

import pytest
import torch
from torch import nn

from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError
from xaibench.explainers import explain

INF = float("inf")


def _endless() -> TorchClassifier:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    bounds = ((-INF, 2.0, -INF, -1.0, -INF), (INF, INF, -2.0, 3.0, 7.0))
    return TorchClassifier(module, task="tabular", bounds=bounds, input_shape=(5,))


X = torch.tensor([[50.0, 3.0, -4.0, 0.5, 0.0], [1.0, 2.0, -3.0, -0.5, 6.0]])


@pytest.mark.parametrize(
    "method", ["deep_lift", "feature_ablation", "integrated_gradients", "lime", "occlusion", "shapley_exact"]
)
def test_infinite_bounds_leave_zero_or_the_bound_nearest_to_it(method: str) -> None:
    found = explain(_endless(), X, 1, method=method)
    assert found.baseline is not None
    assert found.baseline.tolist() == [[0.0, 2.0, -2.0, 1.0, 0.0]] * 2
    assert found.trust.untested == {"stability": "noise as a share of the range of inputs needs finite bounds"}
    if found.completeness_gap is not None:
        assert float(found.completeness_gap.max()) < 0.01


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("integrated_gradients", {"baseline": "min"}, r"^expected finite bounds for baseline 'min', got -inf$"),
        ("occlusion", {"baseline": "max"}, r"^expected finite bounds for baseline 'max', got inf$"),
        ("expected_gradients", {}, r"^expected samples as background where bounds are infinite, got 'auto'$"),
        ("shap_deep", {}, r"^expected samples as background where bounds are infinite, got 'auto'$"),
        ("lrp", {"box": True}, r"^expected finite bounds for `box`, got -inf$"),
    ],
)
def test_what_needs_an_end_says_so(method: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        explain(_endless(), X, 1, method=method, **params)


def test_all_frozen_copies_are_tried_within_the_bounds() -> None:
    model = _endless()
    torch.testing.assert_close(model.scorer(X)(X), model.logits(X).detach())
