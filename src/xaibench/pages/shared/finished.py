"""Finished reports in the folder of reports, read once for each time they were written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.errors import InputError
from xaibench.pages.shared.limits import MEGABYTE
from xaibench.places import inside, reports_home, reports_homes

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.evaluate import Judgement
    from xaibench.report import Report

__all__ = [
    "adversarials",
    "all_reports",
    "digest",
    "documents",
    "file_of",
    "judgements",
    "outcomes",
    "report",
    "report_names",
    "reports_of",
]

_LARGEST_DOCUMENT, _LARGEST_TENSORS = 50 * MEGABYTE, 1000 * MEGABYTE
"""A document of some thousand samples has one; tensors are those of its samples for each attack."""


def file_of(name: str, file: str, *, home: Path | None = None) -> Path:
    """A file of a report's folder, or directly in ``home`` for the empty name; it may be missing.

    Every page opens files of reports through here: a link that leads out of the folder, and what is larger than
    documents or tensors are, raise `InputError`.
    """
    home = reports_home() if home is None else home
    path = inside(inside(home, name) if name else home, file)
    largest = _LARGEST_TENSORS if path.suffix == ".safetensors" else _LARGEST_DOCUMENT
    if path.is_file() and path.stat().st_size > largest:
        raise InputError(f"expected {file} of at most {largest // MEGABYTE} MB, got a larger one")
    return path


def documents(file: str, *, among: str = "") -> list[Path]:
    """The files of these names, such as ``*/compare.json``, in the folder of reports, then those that are shipped.

    ``among`` is a folder within both. What `file_of` refuses is left out.
    """
    found: dict[Path, Path] = {}
    for home in (home / among for home in reports_homes()):
        for path in sorted(home.glob(file)):
            name = "" if path.parent == home else path.parent.name
            try:
                found.setdefault(file_of(name, path.name, home=home).resolve(), path)
            except InputError:
                continue
    return [path for path in found.values() if path.is_file()]


def judgements() -> dict[str, tuple[Judgement, ...]]:
    """What is kept of models' robust accuracies, by the name of the file, the reader's own first.

    Unreadable ones are left out.
    """
    found: dict[str, tuple[Judgement, ...]] = {}
    for path in documents("*.json", among="robust"):
        try:
            one = _judgement(str(path), _moment(path))
        except InputError:
            continue
        found[path.stem] = (*found.get(path.stem, ()), one)
    return found


def report_names() -> tuple[str, ...]:
    """Names of the folders that hold a report, the latest first."""
    written: dict[str, float] = {}
    for path in reports_home().glob("[!.]*/report.json"):
        try:
            written[path.parent.name] = file_of(path.parent.name, path.name).stat().st_mtime
        except (InputError, OSError):  # a link that leads elsewhere, too large, or removed meanwhile
            continue
    return tuple(sorted(written, key=lambda name: (-written[name], name)))


def report(name: str) -> Report:
    """A report by name; what is missing, too old or malformed raises `InputError`."""
    path = file_of(name, "report.json")
    return _report(str(path.parent), _moment(path))


def reports_of(model: str) -> dict[str, Report]:
    """The reports on a model by name, the latest first; those that cannot be read are passed over."""
    found = {}
    for name in report_names():
        try:
            one = report(name)
        except InputError:
            continue
        if model in (one.plan.model, one.model.name):
            found[name] = one
    return found


def all_reports() -> tuple[Report, ...]:
    """Every report that can be read: those in the folder of reports, then those that are shipped."""
    found = []
    for path in documents("[!.]*/report.json"):
        try:
            found.append(_report(str(path.parent), _moment(path)))
        except InputError:
            continue
    return tuple(found)


def adversarials(name: str) -> dict[str, Tensor] | None:
    """The tensors that a report was written with, see `xaibench.evaluate.Evaluation`.

    None if they cannot be read, are not the report's own, or do not say what was broken, as in reports of the first
    version.
    """
    try:
        path, told = file_of(name, "adversarials.safetensors"), report(name)
    except InputError:
        return None
    found = _tensors(str(path.parent), (_moment(path), _moment(path.with_name("report.json"))))
    robustness = told.results.robustness
    needed = [] if robustness is None else [f"broken_at/{curve.attack}" for curve in robustness.curves]
    return found if found is not None and found.keys() >= set(needed) else None


def outcomes(name: str, at: int) -> dict[int, str]:
    """What became of each row of the split that a report attacked, at the radius in this place of its curve.

    ``r`` robust, ``b`` broken by any attack, ``w`` wrong from the start; empty where the tensors cannot be read, or are
    not those that the report was written with.
    """
    try:
        path, told = file_of(name, "adversarials.safetensors"), report(name)
    except InputError:
        return {}
    own = digest(path)
    return _outcomes(str(path), _moment(path), at) if own and own == told.files.get(path.name) else {}


def digest(path: Path) -> str:
    """SHA-256 of a file, computed once for each time it was changed; empty where there is none."""
    try:
        told = path.stat()
        return _digest(str(path), (told.st_mtime_ns, told.st_ctime_ns, told.st_size))
    except OSError:
        return ""


def _moment(file: Path) -> int:
    return file.stat().st_mtime_ns if file.exists() else 0


@st.cache_data(show_spinner=False, max_entries=1000)
def _digest(path: str, change: tuple[int, int, int]) -> str:
    from xaibench.files import file_digest

    return file_digest(path)


@st.cache_resource(show_spinner=False, max_entries=100)
def _report(folder: str, moment: int) -> Report:
    from xaibench.report import Report

    return Report.read(folder)


@st.cache_resource(show_spinner=False, max_entries=100)
def _judgement(path: str, moment: int) -> Judgement:
    from xaibench.evaluate import Judgement

    return Judgement.read(Path(path))


@st.cache_resource(show_spinner=False, max_entries=100)
def _outcomes(file: str, moment: int, at: int) -> dict[int, str]:
    """Reads the few small tensors that this takes, not the examples themselves."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as tensors:
            broken_at = [tensors.get_tensor(key) for key in tensors.keys() if key.startswith("broken_at/")]  # noqa: SIM118
            rows = tensors.get_tensor("ids")
    except (SafetensorError, OSError):
        return {}
    if not broken_at or any(one.shape != (rows.numel(),) for one in (rows, *broken_at)):
        return {}
    first = [min(radii) for radii in zip(*(one.tolist() for one in broken_at), strict=True)]
    return {
        row: "w" if radius == 0 else "b" if radius <= at else "r"
        for row, radius in zip(rows.tolist(), first, strict=True)
    }


@st.cache_resource(show_spinner=False, max_entries=4)
def _tensors(folder: str, moments: tuple[int, int]) -> dict[str, Tensor] | None:
    """Those of a report and their document, by the times at which both were written."""
    from xaibench.report.tensors import read_adversarials

    try:
        return read_adversarials(folder, _report(folder, moments[1]))
    except InputError:
        return None
