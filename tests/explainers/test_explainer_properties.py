"""What every explainer promises, tried on every explainer: a new one joins by a row in `rows.ROWS`."""

import json
from functools import cache
from types import MappingProxyType
from typing import Any

import pytest
import torch
from rows import ATTENTIVE_MODELS, MODELS, ROWS, TREE_MODELS, Row
from small_models import inputs_for, linear
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers import Attribution, explain, explainers
from xaibench.registry import Spec
from xaibench.types import Capability, Classifier

N = 10


@cache
def _model(name: str) -> tuple[Classifier, Tensor]:
    model = {**MODELS, **ATTENTIVE_MODELS, **TREE_MODELS}[name]()
    return model, inputs_for(model, N)


def _explain(method: str, model: Classifier, inputs: Any, targets: Any = None, **params: Any) -> Attribution:
    return explain(model, inputs, targets, method=method, trust="quick", **params)


every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.method)
every_use = pytest.mark.parametrize(
    ("row", "name"),
    [pytest.param(row, name, id=f"{row.method}-{name}") for row in ROWS for name in sorted(row.models)],
)


def test_every_explainer_is_in_the_table() -> None:
    assert {Spec.parse(row.method).name for row in ROWS} == set(explainers.names())


@every_use
def test_values_have_the_form_of_the_inputs_and_nothing_changes(row: Row, name: str) -> None:
    method = row.method
    model, x = _model(name)
    before, digest = x.clone(), model.digest
    found = _explain(method, model, x)
    assert found.values.shape == x.shape
    assert found.values.dtype == model.logits(x).dtype
    assert bool(found.values.isfinite().all())
    assert bool((found.values != 0).flatten(1).any(dim=1).all())
    assert not found.values.requires_grad
    assert torch.equal(found.target, model.predict(x))
    assert found.method == Spec.parse(method).name
    assert found.baseline is None or found.baseline.shape == x.shape
    assert torch.equal(x, before)
    assert model.digest == digest
    json.dumps({"params": dict(found.params), "trust": found.trust.figures()}, allow_nan=False)


@every_use
def test_results_do_not_depend_on_batches(row: Row, name: str) -> None:
    method = row.method
    model, x = _model(name)
    found = _explain(method, model, x)
    assert torch.equal(_explain(method, model, x).values, found.values)
    shards = torch.cat([_explain(method, model, part).values for part in (x[:3], x[3:4], x[4:])])
    for other in (
        shards,
        _explain(method, model, x, memory=1).values,
        _explain(method, model, x.flip(0)).values.flip(0),
    ):
        torch.testing.assert_close(other, found.values, rtol=1e-3, atol=1e-5)


@every_use
def test_targets_choose_the_logit(row: Row, name: str) -> None:
    method = row.method
    model, x = _model(name)
    given = torch.arange(N) % model.num_classes
    each = _explain(method, model, x, given)
    assert torch.equal(each.target, given)
    for target in range(model.num_classes):
        one = _explain(method, model, x, target)
        assert one.target.tolist() == [target] * N
        torch.testing.assert_close(one.values[given == target], each.values[given == target], rtol=1e-3, atol=1e-5)


@every_row
def test_a_feature_that_the_logit_ignores_gets_nothing(row: Row) -> None:
    method = row.method
    model = linear(torch.tensor([[1.0, 0.0, -2.0], [0.5, 3.0, 0.0]]), torch.tensor([0.1, -0.3]))
    if row.ignored is None or "table" not in row.models:
        return
    values = _explain(method, model, torch.rand(4, 3), torch.tensor([0, 1, 0, 1])).values
    assert float(torch.cat([values[0::2, 1], values[1::2, 2]]).abs().max()) <= row.ignored


@every_row
def test_specs_make_the_explainer_again(row: Row) -> None:
    method = row.method
    explainer = explainers.create(method)
    spec = explainers.spec(explainer)
    assert explainers.create(spec) == explainer
    assert explainers.create(Spec.parse(str(spec))) == explainer
    model, x = _model(sorted(row.models)[-1])
    made = explainer(model, x)
    assert explainers.create(Spec(made.method, made.params)) == explainer


