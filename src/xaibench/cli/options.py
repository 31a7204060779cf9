"""Options that several commands share, said once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from xaibench.cli.completion import architecture, data_set, model
from xaibench.errors import InputError

__all__ = [
    "AsJson",
    "DataName",
    "Limit",
    "ModelName",
    "Seed",
    "Split",
    "Weights",
    "listed",
    "say_if_fewer",
    "takes_model_options",
]

ModelName = Annotated[
    str,
    typer.Argument(
        help="A shipped model, a model folder, a weights file (.keras, .pt2, SavedModel) or your own module:factory.",
        show_default=False,
        autocompletion=model,
    ),
]
Weights = Annotated[
    Path | None, typer.Option(help="Weights for a module:factory model (.safetensors, or a plain state dict).")
]
DataName = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="A data set by name, or a folder, CSV, Parquet or .npz; the model's own by default.",
        autocompletion=data_set,
    ),
]
Split = Annotated[str, typer.Option(help="Which split of the data.")]
Limit = Annotated[int | None, typer.Option(help="How many rows, drawn by the seed; all by default.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]

R = TypeVar("R")

_MODEL_OPTIONS = {
    "architecture": "Architecture of a file of weights, as name:key=value,...",
    "task": "image, tabular or text; the data's by default.",
    "bounds": "Lowest and highest input that the model takes: of images, as in 0,255 (0,1 by default); of all columns"
    " of a table, as in -10,10 (the range of each in the data by default).",
    "mean": "What the model wants subtracted: one number, or one per channel or feature with commas.",
    "std": "What it wants the rest divided by.",
    "class_names": "Classes in the order of the model's outputs, with commas.",
    "outputs": "logits or probabilities, where that cannot be found out.",
    "tokenizer": "The tokenizer.json of a model of text.",
}

_COMPLETED = {"architecture": architecture}
"""What the shell offers for those whose values have names."""


def takes_model_options(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options that say how to read one's own model; it gets the given ones as ``options``."""
    signature = inspect.signature(command, eval_str=True)
    added = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                str | None,
                typer.Option(
                    help=text,
                    rich_help_panel="How to read a model of your own",
                    metavar="TEXT",
                    autocompletion=_COMPLETED.get(name),
                ),
            ],
        )
        for name, text in _MODEL_OPTIONS.items()
    ]

    @wraps(command)
    def with_options(**values: Any) -> R:
        given = {name: text for name in _MODEL_OPTIONS if (text := values.pop(name)) is not None}
        return command(options=given, **values)

    kept = [parameter for name, parameter in signature.parameters.items() if name != "options"]
    with_options.__signature__ = signature.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
    return with_options


def listed(given: list[str] | None) -> list[str] | None:
    """Specs of an option that takes names with commas, or ``name:key=value,...``, and may be repeated.

    >>> listed(["saliency,occlusion", "lrp:rule=gamma,composite=false"])
    ['saliency', 'occlusion', 'lrp:rule=gamma,composite=false']
    """
    if given is None:
        return None
    found = [name.strip() for text in given for name in ([text] if ":" in text else text.split(",")) if name.strip()]
    if not found:
        raise InputError(f"expected names, got {','.join(given)!r}")
    return list(dict.fromkeys(found))


def say_if_fewer(rows: int, wanted: int | None) -> None:
    """Say that a split had fewer rows than were asked for."""
    from xaibench.cli.console import say

    if wanted is not None and rows < wanted:
        say(f"xaibench: the split has {rows} rows, fewer than {wanted}: all of them are measured")
