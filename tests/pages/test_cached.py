"""What is computed once is of the model as it is: its names and settings as well as its weights."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from xaibench.pages.shared import cached, views
from xaibench.patience import OutOfPatienceError


@pytest.fixture
def models(toy_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy model of a table, in a folder where it may be changed."""
    home = tmp_path / "models"
    shutil.copytree(toy_models / "toy-table", home / "toy-table")
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(home))
    return home


def told(folder: Path, **changes: Any) -> None:
    """Another description of the same weights."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def wrong(name: str) -> int:
    """How many of its own rows a model gets wrong."""
    model, data = cached.subject_rows(name)
    said = cached.probabilities(model, data, (cached.identity(model), data.digest)).argmax(dim=1)
    return int((said != data.labels).sum())


def test_models_of_equal_weights_with_other_names_have_rows_of_their_own(models: Path) -> None:
    names = cached.card("toy-table").class_names
    shutil.copytree(models / "toy-table", models / "swapped")
    told(models / "swapped", name="swapped", class_names=names[::-1])
    right, swapped = cached.classifier("toy-table"), cached.classifier("swapped")
    assert right.digest == swapped.digest
    assert cached.identity(right) != cached.identity(swapped)
    n = len(cached.subject_rows("toy-table")[1])
    assert wrong("toy-table") < n / 2
    assert wrong("swapped") == n - wrong("toy-table")


def test_columns_are_in_the_order_that_the_model_has_them(models: Path) -> None:
    before = cached.subject_rows("toy-table")[1].feature_names
    assert before is not None
    low, high = cached.card("toy-table").bounds
    assert isinstance(low, tuple)
    assert isinstance(high, tuple)
    told(models / "toy-table", feature_names=before[::-1], bounds=(low[::-1], high[::-1]))
    model, data = cached.subject_rows("toy-table")
    assert data.feature_names == before[::-1]
    assert model.card is not None
    assert model.card.feature_names == before[::-1]


def test_a_model_whose_description_is_changed_is_loaded_again(models: Path) -> None:
    assert cached.classifier("toy-table") is cached.classifier("toy-table")
    names = cached.classifier("toy-table").class_names
    told(models / "toy-table", class_names=["X", "Y"])
    assert cached.classifier("toy-table").class_names == ("X", "Y") != names
    mean = [0.0] * 30
    told(models / "toy-table", mean=mean)
    card = cached.classifier("toy-table").card
    assert card is not None
    assert card.mean == tuple(mean)


def test_an_explanation_gives_the_model_back_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "_SECONDS", 0.1)
    model, data = cached.subject_rows("toy-image")
    assert isinstance(data.inputs, Tensor)
    endless, x = "feature_permutation:samples=20000", data.inputs[:1]
    found: list[views.View] = []
    thread = threading.Thread(target=lambda: found.append(views.view_of(model, x, (endless, "saliency"))))
    start = time.monotonic()
    thread.start()
    thread.join()
    assert time.monotonic() - start < 30
    assert "within 0.1 s" in found[0].refused[endless]
    assert list(found[0].explanations) == ["saliency"]
    assert cached.one_at_a_time.acquire(timeout=1)
    cached.one_at_a_time.release()


def test_what_takes_longer_than_a_reader_waits_is_given_up(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = cached.subject_rows("toy-table")
    assert isinstance(data.inputs, Tensor)
    x = data.inputs[:1]
    key = (cached.identity(model), "given up")
    monkeypatch.setattr(cached, "_SECONDS", 0.0)
    with pytest.raises(OutOfPatienceError):
        cached.explained(model, x, 0, "integrated_gradients", key)
    with pytest.raises(OutOfPatienceError):
        cached.changed(model, x, None, key)
    monkeypatch.undo()
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(models))
    assert cached.explained(model, x, 0, "integrated_gradients", key).values.shape == x.shape, "it may be asked again"
    assert cached.changed(model, x, None, key).inputs.shape == x.shape
