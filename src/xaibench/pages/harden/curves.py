"""A training as curves: its loss at each step, and what held-out rows said after each epoch, also while it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xaibench.drawing.charts import laid_out, share_axis
from xaibench.drawing.colours import BLUE, GREY, ORANGE, VIOLET
from xaibench.reading import percent

__all__ = ["ATTACKED", "CLEAN", "PLAIN", "Log", "alarms", "held_out", "held_out_chart", "loss_chart", "said"]

CLEAN, ATTACKED, PLAIN = BLUE, ORANGE, GREY
_LOSS = VIOLET
_MOST_POINTS = 200
"""Points of a curve of losses; of more steps, the means of as many groups are drawn: single batches differ much."""

_MEANING = {
    "robust_overfitting": "on held-out rows, accuracy under attack fell below its best while it rose in training",
    "catastrophic_overfitting": "the network learned the attack it is trained with, and no other",
}


@dataclass
class Log:
    """The lines of a training's ``log.jsonl``, of which each look reads only what is new.

    A run that goes on after an interruption cuts lines off and writes them again: then all are read again.
    """

    path: Path
    steps: list[dict[str, Any]] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    _place: int = 0
    _last: bytes = b""

    def look(self) -> None:
        """Read on to the last whole line."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._place - len(self._last))
                if file.read(len(self._last)) != self._last:
                    self.steps.clear()
                    self.epochs.clear()
                    self._place = 0
                    file.seek(0)
                news = file.read()
        except OSError:  # not begun, or moved into the finished model
            return
        whole = news[: news.rfind(b"\n") + 1]
        for text in whole.splitlines():
            self._add(text)
        if whole:
            self._place += len(whole)
            self._last = whole.splitlines(keepends=True)[-1]

    def _add(self, text: bytes) -> None:
        try:
            line = json.loads(text)
        except ValueError:
            return
        if line.get("kind") == "step":
            self.steps.append(line)
        elif line.get("kind") == "epoch":
            self.epochs.append(line)


def held_out(epochs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[int], list[float]]]:
    """Clean accuracy and accuracy under attack of the held-out rows: epochs and values, of those measured."""
    found = {}
    for label, key in (("clean", "validation_accuracy"), ("under attack", "validation_robust_accuracy")):
        measured = [line for line in epochs if key in line]
        found[label] = ([int(line["epoch"]) for line in measured], [float(line[key]) for line in measured])
    return {label: series for label, series in found.items() if series[0]}


def alarms(epochs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each kind of alarm once, with the epoch that raised it first and its meaning."""
    first: dict[str, int] = {}
    for line in epochs:
        if "alarm" in line:
            first.setdefault(str(line["alarm"]), int(line["epoch"]))
    return [
        f"{name.replace('_', ' ').capitalize()} since epoch {epoch}: {_MEANING.get(name, 'see the log')}."
        for name, epoch in first.items()
    ]


def loss_chart(lines: Sequence[Mapping[str, Any]], *, unit: str) -> Any:
    """The training loss by step, or by epoch, as a Plotly figure."""
    import plotly.graph_objects as go

    size = max(1, -(-len(lines) // _MOST_POINTS))
    groups = [lines[start : start + size] for start in range(0, len(lines), size)]
    losses = [sum(line["loss"] for line in group) / len(group) for group in groups]
    figure = go.Figure(
        go.Scatter(
            x=[group[-1][unit] for group in groups],
            y=losses,
            mode="lines",
            line={"color": _LOSS, "width": 2},
            hovertemplate=unit + " %{x}: %{y:.3f}<extra>loss</extra>",
        )
    )
    figure.update_yaxes(range=[0, 1.05 * max(losses)], title="training loss")
    return _over(figure, unit)


def held_out_chart(epochs: Sequence[Mapping[str, Any]]) -> Any:
    """Accuracy on held-out rows by epoch, clean and under attack, as a Plotly figure; alarms are crosses."""
    import plotly.graph_objects as go

    figure = go.Figure()
    looks = {"clean": (CLEAN, "dot", "diamond"), "under attack": (ATTACKED, "solid", "circle")}
    for label, (places, values) in held_out(epochs).items():
        colour, dash, symbol = looks[label]
        figure.add_scatter(
            x=places,
            y=values,
            name=label,
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": dash},
            marker={"symbol": symbol, "size": 6},
            text=[percent(value) for value in values],
            hovertemplate="epoch %{x}: %{text}<extra>%{fullData.name}</extra>",
        )
    raised = [line for line in epochs if "alarm" in line and "validation_robust_accuracy" in line]
    if raised:
        figure.add_scatter(
            x=[line["epoch"] for line in raised],
            y=[line["validation_robust_accuracy"] for line in raised],
            name="alarm",
            mode="markers",
            marker={"symbol": "x", "size": 11, "color": PLAIN},
            text=[str(line["alarm"]).replace("_", " ") for line in raised],
            hovertemplate="epoch %{x}: %{text}<extra></extra>",
        )
    figure.update_yaxes(**share_axis("held-out accuracy", low=0.0))
    return _over(figure, "epoch")


def said(epochs: Sequence[Mapping[str, Any]]) -> str:
    """The held-out curves in words."""
    parts = [
        f"{label} {percent(values[0])} after epoch {places[0]}, {percent(values[-1])} after epoch {places[-1]}"
        for label, (places, values) in held_out(epochs).items()
    ]
    return "Accuracy on held-out rows: " + ("; ".join(parts) or "not measured yet")


def _over(figure: Any, unit: str) -> Any:
    """The figure over steps or epochs."""
    figure.update_xaxes(title=unit, showgrid=False, rangemode="tozero")
    return laid_out(figure, height=270, showlegend=len(figure.data) > 1)
