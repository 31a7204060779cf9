"""``xaibench card``: model cards, written from what is stored and measured."""

from __future__ import annotations

from typing import Annotated

import typer

from xaibench.cli.console import live_progress

__all__ = ["card"]


def card(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models by name or folder; all by default.", show_default=False)
    ] = None,
    *,
    measure: Annotated[bool, typer.Option("--measure", help="Measure on the whole test split again first.")] = False,
) -> None:
    """Write the model card (README.md) of models again, from their config.json.

    [dim]xaibench card digits-cnn[/]
    [dim]xaibench card digits-cnn --measure[/]
    """
    from xaibench.cards import write_card
    from xaibench.zoo import model_folder, model_names

    for name in names or model_names():
        folder = model_folder(name)
        if measure:
            from xaibench.training.measure import measure as measure_again

            with live_progress() as progress:
                measure_again(folder, progress=progress)
        else:
            write_card(folder)
        print(folder / "README.md")
