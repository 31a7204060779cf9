"""How attributions draw themselves in a notebook: maps, shaded words or bars of the first samples, with their trust."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from xaibench.drawing.html import (
    attribution_figure,
    card,
    facts,
    feature_bars,
    gallery,
    legend,
    paragraph,
    shaded_words,
    table,
)
from xaibench.drawing.labels import method_label, name_label

if TYPE_CHECKING:
    from xaibench.explainers.attribution import Attribution
    from xaibench.explainers.comparison import Comparison

__all__ = ["attribution_html", "attribution_line", "comparison_html"]

_IMAGES, _ROWS, _METHODS = 8, 3, 12
"""Most samples and methods that are drawn; the rest are counted."""


def attribution_line(found: Attribution) -> str:
    """An attribution in one line, without its tensors."""
    shape = " x ".join(map(str, found.values.shape[1:]))
    return f"Attribution({found.method}, n={len(found.values)} of {shape}, {found.trust.verdict})"


def attribution_html(found: Attribution) -> str:
    """An attribution as HTML."""
    signed = bool((found.values < 0).any())
    n, shown = len(found.values), _IMAGES if found.values.ndim == 4 else _ROWS
    gap = found.completeness_gap
    known = [
        ("samples", str(n)),
        *([] if gap is None else [("completeness gap", f"{float(gap.double().nanmedian()):.2g} in the median")]),
        ("forward passes", f"{found.cost.forward:,}"),
        ("backward passes", f"{found.cost.backward:,}"),
        ("time", f"{found.cost.seconds:.2g} s"),
    ]
    cells = [_cell(found, row, f"sample {row}, class {int(found.target[row])}") for row in range(min(n, shown))]
    return card(
        name_label(found.method),
        found.trust.verdict,
        paragraph(f"{found.trust.reason[:1].upper()}{found.trust.reason[1:]}."),
        gallery(cells) if found.values.ndim == 4 else "".join(cells),
        paragraph(f"The first {shown} of {n} samples are drawn.", soft=True) if n > shown else "",
        facts(known),
        paragraph(legend(signed=signed, unsigned=not signed), soft=True),
    )


def comparison_html(found: Comparison) -> str:
    """Several explainers on the same samples as HTML: the first sample by each method, then how far all agree."""
    methods = list(found.attributions)
    drawn: Mapping[str, Attribution] = {method: found.attributions[method] for method in methods[:_METHODS]}
    signs = [bool((one.values < 0).any()) for one in drawn.values()]
    first = next(iter(drawn.values()), None)
    if first is None:
        return card("Explainers", None, paragraph("No method could explain the model."), *_refused(found))
    cells = [_cell(one, 0, f"{method_label(method)}: {one.trust.at(0).verdict}") for method, one in drawn.items()]
    means = found.mean_agreement()
    rows = [
        (method_label(method), one.trust.verdict, one.trust.reason, _figure(means[method]), f"{one.cost.seconds:.2g} s")
        for method, one in found.attributions.items()
    ]
    return card(
        f"Explainers side by side: {len(methods)}, samples: {len(first.values)}",
        None,
        paragraph(f"Sample 0, class {int(first.target[0])}:"),
        gallery(cells) if first.values.ndim == 4 else "".join(cells),
        paragraph(legend(signed=any(signs), unsigned=not all(signs)), soft=True),
        table(("method", "trust", "why", "rank agreement with the others", "time"), rows),
        *_refused(found),
    )


def _refused(found: Comparison) -> list[str]:
    return [paragraph(f"Left out: {reason}", soft=True) for reason in found.refused.values()]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _cell(found: Attribution, row: int, caption: str) -> str:
    values, signed = found.values[row].detach().cpu(), bool((found.values < 0).any())
    if values.ndim == 3:
        return attribution_figure(values, caption, signed=signed)
    if found.words is not None:
        return paragraph(caption, soft=True) + shaded_words(found.words[row], values, signed=signed)
    names = [f"feature {place}" for place in range(values.numel())]
    return paragraph(caption, soft=True) + feature_bars(names, values.flatten(), signed=signed)
