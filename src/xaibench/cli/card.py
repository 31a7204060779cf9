"""``xaibench card``: model cards, written from what is stored and measured."""

from __future__ import annotations

from typing import Annotated

import typer

from xaibench.cli import completion
from xaibench.cli.console import live_progress, print_json
from xaibench.cli.options import AsJson

__all__ = ["card"]


def card(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models by name or folder; all by default.",
            show_default=False,
            autocompletion=completion.model_or_report,
        ),
    ] = None,
    *,
    measure: Annotated[bool, typer.Option("--measure", help="Measure on the whole test split again first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the model card (README.md) of models again, from their config.json.

    [dim]xaibench card digits-cnn[/]
    [dim]xaibench card digits-cnn --measure[/]
    """
    from xaibench.cards import write_card
    from xaibench.homes import model_folder, model_names

    written = []
    for name in names or model_names():
        folder = model_folder(name)
        if measure:
            from xaibench.training.measure import measure as measure_again

            with live_progress() as progress:
                measure_again(folder, progress=progress)
        else:
            write_card(folder)
        written.append(str(folder / "README.md"))
    print_json(written) if as_json else print("\n".join(written))
