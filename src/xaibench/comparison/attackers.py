"""What attacked, so that no figure under attack stands without the name of what it was found by."""

from __future__ import annotations

from typing import Any

from xaibench.comparison.results import AttackNote, Comparison, PairedFigure
from xaibench.comparison.sides import Side
from xaibench.drawing.labels import method_label, stage_label
from xaibench.reading import format_radius, norm_label
from xaibench.registry import Spec
from xaibench.robustness import ensemble_names

__all__ = ["MOVING", "TRANSFERRED", "attack_notes", "is_single", "note_text", "under"]

TRANSFERRED = "pgd"
"""The attack whose examples are carried from one model to the other."""
MOVING = 20
"""Steps of the search that moves an explanation."""


def attack_notes(sides: tuple[Side, Side], figures: list[PairedFigure]) -> tuple[AttackNote, ...]:
    """Every attack that figures rest on; none where neither side was attacked."""
    one, other = (side.results.robustness for side in sides)
    if one is None or other is None:
        return ()
    groups = {figure.group for figure in figures}
    specs = [curve.attack for curve in one.curves]
    inner = [
        {row.attack: tuple(stage.stage for stage in row.stages) for row in robust.attacks} for robust in (one, other)
    ]
    seeds = sides[0].plan.seed, sides[1].plan.seed
    within: dict[str, Any] = {"norm": one.norm, "eps": one.eps, "seeds": seeds}
    notes = [
        AttackNote(
            what="accuracy",
            attack=spec,
            stages=(inner[0].get(spec, ()), inner[1].get(spec, ())) if spec in ensemble_names() else ((), ()),
            **within,
        )
        for spec in specs
    ]
    if one.minimal and other.minimal:
        notes += [
            AttackNote(what="distances", attack=spec, norm=one.norm, eps=None, seeds=seeds)
            for spec in dict.fromkeys((one.minimal.attack, other.minimal.attack))
        ]
    if "transfer" in groups:
        carried = specs if sides[0].model.task == "text" else [TRANSFERRED]
        notes += [AttackNote(what="transfer", attack=spec, **within) for spec in carried]
    if "movement" in groups:
        notes.append(AttackNote(what="explanations", attack=f"top_k:steps={MOVING}", **within))
    return tuple(notes)


def is_single(found: Comparison) -> bool:
    """Whether robust accuracy rests on attacks alone that are no ensemble, and so are easily outlasted."""
    return not any(note.attack in ensemble_names() for note in found.attacked("accuracy"))


def under(found: Comparison) -> str:
    """By what robust accuracy was found, and within what: for the middle of a sentence."""
    assert found.within is not None
    names = [method_label(note.attack) for note in found.attacked("accuracy")]
    by = " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:]))) or "attack"
    by = f"the worst of {by}" if len(names) > 1 else f"{by} alone" if names and is_single(found) else by
    radius = format_radius(found.within.eps)
    if found.within.norm == "words":
        return f"under {by} with at most {radius} words edited"
    return f"under {by} at {norm_label(found.within.norm)} ε = {radius}"


def note_text(note: AttackNote, names: tuple[str, str]) -> str:
    """An attack with its parts, radius and seed, for reading."""
    if note.what == "explanations":
        label = f"search for the map that keeps the fewest top places ({Spec.parse(note.attack).params['steps']} steps)"
    else:
        label = method_label(note.attack)
    one, other = (", ".join(map(stage_label, stages)) for stages in note.stages)
    parts = f" ({one})" if one == other else f" ({one or 'none'} for {names[0]}; {other or 'none'} for {names[1]})"
    within = norm_label(note.norm) if note.eps is None else f"{norm_label(note.norm)} ε = {format_radius(note.eps)}"
    seeds = " and ".join(map(str, dict.fromkeys(note.seeds)))
    return f"{label}{parts if one or other else ''}, {within}, seed {seeds}"
