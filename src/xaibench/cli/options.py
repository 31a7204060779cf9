"""Options that several commands share, said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "DataName", "Limit", "ModelName", "Seed", "Split", "Weights"]

ModelName = Annotated[
    str,
    typer.Argument(
        help="A shipped model, a model folder, a weights file (.keras, .pt2, SavedModel) or your own module:factory.",
        show_default=False,
    ),
]
Weights = Annotated[
    Path | None, typer.Option(help="Weights for a module:factory model (.safetensors, or a plain state dict).")
]
DataName = Annotated[
    str | None,
    typer.Option("--data", help="A data set by name, or a folder, CSV, Parquet or .npz; the model's own by default."),
]
Split = Annotated[str, typer.Option(help="Which split of the data.")]
Limit = Annotated[int | None, typer.Option(help="How many rows, drawn by the seed; all by default.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]
