"""``xaibench train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xaibench.cli.console import live_progress, print_json
from xaibench.cli.options import AsJson

__all__ = ["Resume", "Track", "train"]

Resume = Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")]
Track = Annotated[
    str | None, typer.Option(help="Send figures to tensorboard (a folder in the model's) or mlflow, besides the log.")
]


def train(
    *,
    recipe: Annotated[Path, typer.Argument(help="A recipe in TOML, such as those in recipes/.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Folder to write the model to; models/<name> by default.")] = None,
    resume: Resume = False,
    track: Track = None,
    keep_checkpoints: Annotated[
        bool, typer.Option("--keep-checkpoints", help="Keep the model after each epoch, to trace influence later.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a classifier from a recipe and write its model folder.

    [dim]xaibench train recipes/digits-cnn.toml[/]
    [dim]xaibench train recipes/mnist-cnn.toml --resume[/]
    [dim]xaibench train searches/digits-cnn/best.toml --out models/digits-tuned --json[/]
    """
    from xaibench.training import train as fit

    with live_progress() as progress:
        folder = fit(
            recipe,
            out=out,
            resume=resume,
            keep_checkpoints=keep_checkpoints,
            track=track,  # type: ignore[arg-type]  # checked there
            progress=progress,
        )
    if as_json:
        from xaibench.card import Card

        found = Card.read(folder / "config.json")
        print_json({"folder": str(folder), "weights_digest": found.weights_digest, "metrics": found.metrics})
    else:
        print(folder)
