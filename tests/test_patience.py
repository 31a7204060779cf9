"""Work that somebody waits for ends in time, and leaves the model as it was."""

from __future__ import annotations

import time

import pytest

from xaibench import InputError, explain, load_data, load_model
from xaibench.patience import patience


@pytest.fixture(autouse=True)
def home(toy_models: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(toy_models))


@pytest.mark.parametrize(
    "method", ["feature_permutation:samples=20000", "integrated_gradients:steps=20000,max_steps=20000"]
)
def test_an_explanation_ends_when_the_time_is_over(method: str) -> None:
    model, data = load_model("toy-image"), load_data("digits", n=2, seed=0)
    before = model.logits(data.inputs)
    start = time.monotonic()
    with pytest.raises(InputError, match=r"expected an answer within 0.05 s, got none: lower"), patience(0.05):
        explain(model, data.inputs, method=method, trust="quick")
    assert time.monotonic() - start < 30
    assert bool((model.logits(data.inputs) == before).all())


def test_time_is_given_back_after_the_work() -> None:
    model, data = load_model("toy-image"), load_data("digits", n=2, seed=0)
    with patience(0), pytest.raises(InputError, match="within 0 s"):
        model.logits(data.inputs)
    assert len(model.logits(data.inputs)) == 2
