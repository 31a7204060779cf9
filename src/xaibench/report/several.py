"""Reports of several models in one go, with a leaderboard over them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xaibench.errors import InputError, first_line
from xaibench.evaluate import Plan
from xaibench.evaluate.run import is_current
from xaibench.report.leaderboard import Failure, Leaderboard, collect, write_leaderboard
from xaibench.report.schema import Report
from xaibench.report.write import redraw, run
from xaibench.types import Progress

__all__ = ["folder_name", "run_several"]


def folder_name(model: str) -> str:
    """What the folder of a model's report is called.

    >>> folder_name("digits-cnn"), folder_name("nets/best.keras"), folder_name("my_module:make")
    ('digits-cnn', 'best', 'my_module-make')
    """
    return Path(model.replace(":", "-")).stem


def run_several(
    entries: Mapping[str, Plan | Path], home: Path, *, progress: Progress | None = None
) -> tuple[Leaderboard, Path]:
    """Make the report of each plan in a folder of its own, and write a leaderboard over all; give it and its page.

    An entry is a plan, or the folder of a finished report, which is taken as it is. A report that its plan would only
    repeat is kept, so that the same call goes on where it was stopped. A model that fails is listed with the reason and
    the others are made all the same. Raises `InputError` where two plans would write to the same folder.
    """
    names = [folder_name(name) for name, entry in entries.items() if isinstance(entry, Plan)]
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"expected models with names of their own, got two reports to write to {home / doubled}")
    folders, failures = [], []
    for name, entry in entries.items():
        try:
            folder = entry if isinstance(entry, Path) else _made(entry, home / folder_name(name), name, progress)
            Report.read_unchanged(folder)
        except Exception as error:  # whatever a model raises, the others are wanted
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            failures.append(Failure(name=name, reason=kind + first_line(error)))
        else:
            folders.append(folder)
    board = collect(folders, home, failures)
    return board, write_leaderboard(board, home)


def _made(plan: Plan, folder: Path, name: str, progress: Progress | None) -> Path:
    """The folder of a plan's report, made unless it is there."""
    if (folder / "report.json").exists():
        report = Report.read(folder)
        if is_current(plan, report.plan, (report.model.digest, report.data.digest), report.versions):
            redraw(folder)
            return folder

    def named(stage: str, done: int, total: int, info: Mapping[str, Any]) -> None:
        if progress is not None:
            progress(f"{name}: {stage}", done, total, info)

    run(plan, out=folder, progress=named)
    return folder
