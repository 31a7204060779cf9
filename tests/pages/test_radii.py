"""Sliders of the radius: they begin at what is customary, for whatever range of inputs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from xaibench.pages.shared.radii import radius_scale, written
from xaibench.types import Bounds


@pytest.mark.parametrize("upper", [1.0, 255.0, 1e-6, 1e6])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0", "spatial"])
def test_the_customary_radius_is_on_the_slider_for_any_range_of_pixels(norm: str, upper: float) -> None:
    model: Any = SimpleNamespace(task="image", bounds=Bounds(0.0, upper))
    usual, step, largest = radius_scale(model, norm, (3, 8, 8))
    assert 0 < step <= usual < largest
    assert {type(usual), type(step), type(largest)} == {int if norm == "l0" else float}
    assert float(written(usual)) == usual
    if norm == "linf":
        assert usual == pytest.approx(upper * 8 / 255)
