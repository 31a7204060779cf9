"""What can be compared: models and finished reports, by name; and the pairs worth a look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from xaibench.errors import InputError
from xaibench.homes import model_names
from xaibench.pages.shared import cached, finished

if TYPE_CHECKING:
    from xaibench.card import Card
    from xaibench.comparison import Comparison
    from xaibench.evaluate import Judgement

__all__ = ["Source", "cards", "comparisons", "judgement", "pairs", "sources"]

_REPORT = "report:"
_HARDENED = "-robust"


@dataclass(frozen=True)
class Source:
    """A model, or a report on one."""

    kind: Literal["model", "report"]
    name: str

    @property
    def key(self) -> str:
        """As the address has it."""
        return f"{_REPORT}{self.name}" if self.kind == "report" else self.name

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.name} (report)" if self.kind == "report" else self.name


def sources() -> dict[str, Source]:
    """All models, then all reports, by key."""
    found = [Source("model", name) for name in model_names()]
    found += [Source("report", name) for name in sorted(finished.report_names())]
    return {source.key: source for source in found}


def pairs(cards: dict[str, Card]) -> list[tuple[str, str]]:
    """Models and what was made of them, as their cards tell: by compression, by hardening, or by their names."""
    found = []
    for name, card in cards.items():
        made_of = [
            *(step.source for step in card.compression[-1:]),
            str(card.recipe.get("init") or ""),
            name.removesuffix(_HARDENED),
        ]
        origin = next((one for one in made_of if one in cards and one != name), None)
        if origin is not None:
            found.append((origin, name))
    return sorted(found, key=lambda pair: (cards[pair[1]].data.name != "digits", pair))


def judgement(card: Card) -> Judgement | None:
    """What is kept of a model's robust accuracy, sample by sample; None where nothing is, or the model has changed."""
    kept = finished.judgements().get(card.name, ())
    return next((one for one in kept if one.weights_digest == card.weights_digest), None)


def comparisons() -> dict[str, Comparison]:
    """Finished comparisons by the name of their folder, the newest first; unreadable ones are left out."""
    from pydantic import ValidationError

    from xaibench.comparison import Comparison

    found: dict[str, Comparison] = {}
    for path in sorted(finished.documents("[!.]*/compare.json"), key=lambda path: -path.stat().st_mtime):
        try:
            found.setdefault(path.parent.name, Comparison.model_validate_json(path.read_bytes()))
        except (ValidationError, OSError):
            continue
    return found


def cards() -> dict[str, Card]:
    """The cards of all models; unreadable ones are left out."""
    found = {}
    for name in model_names():
        try:
            found[name] = cached.card(name)
        except InputError:
            continue
    return found
