"""Finished reports in the folder of reports, read once for each time they were written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.errors import InputError
from xaibench.places import inside, reports_home

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.report import Report

__all__ = ["adversarials", "report", "report_names", "reports_of"]


def report_names() -> tuple[str, ...]:
    """Names of the folders that hold a report, the latest first."""
    written: dict[str, float] = {}
    for file in reports_home().glob("[!.]*/report.json"):
        try:
            written[file.parent.name] = (inside(reports_home(), file.parent.name) / file.name).stat().st_mtime
        except (InputError, OSError):  # a link that leads elsewhere, or removed meanwhile
            continue
    return tuple(sorted(written, key=lambda name: (-written[name], name)))


def report(name: str) -> Report:
    """A report by name; what is missing, too old or malformed raises `InputError`."""
    folder = inside(reports_home(), name)
    return _report(str(folder), _moment(folder / "report.json"))


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


def adversarials(name: str) -> dict[str, Tensor] | None:
    """The tensors that a report was written with, see `xaibench.evaluate.Evaluation`; None where they are not there."""
    file = inside(reports_home(), name) / "adversarials.safetensors"
    return _tensors(str(file), _moment(file)) if file.is_file() else None


def _moment(file: Path) -> int:
    return file.stat().st_mtime_ns if file.exists() else 0


@st.cache_resource(show_spinner=False, max_entries=100)
def _report(folder: str, moment: int) -> Report:
    from xaibench.report import Report

    return Report.read(folder)


@st.cache_resource(show_spinner=False, max_entries=4)
def _tensors(file: str, moment: int) -> dict[str, Tensor] | None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except SafetensorError:
        return None
