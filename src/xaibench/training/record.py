"""What a training was begun with: a resumed one goes on only with the same recipe, data and initial weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaibench.errors import InputError
from xaibench.files import write_json
from xaibench.training.recipe import Recipe

__all__ = ["Record"]

_FREE = {"checkpoint_seconds", "summary", "test_split"}
"""Fields of a recipe that may change on the way, because no weight depends on them."""


@dataclass(frozen=True)
class Record:
    """The recipe of a training, and what the work folder says of an earlier part of it, if any."""

    recipe: dict[str, Any]
    before: dict[str, Any] | None

    @classmethod
    def find(cls, work: Path, recipe: Recipe, *, resume: bool) -> Record:
        """Look for an unfinished training; refuse to begin over one, and to go on with one of another recipe."""
        path, now = work / "record.json", recipe.model_dump(mode="json")
        if work.parent.exists() and not work.parent.is_dir():
            raise InputError(f"expected a folder to write to, got the file {work.parent}")
        if not path.exists():
            return cls(now, None)
        if not resume:
            raise InputError(f"expected --resume (or {work} removed), got an unfinished training in {work}")
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            then = Recipe.of(before["recipe"]).model_dump(mode="json")
            changed = [key for key in now if key not in _FREE and now[key] != then[key]]
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"expected the record of a training in {path}, got a damaged file: remove {work}"
            ) from None
        if changed:
            raise InputError(f"expected the recipe that {work} was begun with, got another `{changed[0]}`")
        return cls(now, before)

    def keep(self, work: Path, **digests: str | None) -> None:
        """Write the record, or check that the digests are those of the earlier part."""
        for what, digest in digests.items():
            if self.before is not None and self.before.get(what) != digest:
                raise InputError(f"expected the {what.replace('_', ' ')} that {work} was begun with, got other")
        try:
            write_json(work / "record.json", {"recipe": self.recipe, **digests})
        except OSError as error:
            raise InputError(f"expected a folder that can be written, got {work.parent}: {error.strerror}") from None
