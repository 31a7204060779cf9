"""Samples explained by both classifiers, as the page shows them: each method on one colour scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.comparison.compare import View
from xaibench.comparison.explained import Maps
from xaibench.comparison.sides import Side
from xaibench.drawing.labels import method_label
from xaibench.drawing.pictures import collapse, map_picture, photo
from xaibench.reading import percent
from xaibench.report.samples import Bar, Panel, Row, Sample, Word

__all__ = ["samples_of", "signed_labels"]

_FEATURES, _SMALL = 8, 64


@dataclass(frozen=True)
class _Shares:
    """What each part of a sample holds of its map: for each model, and, where that was made, after the search."""

    before: tuple[Tensor, Tensor]
    after: tuple[Tensor, Tensor] | None

    @property
    def all(self) -> tuple[Tensor, ...]:
        """First model before and after, second before and after."""
        if self.after is None:
            return self.before
        return self.before[0], self.after[0], self.before[1], self.after[1]

    @property
    def scale(self) -> Tensor:
        """The largest share of all."""
        return torch.stack([share.abs().amax() for share in self.all]).amax().clamp_min(1e-30)


def signed_labels(maps: Maps) -> set[str]:
    """The methods, as they are shown, that tell for from against."""
    sides = (*maps.values, *maps.moved)
    return {
        method_label(spec)
        for spec in maps.methods
        if any(bool((side[spec] < 0).any()) for side in sides if spec in side)
    }


def samples_of(view: View) -> list[Sample]:
    """Every sample that both classifiers explain.

    A map is divided by the sum of its magnitudes, for logits of two models have no unit in common; all maps of a
    method are then drawn on one scale. What is darker holds more of its own model's attribution.
    """
    return [] if view.maps is None else [_sample(view, view.maps, place) for place in range(len(view.maps.rows))]


def _sample(view: View, maps: Maps, place: int) -> Sample:
    side, row = view.sides[0], maps.rows[place]
    task, names = view.comparison.task, side.model.class_names
    label = names[int(side.tensors["labels"][row])]
    shares = {spec: _shares(maps, spec, place, task) for spec in maps.methods}
    x = side.tensors["inputs"][row]
    rows = tuple(
        Row(
            title=name,
            prediction=label,
            confidence=maps.confidence[which][place],
            correct=True,
            panels=_panels(view, maps, shares, which, place),
        )
        for which, name in enumerate(view.comparison.names)
    )
    return Sample(
        id=int(side.tensors["ids"][row]),
        label=label,
        attack=None,
        distance=None,
        rows=rows,
        bars=_bars(side, shares, x) if task == "tabular" else {},
        agreement={},
        verdicts={method_label(spec): None for spec in maps.methods},
        pixelated=task == "image" and max(x.shape[1:]) < _SMALL,
    )


def _shares(maps: Maps, spec: str, place: int, task: str) -> _Shares:
    """Of images the channels are one part."""
    signed = method_label(spec) in signed_labels(maps)

    def both(sides: tuple[dict[str, Tensor], dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
        found = []
        for side in sides:
            values = side[spec][place].double()
            values = collapse(values, signed=signed) if task == "image" else values
            found.append(values / values.abs().sum().clamp_min(1e-300))
        return found[0], found[1]

    return _Shares(both(maps.values), both(maps.moved) if spec in maps.moved[0] else None)


def _panels(view: View, maps: Maps, shares: dict[str, _Shares], which: int, place: int) -> tuple[Panel, ...]:
    task, name = view.comparison.task, view.comparison.names[which]
    tensors, row = view.sides[0].tensors, maps.rows[place]
    sample = int(tensors["ids"][row])
    if task == "text":
        return tuple(
            Panel(title=method_label(spec), words=_words(maps, pair, which, place)) for spec, pair in shares.items()
        )
    if task == "tabular":
        return ()
    signed = signed_labels(maps)
    low, high = (limit if isinstance(limit, float | int) else None for limit in view.sides[0].model.bounds)
    bounds = (0.0, 1.0) if low is None or high is None else (low, high)
    pictures = []
    for spec, found in shares.items():
        label, scale = method_label(spec), found.scale
        pictures.append(
            Panel(
                title=label,
                picture=map_picture(found.before[which], signed=label in signed, scale=scale),
                alt=f"{label} of {name} on sample {sample}",
            )
        )
        if found.after is not None:
            left = f"{percent(float(maps.kept[which][spec][place]))} of top places kept"
            pictures.append(
                Panel(
                    title=f"{label}, attacked",
                    note=left,
                    picture=map_picture(found.after[which], signed=label in signed, scale=scale),
                    alt=f"{label} of {name} on sample {sample} after the attack on it: {left}",
                )
            )
    clean = Panel(title="Input", picture=photo(tensors["inputs"][row], bounds), alt=f"Input, sample {sample}")
    return (clean, *pictures)


def _words(maps: Maps, pair: _Shares, which: int, place: int) -> tuple[Word, ...]:
    assert maps.tokens is not None
    values = (pair.before[which] / pair.scale).tolist()
    return tuple(
        Word(text=text, share=share) for text, share in zip(maps.tokens[which][place], values, strict=True) if text
    )


def _bars(side: Side, shares: dict[str, _Shares], x: Tensor) -> dict[str, tuple[Bar, ...]]:
    names = side.data.feature_names or tuple(f"feature {i}" for i in range(x.numel()))
    found = {}
    for spec, pair in shares.items():
        every = torch.stack([share.flatten() for share in pair.all]) / pair.scale
        top = every.abs().amax(dim=0).argsort(descending=True, stable=True)[:_FEATURES]
        found[method_label(spec)] = tuple(
            Bar(name=names[i], values=(f"{float(x.flatten()[i]):.4g}",), shares=tuple(every[:, i].tolist()))
            for i in top.tolist()
        )
    return found
