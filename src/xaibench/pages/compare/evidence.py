"""What is known of two sources side by side, the most telling first: a comparison, two reports, two judgements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.errors import InputError, first_line
from xaibench.pages.compare.sources import Source, comparisons, judgement
from xaibench.pages.shared import cached, finished
from xaibench.places import inside, reports_home

if TYPE_CHECKING:
    from xaibench.comparison import Comparison
    from xaibench.comparison.results import Compared

__all__ = ["Evidence", "find_evidence"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A comparison, where it comes from, and the name of its page if it has one."""

    found: Comparison
    origin: str
    page: str | None = None


def find_evidence(first: Source, second: Source) -> tuple[Evidence | None, str]:
    """What is known of both; None where nothing is, and why."""
    for name, found in comparisons().items():
        if all(_is_of(one, model) for one, model in zip((first, second), found.models, strict=True)):
            shown = name if (reports_home() / name / "compare.json").is_file() else None
            origin = f"From the comparison {name} on {found.n} samples of {found.data}."
            return Evidence(found=found, origin=origin, page=shown), ""
    reports = [_report_of(source) for source in (first, second)]
    why = ""
    if reports[0] is not None and reports[1] is not None:
        try:
            found = _of_reports(*(_stamped(name) for name in reports if name))
            return Evidence(found=found, origin=f"From the reports {reports[0]} and {reports[1]}."), ""
        except InputError as error:
            why = f"The reports {reports[0]} and {reports[1]} do not compare: {first_line(error)}"
    if first.kind == second.kind == "model":
        one, other = cached.card(first.name), cached.card(second.name)
        kept = judgement(one), judgement(other)
        if kept[0] is not None and kept[1] is not None:
            from xaibench.comparison import compare_judgements

            try:
                found = compare_judgements((kept[0], kept[1]), (one, other))
            except InputError as error:
                return None, f"What is kept of both does not compare: {first_line(error)}"
            return Evidence(found=found, origin=f"From what is kept of both on {found.n} samples of {found.data}."), ""
    return None, why or "Nothing is known yet of both on the same samples."


def _is_of(source: Source, model: Compared) -> bool:
    """Whether this is what was compared, and is still the same."""
    if source.kind == "report":
        own = finished.report(source.name).model
        return (own.name, own.digest) == (model.name, model.digest)
    return (source.name, cached.card(source.name).weights_digest) == (model.name, model.digest)


def _report_of(source: Source) -> str | None:
    """The report itself, or the newest of a model as it is today."""
    if source.kind == "report":
        return source.name
    digest = cached.card(source.name).weights_digest
    return next((name for name, one in finished.reports_of(source.name).items() if one.model.digest == digest), None)


def _stamped(name: str) -> tuple[str, float]:
    folder = inside(reports_home(), name)
    return str(folder), (folder / "report.json").stat().st_mtime


@st.cache_data(show_spinner="Comparing the reports", max_entries=32)
def _of_reports(first: tuple[str, float], second: tuple[str, float]) -> Comparison:
    """Two reports by folder and time of writing, compared by what they hold."""
    from xaibench.comparison import compare, load_side

    return compare(load_side(first[0], live=False), load_side(second[0], live=False)).comparison
