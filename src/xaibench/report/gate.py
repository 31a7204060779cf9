"""A gate for continuous integration: does a report reach what is asked of it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from xaibench.errors import InputError
from xaibench.report.schema import Report

__all__ = ["Demand", "Demands", "judge", "junit"]

_RANK = ("unreliable", "doubtful", "reliable")


@dataclass(frozen=True, kw_only=True)
class Demands:
    """What a report has to reach; None is not asked. Accuracies are shares, of the worst case of all attacks at eps."""

    min_robust: float | None = None
    min_clean: float | None = None
    min_proved: float | None = None
    max_warnings: int | None = None
    max_fails: int | None = None
    verdict: Literal["reliable", "doubtful"] | None = None

    def __post_init__(self) -> None:
        for name in ("min_robust", "min_clean", "min_proved"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"expected `{name}` as a share from 0 to 1, got {value}")
        for name in ("max_warnings", "max_fails"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise InputError(f"expected `{name}` >= 0, got {value}")
        if self.verdict not in (None, *_RANK[1:]):
            raise InputError(f"expected `verdict` as reliable or doubtful, got {self.verdict!r}")


@dataclass(frozen=True)
class Demand:
    """One demand, and whether it is met."""

    name: str
    wanted: str
    got: str
    met: bool


def judge(report: Report, demands: Demands) -> tuple[Demand, ...]:
    """The demands that were made, in order; a number that was not measured does not meet its demand."""
    robustness = report.results.robustness
    proved, robust = robustness.bracket if robustness else (None, None)
    if robustness and robustness.proved is None:
        proved = None
    checks = robustness.checks if robustness else None
    found = [
        _least("clean accuracy", demands.min_clean, report.results.clean.accuracy),
        _least("robust accuracy", demands.min_robust, robust),
        _least("proved accuracy", demands.min_proved, proved),
    ]
    for status, most in (("warning", demands.max_warnings), ("fail", demands.max_fails)):
        fired = None if checks is None else [one.check for one in checks.outcomes if one.status == status]
        found.append(_most(f"self-checks with status {status}", most, fired))
    if demands.verdict is not None:
        got = "not measured" if checks is None else checks.verdict
        met = checks is not None and _RANK.index(checks.verdict) >= _RANK.index(demands.verdict)
        found.append(Demand("verdict of the self-checks", f"{demands.verdict} or better", got, met))
    made = tuple(demand for demand in found if demand is not None)
    if not made:
        raise InputError("expected at least one demand, as --min-robust 0.4, got none")
    return made


def junit(report: Report, demands: Sequence[Demand], seconds: float = 0.0) -> str:
    """The demands as a JUnit report: one test case each."""
    failed = [demand for demand in demands if not demand.met]
    name = f"xaibench check {report.model.name}"
    counts = {"tests": str(len(demands)), "failures": str(len(failed)), "errors": "0", "time": f"{seconds:.3f}"}
    suites = ElementTree.Element("testsuites", {"name": name, **counts})
    suite = ElementTree.SubElement(suites, "testsuite", {"name": name, **counts, "skipped": "0"})
    for demand in demands:
        attributes = {"classname": f"xaibench.{report.model.name}", "name": demand.name, "time": "0.000"}
        case = ElementTree.SubElement(suite, "testcase", attributes)
        if not demand.met:
            message = f"expected {demand.wanted}, got {demand.got}"
            ElementTree.SubElement(case, "failure", {"message": message, "type": "demand"}).text = message
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _least(name: str, least: float | None, got: float | None) -> Demand | None:
    if least is None:
        return None
    shown = "not measured" if got is None else f"{got:.4f}"
    return Demand(name, f">= {least:g}", shown, got is not None and got >= least)


def _most(name: str, most: int | None, fired: list[str] | None) -> Demand | None:
    if most is None:
        return None
    if fired is None:
        return Demand(name, f"<= {most}", "not measured", met=False)
    return Demand(name, f"<= {most}", f"{len(fired)}{': ' if fired else ''}{', '.join(fired)}", len(fired) <= most)
