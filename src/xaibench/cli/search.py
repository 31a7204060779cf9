"""``xaibench search``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xaibench.cli.console import live_progress, print_json, print_table, say
from xaibench.cli.options import AsJson, Seed

if TYPE_CHECKING:
    from xaibench.search import SearchResult

__all__ = ["search"]


def search(
    *,
    recipe: Annotated[Path, typer.Argument(help="A recipe in TOML, such as those in recipes/.", show_default=False)],
    trials: Annotated[int, typer.Option(help="How many trials there shall be, with those that are finished.")] = 20,
    out: Annotated[Path | None, typer.Option(help="Folder of the search; searches/<name> by default.")] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(help="A range as key=low..high or key=low..high:log, in place of a default; repeat for several."),
    ] = None,
    prune: Annotated[bool, typer.Option(help="End trials early that fall behind the median of the others.")] = True,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Search for the numbers of a recipe that give the best score on validation rows.

    Every trial is a run folder, the best one's recipe is best.toml; test data is never read. The same command goes on
    where a search stopped.

    [dim]xaibench search recipes/digits-cnn-robust.toml --trials 20[/]
    [dim]xaibench search recipes/digits-cnn.toml --space optimizer.learning_rate=1e-4..1e-2:log --trials 10[/]
    """
    from xaibench.search import search as run

    with live_progress() as progress:
        found = run(recipe, trials=trials, out=out, space=space or (), seed=seed, prune=prune, progress=progress)
    if as_json:
        listed = [asdict(trial) | {"score": trial.score} for trial in found.trials]
        print_json({"best": str(found.folder / "best.toml"), "monitor": found.monitor, "trials": listed})
    else:
        _show(found)


def _show(found: SearchResult) -> None:
    keys = list(found.best.values)
    rows = [
        (
            trial.number,
            "best" if trial is found.best else trial.state,
            len(trial.scores),
            "" if trial.score is None else f"{trial.score:.4f}",
            *(f"{trial.values[key]:.4g}" for key in keys),
        )
        for trial in found.trials
    ]
    print_table(rows, header=("trial", "state", "scores", found.monitor, *keys))
    say("the best of many validation scores is optimistic: `xaibench train` measures best.toml on test data")
    print(found.folder / "best.toml")
