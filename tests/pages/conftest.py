"""The app as its tests open it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from xaibench.evaluate import Plan
from xaibench.pages import router

Opened = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def homes(toy_models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Toy models, and empty folders of reports and runs."""
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(toy_models))
    monkeypatch.setenv("XAIBENCH_REPORTS_HOME", str(tmp_path / "reports"))
    monkeypatch.setenv("XAIBENCH_RUNS_HOME", str(tmp_path / "runs"))


@pytest.fixture(scope="session")
def plan_of() -> Callable[..., Plan]:
    """A plan for 40 samples of a model that measures nothing but attacks, beside the fields that are given."""

    def make(model: Path, **fields: Any) -> Plan:
        nothing = {"samples": 0, "proofs": 0, "minimal": 0, "corruptions": 0, "assessed": 0, "checks": False}
        return Plan.model_validate({"model": str(model), "n": 40, "eps": 0.1, "explainers": (), **nothing, **fields})

    return make


@pytest.fixture(autouse=True)
def main() -> Iterator[None]:
    """The main module as it was: Streamlit puts the page's in its place, where processes started later would run it."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before


@pytest.fixture
def opened() -> Opened:
    """Opens a page by its name at an address: ``opened("explain", model="toy-image", sample="3")``."""

    def open_page(page: str, **choices: str) -> AppTest:
        app = AppTest.from_file(str(Path(router.__file__)), default_timeout=60)
        app._page_hash = calc_hash("" if page == router.FIRST else page)
        for key, value in choices.items():
            app.query_params[key] = value
        return app.run()

    return open_page
