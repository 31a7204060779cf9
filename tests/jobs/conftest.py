"""Jobs of tests: folders of their own, and a limit to waiting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_jobs import ended

from xaibench.jobs import jobs, stop


@pytest.fixture(autouse=True)
def homes(toy_models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Toy models and empty folders; what still runs at the end is ended."""
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(toy_models))
    monkeypatch.setenv("XAIBENCH_RUNS_HOME", str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    for job in jobs():
        if job.is_alive:
            stop(job)
    for job in jobs():
        ended(job)
