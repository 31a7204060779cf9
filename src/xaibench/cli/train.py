"""``xaibench train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xaibench.cli.console import live_progress

__all__ = ["train"]


def train(
    *,
    recipe: Annotated[Path, typer.Argument(help="A recipe in TOML, such as those in recipes/.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Folder to write the model to; models/<name> by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")] = False,
    keep_checkpoints: Annotated[
        bool, typer.Option("--keep-checkpoints", help="Keep the model after each epoch, to trace influence later.")
    ] = False,
) -> None:
    """Train a classifier from a recipe and write its model folder.

    [dim]xaibench train recipes/digits-cnn.toml[/]
    [dim]xaibench train recipes/mnist-cnn.toml --resume[/]
    """
    from xaibench.training import train as fit

    with live_progress() as progress:
        folder = fit(recipe, out=out, resume=resume, keep_checkpoints=keep_checkpoints, progress=progress)
    print(folder)
