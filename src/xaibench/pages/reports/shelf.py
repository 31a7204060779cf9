"""What lies in the folder of reports: reports, comparisons, a leaderboard, and what cannot be read, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import streamlit as st
from pydantic import BaseModel, ValidationError

from xaibench.card import first_problem
from xaibench.errors import InputError
from xaibench.pages.shared import finished
from xaibench.places import inside, reports_home
from xaibench.reading import format_threat

__all__ = ["LEADERBOARD", "Item", "read_items"]

Kind = Literal["report", "comparison", "leaderboard"]

LEADERBOARD = "leaderboard"
_DOCUMENTS: dict[str, Kind] = {"report.json": "report", "compare.json": "comparison"}


@dataclass(frozen=True, kw_only=True)
class Item:
    """One folder, or the leaderboard: its page and other ``files``, or why it cannot be read."""

    name: str
    kind: Kind | None = None
    reason: str = ""
    page: Path | None = None
    document: Path | None = None
    files: tuple[Path, ...] = ()
    model: str = ""
    data: str = ""
    n: int | None = None
    threat: str = ""
    clean: float | None = None
    robust: float | None = None
    proved: float | None = None
    verdict: str = ""
    date: str = ""


def read_items() -> tuple[Item, ...]:
    """All of them, the leaderboard first, then the latest."""
    home = reports_home()
    found = [_item(folder) for folder in home.iterdir() if _looks_like_one(folder)] if home.is_dir() else []
    found.sort(key=lambda item: item.name)
    found.sort(key=lambda item: item.date, reverse=True)
    if (home / "index.html").is_file():
        found.insert(0, _leaderboard())
    return tuple(found)


def _leaderboard() -> Item:
    try:
        page, document = (finished.file_of("", name) for name in ("index.html", "leaderboard.json"))
    except (InputError, OSError) as error:
        return Item(name=LEADERBOARD, reason=str(error))
    files = tuple(path for path in (page, document) if path.is_file())
    return Item(name=LEADERBOARD, kind="leaderboard", page=page, document=document, files=files)


def _looks_like_one(folder: Path) -> bool:
    return not folder.name.startswith(".") and any((folder / name).is_file() for name in _DOCUMENTS)


def _item(folder: Path) -> Item:
    try:
        place = inside(reports_home(), folder.name)
        name = next(name for name in _DOCUMENTS if (place / name).is_file())
        finished.file_of(folder.name, name)
        read = _report if _DOCUMENTS[name] == "report" else _comparison
        return read(folder.name, place)
    except (InputError, OSError) as error:
        return Item(name=folder.name, reason=str(error))


def _report(name: str, folder: Path) -> Item:
    report = finished.report(name)
    robustness = report.results.robustness
    checks = None if robustness is None else robustness.checks
    low, high = (None, None) if robustness is None else robustness.bracket
    proved = None if robustness is None or robustness.proved is None else low
    return Item(
        name=name,
        kind="report",
        **_files(folder, "index.html", "report.json", "adversarials.safetensors", "attributions.safetensors"),
        model=report.model.name,
        data=report.data.name,
        threat="" if robustness is None else format_threat(robustness.norm, robustness.eps),
        clean=report.results.clean.accuracy,
        robust=high,
        proved=proved,
        n=report.data.n,
        verdict=("not attacked" if robustness is None else "not checked") if checks is None else checks.verdict,
        date=report.timings.finished[:10],
    )


def _comparison(name: str, folder: Path) -> Item:
    document = folder / "compare.json"
    told = _told(str(document), document.stat().st_mtime_ns)
    return Item(
        name=name,
        kind="comparison",
        **_files(folder, "compare.html", "compare.json"),
        model=" → ".join(told.names),
        data=told.data,
        verdict=told.verdict,
    )


class _Told(BaseModel):
    """What a list needs to know of a comparison."""

    names: tuple[str, str]
    data: str
    verdict: str
    schema_version: Literal[1]


@st.cache_data(show_spinner=False, max_entries=100)
def _told(path: str, moment: int) -> _Told:
    try:
        return _Told.model_validate_json(Path(path).read_bytes())
    except ValidationError as error:
        raise InputError(f"expected a comparison in {path}, got: {first_problem(error)}") from None


def _files(folder: Path, page: str, document: str, *others: str) -> dict[str, Any]:
    """The files of a report that are there; links that lead out of its folder raise `InputError`."""
    present = tuple(path for name in (page, document, *others) if (path := inside(folder, name)).is_file())
    shown = folder / page
    return {"page": shown if shown in present else None, "document": folder / document, "files": present}
