"""The colours of charts: told apart by the colour-blind, and seen on light and dark grounds alike."""

from __future__ import annotations

__all__ = ["BLUE", "GREEN", "GREY", "OLIVE", "ORANGE", "PALETTE", "PALE_BLUE", "PINK", "SYMBOLS", "VIOLET", "WHITE_ON"]

BLUE, ORANGE = "#2f83c7", "#d9691e"
"""What stands and what falls, before and after, for and against."""
GREEN, PINK, OLIVE = "#1d9a74", "#b0619a", "#a08c12"
"""Further series."""
VIOLET = "#7c6bc4"
"""What has no side: strength without a sign, a loss."""
GREY = "#808790"
"""What is compared with, and all that is no datum: intervals, lines of reference."""
PALE_BLUE = "#a9c3e6"
"""The weaker part of what is blue."""
WHITE_ON = "#1f6fb2"
"""A blue dark enough for white letters."""

PALETTE = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#8c564b",
    "#7f7f7f",
    "#bcbd22",
    "#17becf",
)
"""Colours of classes, the first six told apart by most colour-blind people (Okabe and Ito)."""
SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "triangle-down",
    "cross",
    "star",
    "bowtie",
)
"""Plotly's shapes for classes, beside their colours: hues that look alike to the colour-blind have different ones, and
so have all classes up to forty when both go round."""
