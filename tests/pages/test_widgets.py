"""Settings of methods drawn as widgets: bounded one by one, and in what they multiply to."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from xaibench.attacks import attacks
from xaibench.explainers import explainers
from xaibench.pages.shared.limits import MOST_QUERIES, MOST_STEPS
from xaibench.pages.shared.widgets import _bounded
from xaibench.registry import Registry


@pytest.mark.parametrize("registry", [attacks, explainers], ids=lambda registry: registry.kind)
def test_no_method_can_be_asked_for_more_than_its_defaults_or_the_limit(registry: Registry[Any]) -> None:
    for name in registry.names():
        defaults = {field.name: field.default for field in dataclasses.fields(registry.get(name))}
        counts = [key for key, value in defaults.items() if type(value) is int and not key.startswith("max_")]
        assert _bounded(defaults, defaults) == defaults, name
        found = _bounded({**defaults, **dict.fromkeys(counts, MOST_STEPS)}, defaults)
        usual = math.prod(max(1, int(defaults[key])) for key in counts)
        assert math.prod(found[key] for key in counts) <= max(usual, MOST_QUERIES), name
        assert all(found[key] >= 1 for key in counts), name
