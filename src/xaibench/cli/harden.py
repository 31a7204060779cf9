"""``xaibench harden``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from xaibench.cli import completion
from xaibench.cli.console import live_progress, print_json, say
from xaibench.cli.options import AsJson
from xaibench.cli.train import Resume, Track

__all__ = ["harden"]


def harden(
    *,
    model: Annotated[
        str, typer.Argument(help="A model by name, or its folder.", show_default=False, autocompletion=completion.model)
    ],
    data: Annotated[
        str | None, typer.Option(help="Training data; the model's own by default.", autocompletion=completion.data_set)
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help="Objective as name:key=value,...; trades by default, word_substitution for text;"
            " docs/objectives.md lists them all.",
            autocompletion=completion.objective,
        ),
    ] = None,
    norm: Annotated[str | None, typer.Option(help="linf, l2, l1 or words; linf by default, words for text.")] = None,
    eps: Annotated[float | None, typer.Option(help="Radius to train against; the customary one by default.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data, at most; 20 by default.")] = None,
    n: Annotated[int | None, typer.Option(help="Train on so many rows, drawn by the seed; on all by default.")] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate; that of the model's recipe by default.")] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Begin with new weights in place of the model's.")
    ] = False,
    attack_mode: Annotated[
        str | None, typer.Option(help="Mode of batch norm and dropout while inputs are attacked: eval or train.")
    ] = None,
    on_overfitting: Annotated[str | None, typer.Option(help="What an alarm does: report, stop or rewind.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="Fields of a recipe, in TOML, that replace derived ones.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write, without a model in it; models/<name>-robust by default.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that is in the folder.")] = False,
    resume: Resume = False,
    track: Track = None,
    as_json: AsJson = False,
) -> None:
    """Train a hardened copy of a model, and say what that won and cost.

    [dim]xaibench harden digits-cnn[/]
    [dim]xaibench harden mnist-cnn --objective trades:beta=3 --norm linf --eps 0.3 --epochs 20 --from-scratch[/]
    """
    from xaibench.training.hardening import harden as fit

    changes: dict[str, Any] = {"epochs": epochs, "n": n, "attack_mode": attack_mode, "seed": seed}
    changes["optimizer"] = None if rate is None else {"learning_rate": rate}
    changes["probe"] = None if on_overfitting is None else {"on_overfitting": on_overfitting}
    with live_progress() as progress:
        found = fit(
            model,
            data,
            objective=objective,
            norm=norm,
            eps=eps,
            from_scratch=from_scratch,
            out=out,
            overwrite=overwrite,
            resume=resume,
            recipe_file=recipe,
            track=track,  # type: ignore[arg-type]  # checked there
            progress=progress,
            **{key: value for key, value in changes.items() if value is not None},
        )
    for alarm in found.alarms:
        say(f"xaibench: {alarm}: see `history` in {found.folder / 'config.json'}")
    if as_json:
        print_json(asdict(found) | {"folder": str(found.folder)})
    else:
        print(f"{found}\n{found.folder}")
