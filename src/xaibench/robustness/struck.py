"""How an attack on one sample draws itself in a notebook: the sample before and after, the change, what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xaibench.drawing.edits import changed_words
from xaibench.drawing.html import card, facts, figure, gallery, paragraph, table
from xaibench.reading import counted, format_threat, percent
from xaibench.threats import Words
from xaibench.threats.geometry import displacement

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.robustness.strike import Strike

__all__ = ["strike_html", "strike_line"]

_CLASSES, _FEATURES = 5, 12
"""Most classes whose probabilities are listed, and features of a table that moved."""
_LEAST = 0.0005
"""Probability below which a class is not listed."""


def strike_line(found: Strike) -> str:
    """An attack on one sample in one line, without its tensors."""
    return f"Strike({_outcome(found)}; {counted(found.trajectory.looks, 'look')} at the model)"


def strike_html(found: Strike) -> str:
    """An attack on one sample as HTML."""
    outcome = _outcome(found)
    known = [("looks at the model", f"{found.trajectory.looks:,}"), ("time", f"{found.seconds:.2g} s")]
    return card(
        f"{outcome[:1].upper()}{outcome[1:]}",
        None,
        paragraph(_sentence(found)),
        *([paragraph("A limit ended the attack before it was through.", soft=True)] if found.stopped else []),
        *_change(found),
        table(("class", "before", "after"), _probabilities(found)),
        facts(known),
    )


def _outcome(found: Strike) -> str:
    label, within = found.trajectory.label, format_threat(found.threat.norm, found.threat.eps)
    aim = "" if found.trajectory.target is None else f" as class {found.trajectory.target}"
    if not found.broken:
        return f"class {label} not broken{aim} within {within}"
    return f"class {label} taken for class {int(found.after.argmax())} within {within}"


def _sentence(found: Strike) -> str:
    if not found.broken:
        return f"The model sees {_said(found.before)}."
    size = format_threat(found.threat.norm, float(found.threat.distance(found.found, found.x)))
    return f"The model sees {_said(found.before)}, and after a change of {size} {_said(found.after)}."


def _change(found: Strike) -> list[str]:
    """What the attack did to the sample, as its kind is seen."""
    if found.x.ndim == 4:
        return [gallery(_pictures(found), together=3)]
    if isinstance(found.threat, Words):
        words = found.threat.vocabulary.words
        before, after = ([words[index] for index in text[0].tolist()] for text in (found.x, found.found))
        padding = words[found.threat.vocabulary.padding]
        return [changed_words(*([word for word in text if word != padding] for text in (before, after)))]
    return _features(found)


def _pictures(found: Strike) -> list[str]:
    from xaibench.drawing.pictures import magnified, perturbation_picture, photo

    x, other = found.x[0], found.found[0]
    bounds = min(0.0, float(x.min()), float(other.min())), max(1.0, float(x.max()), float(other.max()))
    side = max(x.shape[1:])
    cells = [figure(photo(x, bounds), f"before: {_said(found.before)}", side=side)]
    if found.broken:
        cells += [
            figure(perturbation_picture(other - x), f"the change, {magnified(other - x, bounds)}", side=side),
            figure(photo(other, bounds), f"after: {_said(found.after)}", side=side),
        ]
    return cells


def _features(found: Strike) -> list[str]:
    """The features of a table that moved, the most first, in the units of the threat."""
    x, other = found.x[0], found.found[0]
    steps = displacement(found.found, found.x, found.threat.scale)[0].abs()
    moved = [index for index in steps.argsort(descending=True).tolist() if steps[index]]
    if not moved:
        return []
    rows = [(f"feature {index}", f"{float(x[index]):.4g}", f"{float(other[index]):.4g}") for index in moved[:_FEATURES]]
    more = f"{len(rows)} of {len(moved)} features that moved, of {len(x)} in all."
    return [table(("feature", "before", "after"), rows), paragraph(more, soft=True)]


def _said(probabilities: Tensor) -> str:
    return f"class {int(probabilities.argmax())}, {percent(float(probabilities.max()))}"


def _probabilities(found: Strike) -> list[tuple[str, str, str]]:
    """Of the classes that are likeliest before or after, without those that play no part."""
    most = found.before.maximum(found.after)
    likeliest = [index for index in most.argsort(descending=True).tolist() if most[index] >= _LEAST]
    return [
        (str(index), percent(float(found.before[index])), percent(float(found.after[index])))
        for index in likeliest[:_CLASSES]
    ]
