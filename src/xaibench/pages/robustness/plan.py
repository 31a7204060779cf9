"""What a run measures: its size, its threat and its attack, as the command line that does it."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from xaibench.card import Card
    from xaibench.report import Report

__all__ = ["PRESETS", "Preset", "Wanted", "arguments", "customary", "estimate", "report_name", "shape"]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How much is measured, beside the attacks on all ``n`` samples: numbers of samples of each kind."""

    label: str
    n: int
    meaning: str
    proofs: int
    minimal: int
    corruptions: int
    samples: int
    assessed: int
    compared: int
    manipulated: int
    thorough: bool = False


PRESETS = {
    "quick": Preset(
        label="Quick",
        n=50,
        meaning="a first impression: wide error bars, and nothing on explanations",
        proofs=20,
        minimal=20,
        corruptions=20,
        samples=3,
        assessed=0,
        compared=0,
        manipulated=0,
    ),
    "standard": Preset(
        label="Standard",
        n=200,
        meaning="the report that `xaibench report` makes",
        proofs=100,
        minimal=50,
        corruptions=100,
        samples=6,
        assessed=16,
        compared=32,
        manipulated=16,
    ),
    "thorough": Preset(
        label="Thorough",
        n=500,
        meaning="narrow error bars, more proofs, and the costly self-checks",
        proofs=500,
        minimal=100,
        corruptions=200,
        samples=6,
        assessed=32,
        compared=64,
        manipulated=16,
        thorough=True,
    ),
}

_STARTING = 8.0
"""Seconds until a process has loaded its frameworks."""
_STAGES = {
    "proofs": "proofs",
    "minimal distances": "minimal",
    "corruptions": "corruptions",
    "explain": "samples",
    "trust of explanations": "assessed",
    "quality of explanations": "assessed",
    "robustness of explanations": "manipulated",
}
"""What the seconds of a stage grow with; those of the others, with the number of samples."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the reader asks for; ``eps`` None is the customary one, ``attack`` a spec."""

    model: str
    task: Literal["image", "text", "tabular"]
    preset: Preset
    n: int
    norm: str
    eps: float | None
    attack: str


def arguments(wanted: Wanted, out: str) -> tuple[str, ...]:
    """The command line, as after ``xaibench``."""
    preset = wanted.preset
    sizes = {"proofs": preset.proofs, "samples": preset.samples, "assessed": preset.assessed}
    if wanted.task != "text":
        sizes |= {"minimal": preset.minimal, "manipulated": preset.manipulated}
    if wanted.task == "image":
        sizes |= {"corruptions": preset.corruptions}
    sizes |= {"compared": preset.compared}
    found = ["report", wanted.model, "--n", str(wanted.n)]
    if wanted.task != "text":
        found += ["--norm", wanted.norm]
    if wanted.eps is not None:
        found += ["--eps", repr(wanted.eps)]
    if wanted.attack != "verdict":  # alone, the cheap attacks go before it
        found += ["--attack", wanted.attack]
    for name, size in sizes.items():
        found += [f"--{name}", str(size)]
    return (*found, *(("--thorough",) if preset.thorough else ()), "--out", out)


def report_name(model: str) -> str:
    """A name for a new report that no other has."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", model).strip("-_")[:60] or "report"
    return f"{plain}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def customary(card: Card, norm: str) -> float:
    """The radius that is taken where the reader names none."""
    from xaibench.evaluate.settle import customary_eps
    from xaibench.types import Bounds

    return customary_eps(norm, card.task, card.input_shape, Bounds(*card.bounds))


def shape(wanted: Wanted, before: Report) -> dict[str, float]:
    """Seconds that each stage of a run would take if it went as those of an earlier one, but at its own size."""
    sizes = {**vars(wanted.preset), "n": wanted.n, "proofs": min(wanted.preset.proofs, wanted.n)}
    found = {}
    for stage, seconds in before.timings.seconds.items():
        if ": " in stage:  # a part of an ensemble, which is in its sum
            continue
        field = _STAGES.get(stage, "n")
        had = before.data.n if field == "n" else min(getattr(before.plan, field) or 1, before.data.n)
        if size := min(sizes[field], wanted.n):
            found[stage] = seconds * size / max(had, 1)
    return found


def estimate(wanted: Wanted, before: Report) -> float:
    """About how many seconds a run takes, judged by what the stages of an earlier one of the same model took."""
    return _STARTING + sum(shape(wanted, before).values())