class _Counting:
    def __init__(self, model: Classifier) -> None:
        self._model, self.forward, self.backward, self.largest = model, 0, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def _count(self, n: int, backward: int = 0) -> None:
        self.forward, self.backward, self.largest = self.forward + n, self.backward + backward, max(self.largest, n)

    def logits(self, x: Tensor, **rest: Any) -> Tensor:
        self._count(len(x))
        return self._model.logits(x, **rest)

    def scorer(self, x: Tensor) -> Any:
        score = self._model.scorer(x)

        def counted(batch: Tensor) -> Tensor:
            self._count(len(batch))
            return score(batch)

        return counted

    def predict(self, x: Tensor) -> Tensor:
        self._count(len(x))
        return self._model.predict(x)

    def loss_gradient(self, x: Tensor, *rest: Any, **more: Any) -> Any:
        self._count(len(x), len(x))
        return self._model.loss_gradient(x, *rest, **more)


@every_use
def test_the_cost_is_what_was_spent_and_batches_bound_it(row: Row, name: str) -> None:
    method = row.method
    model, x = _model(name)
    if not row.exact:
        return
    counting = _Counting(model)
    cost = _explain(method, counting, x, memory=1).cost  # type: ignore[arg-type]
    assert (cost.forward, cost.backward) == (counting.forward, counting.backward)
    assert counting.largest == 1
    assert cost.seconds > 0


@every_row
def test_what_does_not_fit_is_refused(row: Row) -> None:
    method = row.method
    if "torch" not in row.models:
        return
    model, x = _model("torch")
    wrong: list[tuple[Any, Any, str]] = [
        (x, 4, r"expected targets in 0\.\.3, got 4\.\.4"),
        (x, -1, r"expected targets in 0\.\.3, got -1"),
        (x, torch.zeros(3, dtype=torch.long), r"or 10 class indices, got torch.int64 \(3,\)"),
        (x, torch.zeros(N), r"or 10 class indices, got torch.float32"),
        (x, True, "got True"),
        (x, "cat", "got 'cat'"),
        (x * float("nan"), None, "got NaN"),
        (x[:, :1], None, r"got \(10, 1, 8, 8\)"),
        (x[:0], None, "got an empty batch"),
    ]
    for inputs, targets, message in wrong:
        with pytest.raises(InputError, match=message):
            _explain(method, model, inputs, targets)
    with pytest.raises(InputError, match="at least one, got 0"):
        _explain(method, model, x, memory=0)


@every_row
def test_models_without_what_is_needed_are_refused(row: Row) -> None:
    method = row.method
    if not row.gradients:
        return

    class Blind:
        task, capabilities = "image", frozenset[Capability]()
        limits = MappingProxyType({Capability.GRADIENTS: "it is a table"})

    class Opaque(Blind):
        task, capabilities = "text", frozenset({Capability.ATTENTION, Capability.GRADIENTS})

    with pytest.raises(UnsupportedError, match=r"needs gradients of the model: it is a table"):
        _explain(method, Blind(), torch.zeros(1, 2))  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError, match="needs embeddings of the model"):
        _explain(method, Opaque(), torch.zeros(1, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "name"),
    [pytest.param(row, name, id=f"{row.method}-{name}") for row in ROWS for name in MODELS if name not in row.models],
)
def test_methods_that_do_not_apply_are_refused_in_one_line(row: Row, name: str) -> None:
    model, x = _model(name)
    with pytest.raises(UnsupportedError) as refused:
        _explain(row.method, model, x)
    assert "\n" not in str(refused.value)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    model, x = _model("table")
    with pytest.raises(InputError, match="unknown explainer 'salience'; did you mean 'saliency'"):
        explain(model, x, method="salience")
    with pytest.raises(InputError, match="unknown parameter of explainer saliency 'step'"):
        explain(model, x, method="saliency", step=3)
