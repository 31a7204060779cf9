"""``index.html``: the report as one file that opens offline."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from xaibench.report.schema import Report

__all__ = ["render"]


def render(report: Report, adversarials: Mapping[str, Tensor], attributions: Mapping[str, Tensor]) -> str:
    """The page of a report, given its adversarial examples and attributions."""
    raise NotImplementedError
