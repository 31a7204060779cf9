"""Rankings of explainers on disk: those that are shipped and those that jobs of the app have made."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from xaibench.errors import InputError
from xaibench.pages.shared import finished
from xaibench.places import inside, reports_home

if TYPE_CHECKING:
    from xaibench.quality import RankingRecord

__all__ = ["find_rankings", "place_of"]

_FOLDER = "explainers"


def find_rankings() -> dict[str, RankingRecord]:
    """Rankings by the name of their folder, the newest last; unreadable ones are left out."""
    from xaibench.quality import RankingRecord

    found: dict[str, RankingRecord] = {}
    for path in sorted(
        finished.documents("*/ranking.json", among=_FOLDER), key=lambda path: (path.stat().st_mtime, path)
    ):
        try:
            found[path.parent.name] = RankingRecord.read(path)
        except InputError:
            continue
    return found


def place_of(arguments: tuple[str, ...]) -> Path:
    """The folder for the ranking that these arguments of the command give: the same for the same ones."""
    digest = hashlib.sha256("\0".join(arguments).encode()).hexdigest()[:8]
    return inside(reports_home() / _FOLDER, f"{arguments[1]}-{digest}")
