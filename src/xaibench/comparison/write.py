"""From a comparison to its files."""

from __future__ import annotations

from pathlib import Path

from xaibench.comparison.compare import View
from xaibench.comparison.page import render
from xaibench.comparison.sides import Live
from xaibench.evaluate.shards import Shards, remove_work
from xaibench.files import write_json, write_text

__all__ = ["write_comparison"]


def write_comparison(view: View, out: Path) -> Path:
    """Write ``compare.html`` and ``compare.json`` to a folder, each in one go; give the page.

    What the comparison had finished on its way is removed then; what other work left in the folder stays.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "compare.html", render(view))
    write_json(out / "compare.json", view.comparison.model_dump(mode="json"))
    for side in view.sides:
        if isinstance(side.live, Live):
            shards = Shards.open(out, side.plan, side.live.model, side.live.data)
            remove_work(shards.folder)
    return out / "compare.html"
