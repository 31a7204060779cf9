"""What hardening did to models: accuracies before and after, as they were measured."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xaibench.drawing.charts import laid_out, share_axis
from xaibench.drawing.labels import name_label
from xaibench.pages.shared import finished
from xaibench.reading import format_threat, percent

if TYPE_CHECKING:
    from xaibench.evaluate import Judgement

__all__ = ["Outcome", "described", "outcome_of", "overview", "published"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Clean and robust accuracy of a model and of its hardened copy, on ``n`` rows each."""

    before: str
    after: str
    clean: tuple[float, float]
    robust: tuple[float, float]
    norm: str
    eps: float
    attack: str
    n: int

    @property
    def sentence(self) -> str:
        """The finding, in words and numbers."""
        kept = self.clean[1] - self.clean[0]
        if self.gain_is_shown:
            rose = "rose" if self.robust[1] > self.robust[0] else "fell"
            robust = f"Accuracy under attack {rose} from {percent(self.robust[0])} to {percent(self.robust[1])}"
        elif percent(self.robust[0]) == percent(self.robust[1]):
            robust = f"Accuracy under attack is still {percent(self.robust[1])}"
        else:
            robust = (
                f"Accuracy under attack is {percent(self.robust[1])}, before {percent(self.robust[0])}:"
                f" {'1 row shows' if self.n == 1 else f'{self.n} rows show'} no difference"
            )
        if abs(kept) < 0.0005:
            return f"{robust}; clean accuracy is still {percent(self.clean[1])}."
        cost = "at a cost of" if kept < 0 else "with"
        points = f"{100 * abs(kept):.1f} points {'of' if kept < 0 else 'more'} clean accuracy"
        return f"{robust}, {cost} {points} ({percent(self.clean[0])} to {percent(self.clean[1])})."

    @property
    def headline(self) -> str:
        """The finding, of the copy by its name: there may be several of a model."""
        return f"{self.after}: {self.sentence[:1].lower()}{self.sentence[1:]}"

    @property
    def gain_is_shown(self) -> bool:
        """Whether the 95 % interval of the change under attack excludes none (Newcombe, Stat. Med. 17, 1998: 10).

        The rows are the same before and after, which would make it narrower; but which of them changed is not kept.
        """
        from xaibench.metrics.intervals import wilson_interval

        low, high = sorted(self.robust)
        (_, above), (below, _) = (wilson_interval(round(share * self.n), self.n) for share in (low, high))
        return high - low > math.hypot(high - below, above - low)

    @property
    def source(self) -> str:
        """What was measured how."""
        return f"{self.n} test rows, {format_threat(self.norm, self.eps)}, attacked by {name_label(self.attack)}."


def published() -> tuple[Outcome, ...]:
    """Every pair of a model and its hardened copy that was judged by the strictest attack, by name."""
    found = {name: kept[0] for name, kept in finished.judgements().items()}
    outcomes = (
        _paired(told, found[name.removesuffix("-robust")], name)
        for name, told in sorted(found.items())
        if name.endswith("-robust") and name.removesuffix("-robust") in found
    )
    return tuple(outcome for outcome in outcomes if outcome is not None)


def outcome_of(result: str, *, before: str, after: str, norm: str, eps: float) -> Outcome | None:
    """What the JSON that ``xaibench harden --json`` printed says; None where that is nothing yet."""
    try:
        told = json.loads(result)
        sides = told["before"], told["after"]
        clean, robust = (tuple(float(side[key]) for side in sides) for key in ("clean", "robust"))
        if not all(0 <= share <= 1 for share in (*clean, *robust)) or sides[1]["n"] < 1:
            return None
        return Outcome(
            before=before,
            after=after,
            clean=(clean[0], clean[1]),
            robust=(robust[0], robust[1]),
            norm=norm,
            eps=eps,
            attack="pgd",
            n=int(sides[1]["n"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def overview(outcomes: Sequence[Outcome]) -> Any:
    """Accuracy under attack before and after, a line for each model, as a Plotly figure."""
    import plotly.graph_objects as go

    from xaibench.pages.harden.curves import ATTACKED, CLEAN, PLAIN

    ordered = sorted(outcomes, key=lambda one: one.robust[1])
    names = [f"{one.before}\n{format_threat(one.norm, one.eps)}" for one in ordered]
    gaps: list[float | None] = [value for one in ordered for value in (*one.robust, None)]
    figure = go.Figure(
        go.Scatter(
            x=gaps,
            y=[name for name in names for _ in range(3)],
            mode="lines",
            line={"color": ATTACKED, "width": 3},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    for label, values, colour, symbol in (
        ("under attack, before", [one.robust[0] for one in ordered], PLAIN, "circle-open"),
        ("under attack, hardened", [one.robust[1] for one in ordered], ATTACKED, "circle"),
        ("clean, hardened", [one.clean[1] for one in ordered], CLEAN, "diamond"),
    ):
        figure.add_scatter(
            x=values,
            y=names,
            name=label,
            mode="markers",
            marker={"color": colour, "size": 11, "symbol": symbol, "line": {"width": 2, "color": colour}},
            text=[percent(value) for value in values],
            hovertemplate="%{y}: %{text}<extra>%{fullData.name}</extra>",
        )
    figure.update_xaxes(**share_axis())
    figure.update_yaxes(showgrid=False, ticks="")
    return laid_out(figure, height=90 + 46 * len(ordered))


def described(outcomes: Sequence[Outcome]) -> str:
    """The overview in words."""
    return "Accuracy under attack before and after hardening. " + "; ".join(
        f"{one.before}: {percent(one.robust[0])}, {percent(one.robust[1])}" for one in outcomes
    )


def _paired(after: Judgement, before: Judgement, name: str) -> Outcome | None:
    """The two as one; None unless they were measured alike."""
    if any(getattr(before, key) != getattr(after, key) for key in ("norm", "eps", "attack", "n", "data_digest")):
        return None
    return Outcome(
        before=name.removesuffix("-robust"),
        after=name,
        clean=(before.clean_accuracy, after.clean_accuracy),
        robust=(before.robust_accuracy, after.robust_accuracy),
        norm=after.norm,
        eps=after.eps,
        attack=after.attack,
        n=after.n,
    )
