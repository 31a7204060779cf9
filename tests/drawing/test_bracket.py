"""Robust accuracy as a bracket: every sample is in one part, and the bar and its words say the same."""

from __future__ import annotations

import re

import pytest

from xaibench.drawing.bracket import Part, bracket, bracket_parts


@pytest.mark.parametrize(
    ("clean", "robust", "proved", "kinds"),
    [
        (0.9, 0.6, 0.2, "held open lost wrong"),
        (1.0, 0.6, 0.6, "held lost"),
        (0.5, 0.5, 0.0, "open wrong"),
        (0.9, 0.0, None, "lost wrong"),
        (0.1 + 0.2, 0.3, 0.3, "held wrong"),  # the sum is not quite 0.3
    ],
)
def test_the_parts_add_up_and_empty_ones_are_left_out(
    clean: float, robust: float, proved: float | None, kinds: str
) -> None:
    parts = bracket_parts(clean=clean, robust=robust, proved=proved)
    assert " ".join(part.kind for part in parts) == kinds
    assert sum(part.share for part in parts) == pytest.approx(1)


def test_what_nobody_tried_to_prove_is_not_called_unproved() -> None:
    (tried, _), (untried, _) = (bracket_parts(clean=0.5, robust=0.5, proved=proved) for proved in (0.0, None))
    assert tried.label == "neither broken nor proved"
    assert untried.label == "not broken by any attack"


def test_the_bar_is_as_wide_as_its_shares_and_says_them() -> None:
    html = bracket([Part("held", 0.25, "<proved>"), Part("lost", 0.75, "broken")])
    assert re.findall(r"width:([\d.]+)%", html) == ["25.000", "75.000"]
    assert 'aria-label="25 % &lt;proved&gt;, 75 % broken"' in html
    assert html.count("<li") == 2
