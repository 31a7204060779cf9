"""Many reports side by side: ``leaderboard.json``, and ``index.html`` with columns to sort by."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import quote, unquote

from pydantic import Field

from xaibench.card import Strict
from xaibench.drawing.ranks import Ranked, order_of
from xaibench.files import write_json, write_text
from xaibench.reading import counted, format_threat
from xaibench.report.page import environment
from xaibench.report.schema import Report

__all__ = ["Failure", "Group", "Leaderboard", "Row", "Share", "collect", "render_leaderboard", "write_leaderboard"]


_COLUMNS = (
    ("Model", "ascending"),
    ("Clean accuracy", "descending"),
    ("Robust accuracy", "descending"),
    ("Proved", "descending"),
    ("Verdict", "descending"),
    ("Calibration error", "ascending"),
    ("Passes", "ascending"),
    ("Seconds", "ascending"),
)
"""What a table shows, and how a first click sorts it."""


class Share(Strict):
    """A share of samples with its 95 % interval."""

    value: float
    interval: tuple[float, float]


class Row(Strict):
    """One report."""

    model: str
    framework: str
    page: str = Field(description="its page, relative to this file")
    clean: Share
    robust: Share | None = Field(description="what no attack broke; None where nothing attacked")
    proved: Share | None = Field(description="what is proved; None where proofs were not tried")
    verdict: Literal["reliable", "doubtful", "unreliable"] | None = Field(
        description="of the self-checks of the robust accuracy; None where they were not made"
    )
    calibration_error: float
    passes: int | None = Field(description="samples passed through the model by all attacks, forwards and backwards")
    seconds: float = Field(description="seconds of work that the report took, on the machine that made it")
    results_digest: str


class Group(Strict):
    """Reports that compare: of the same samples, under the same attacks within the same threat."""

    data: str
    split: str
    n: int
    data_digest: str
    task: str
    norm: str | None = Field(description="norm of the threat; None where nothing attacked")
    eps: float | None
    attacks: tuple[str, ...]
    rows: tuple[Row, ...] = Field(description="the most robust first")

    @property
    def places(self) -> tuple[str, ...]:
        """For each row, the folder of its report where other rows are of models of the same name, else nothing."""
        names = [row.model for row in self.rows]
        folders = [PurePosixPath(unquote(row.page)).parent for row in self.rows]
        last = [folder.name for folder in folders]
        return tuple(
            "" if names.count(name) == 1 else folder.name if last.count(folder.name) == 1 else str(folder)
            for name, folder in zip(names, folders, strict=True)
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Each row's model, with the folder of its report where that alone tells it from others."""
        return tuple(
            f"{row.model} ({place})" if place else row.model for row, place in zip(self.rows, self.places, strict=True)
        )


class Failure(Strict):
    """A model without a report, and why."""

    name: str
    reason: str


class Leaderboard(Strict):
    """Reports in groups, within which alone they compare."""

    schema_version: Literal[1] = 1
    groups: tuple[Group, ...]
    failures: tuple[Failure, ...] = ()


def collect(folders: Sequence[Path], home: Path, failures: Sequence[Failure] = ()) -> Leaderboard:
    """The leaderboard of the reports in some folders, to be written to ``home``."""
    groups: dict[tuple[object, ...], tuple[Report, list[Row]]] = {}
    for folder in folders:
        report = Report.read(folder)
        groups.setdefault(_question(report), (report, []))[1].append(_row(report, folder, home))
    return Leaderboard(groups=tuple(_group(*one) for one in groups.values()), failures=tuple(failures))


def write_leaderboard(board: Leaderboard, home: Path) -> Path:
    """Write ``leaderboard.json`` and ``index.html`` to a folder; give the page."""
    write_json(home / "leaderboard.json", board.model_dump(mode="json"))
    write_text(home / "index.html", render_leaderboard(board))
    return home / "index.html"


def render_leaderboard(board: Leaderboard) -> str:
    """The page of a leaderboard."""
    places = [("summary", "Reports"), *((f"group-{i}", _title(one)) for i, one in enumerate(board.groups, start=1))]
    places += [("failed", "Without a report")] if board.failures else []
    return (
        environment()
        .get_template("leaderboard.html.j2")
        .render(
            board=board,
            version=version("xaibench"),
            columns=_COLUMNS,
            sentence=_sentence(board),
            places=[*places, ("reading", "How to read this")],
            titles=[_title(one) for one in board.groups],
        )
    )


def _title(group: Group) -> str:
    if group.norm is None or group.eps is None:
        return group.data
    return f"{group.data}, {format_threat(group.norm, group.eps)}"


def _sentence(board: Leaderboard) -> str:
    """The leaderboard in a sentence or two."""
    count = sum(len(group.rows) for group in board.groups)
    parts = [f"{counted(count, 'report')} in {counted(len(board.groups), 'group')}."]
    for group in board.groups:
        ranked = [
            Ranked(name=name, share=row.robust.value, interval=row.robust.interval)
            for name, row in zip(group.names, group.rows, strict=True)
            if row.robust
        ]
        if len(ranked) > 1:
            order = order_of(ranked, attacked=True)
            parts.append(f"{_title(group)}: {order.head}. {order.reason}")
    return " ".join(parts)


def _question(report: Report) -> tuple[object, ...]:
    """What two reports must share to compare."""
    robustness = report.results.robustness
    threat = (robustness.norm, robustness.eps, _attacks(report)) if robustness else None
    return (report.data.digest, report.model.task, threat)


def _attacks(report: Report) -> tuple[str, ...]:
    robustness = report.results.robustness
    return tuple(curve.attack for curve in robustness.curves) if robustness else ()


def _group(report: Report, rows: Sequence[Row]) -> Group:
    robustness, data = report.results.robustness, report.data
    return Group(
        data=data.name,
        split=data.split,
        n=data.n,
        data_digest=data.digest,
        task=report.model.task,
        norm=robustness.norm if robustness else None,
        eps=robustness.eps if robustness else None,
        attacks=_attacks(report),
        rows=tuple(sorted(rows, key=lambda row: (-(row.robust or row.clean).value, -row.clean.value, row.model))),
    )


def _row(report: Report, folder: Path, home: Path) -> Row:
    clean, robustness, timings = report.results.clean, report.results.robustness, report.timings
    robust = proved = None
    if robustness:
        at, worst = robustness.index, robustness.worst_case
        robust = Share(value=worst.accuracy[at], interval=worst.interval[at])
        if robustness.proved:
            proved = Share(value=robustness.proved.accuracy[at], interval=robustness.proved.interval[at])
    whole = [sum(count) for attack, count in timings.passes.items() if ": " not in attack]
    return Row(
        model=report.model.name,
        framework=report.model.framework,
        page=quote(Path(os.path.relpath(folder / "index.html", home)).as_posix()),
        clean=Share(value=clean.accuracy, interval=clean.accuracy_interval),
        robust=robust,
        proved=proved,
        verdict=robustness.checks.verdict if robustness and robustness.checks else None,
        calibration_error=clean.calibration_error,
        passes=sum(whole) if whole else None,
        seconds=sum(seconds for stage, seconds in timings.seconds.items() if ": " not in stage),
        results_digest=report.results_digest,
    )
