"""A model's card in the gallery, as HTML: name, badges, and how much of it stands under attack."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from xaibench.drawing.bracket import FILLS, Part, bar, bracket_parts
from xaibench.drawing.colours import WHITE_ON
from xaibench.drawing.labels import name_label
from xaibench.pages.models.shelf import Entry
from xaibench.reading import format_threat, percent

if TYPE_CHECKING:
    from xaibench.card import Card, RobustAccuracy

__all__ = ["LEGEND", "STYLE", "accuracy", "face", "facts", "robust_sentence", "size"]

STYLE = f"""<style>
.xb-face h4 {{ margin: 0 0 .3rem; padding: 0; font-size: 1.05rem; overflow-wrap: anywhere; }}
.xb-face p {{ margin: .45rem 0 0; font-size: .875rem; line-height: 1.4; overflow-wrap: anywhere; }}
.xb-face .what {{ opacity: .75; }}
.xb-badge {{ display: inline-block; border: 1px solid rgba(128,128,128,.45); border-radius: 1rem; padding: 0 .55rem;
  margin: 0 .25rem .25rem 0; font-size: .75rem; line-height: 1.35rem; white-space: nowrap; max-width: 100%;
  overflow: hidden; text-overflow: ellipsis; vertical-align: bottom; }}
.xb-badge.robust {{ background: {WHITE_ON}; border-color: {WHITE_ON}; color: #fff; }}
.xb-bar {{ margin-top: .6rem; }}
.xb-key {{ font-size: .8rem; opacity: .9; }}
.xb-key span {{ display: inline-block; width: .8rem; height: .6rem; border-radius: .2rem; margin: 0 .35rem 0 .9rem; }}
.xb-facts {{ border-collapse: collapse; font-size: .875rem; width: 100%; }}
.xb-facts th {{ text-align: left; width: 1%; font-weight: 600; vertical-align: top; padding: .2rem 1rem .2rem 0;
  white-space: nowrap; }}
.xb-facts td {{ padding: .2rem 0; overflow-wrap: anywhere; }}
</style>"""

_KEY = (
    ("open", "right, also under attack"),
    ("lost", "right until attacked"),
    ("right", "right, not attacked yet"),
    ("wrong", "wrong"),
)
LEGEND = (
    '<p class="xb-key">Of its test samples:'
    + "".join(f'<span style="background:{FILLS[kind]}"></span>{text}' for kind, text in _KEY)
    + "</p>"
)

_TASKS = {"image": "image", "text": "text", "tabular": "table"}
_FRAMEWORKS = {"torch": "PyTorch", "keras": "Keras", "exported": "torch.export"}


def face(entry: Entry) -> str:
    """The card's text; all that comes from the model's description is escaped."""
    card = entry.card
    if card is None:
        return f'<div class="xb-face"><h4>{escape(entry.name)}</h4></div>'
    badges = [_TASKS[card.task], _FRAMEWORKS[card.framework], card.data.name, size(entry.mb)]
    marks = "".join(f'<span class="xb-badge">{escape(badge)}</span>' for badge in badges)
    robust = '<span class="xb-badge robust">robust</span>' if entry.is_robust else ""
    own = '<span class="xb-badge robust">yours</span>' if entry.own else ""
    return (
        f'<div class="xb-face"><h4>{escape(entry.title)}</h4><div>{own}{robust}{marks}</div>'
        f'<p class="what">{escape(card.summary)}</p>{_bar(card)}<p>{_figures(card)}</p></div>'
    )


def accuracy(card: Card) -> float | None:
    """The share of its test split that it classifies correctly; None where that was not measured."""
    value = card.metrics.get(card.data.test_split, {}).get("accuracy")
    return value if isinstance(value, int | float) and 0 <= value <= 1 else None


def robust_sentence(one: RobustAccuracy) -> str:
    """A measured robust accuracy in words."""
    attack = name_label(one.attack.partition(":")[0])
    return f"{percent(one.robust_accuracy)} within {format_threat(one.norm, one.eps)} ({attack}, {one.n:,} samples)"


def facts(rows: dict[str, str]) -> str:
    """A table of names and values, both escaped."""
    lines = (f'<tr><th scope="row">{escape(key)}</th><td>{escape(value)}</td></tr>' for key, value in rows.items())
    return f'<table class="xb-facts">{"".join(lines)}</table>'


def _figures(card: Card) -> str:
    found = accuracy(card)
    if found is None:
        return "Not measured yet."
    text = f"<b>{percent(found)}</b> right"
    if not card.robustness:
        return f"{text}; not attacked yet"
    one = card.robustness[0]
    return f"{text}; <b>{percent(one.robust_accuracy)}</b> under attack, {escape(format_threat(one.norm, one.eps))}"


def _bar(card: Card) -> str:
    found = accuracy(card)
    if card.robustness:
        one = card.robustness[0]
        parts = bracket_parts(clean=one.clean_accuracy, robust=one.robust_accuracy, proved=None)
    elif found is not None:
        parts = (Part("right", found, "right"), Part("wrong", 1 - found, "wrong"))
    else:
        parts = (Part("wrong", 1.0, "not measured"),)
    return f'<div class="xb-bar">{bar(parts, _spoken(card), height="0.6rem", radius="0.3rem")}</div>'


def _spoken(card: Card) -> str:
    if card.robustness:
        one = card.robustness[0]
        right, kept = percent(one.clean_accuracy), percent(one.robust_accuracy)
        return f"{right} of the samples are right, {kept} also under attack"
    found = accuracy(card)
    return "not measured" if found is None else f"{percent(found)} of the samples are right"


def size(mb: float) -> str:
    """Megabytes as people read them; kilobytes of less than one."""
    return f"{mb:.1f} MB" if mb >= 1 else f"{1000 * mb:.0f} kB"
