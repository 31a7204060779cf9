"""``xaibench compress``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xaibench.cli import completion
from xaibench.cli.console import live_progress, print_json, print_table
from xaibench.cli.options import AsJson
from xaibench.errors import InputError
from xaibench.reading import percent

if TYPE_CHECKING:
    from xaibench.compression import Compression
    from xaibench.registry import Spec

__all__ = ["compress"]


def compress(
    *,
    model: Annotated[
        str,
        typer.Argument(help="A shipped model, or a model folder.", show_default=False, autocompletion=completion.model),
    ],
    prune: Annotated[
        float | None, typer.Option(help="Share of the weights that become zero, the smallest in magnitude.")
    ] = None,
    quantize: Annotated[str | None, typer.Option(help="Type of the stored weights: int8.")] = None,
    distill: Annotated[
        str | None,
        typer.Option(
            help="Architecture to train on the model's outputs, such as small_cnn:width=8.",
            autocompletion=completion.architecture,
        ),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Of distillation: what logits are divided by; 4 by default.")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="Of distillation: share of the model in the loss; 0.9 by default.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of training: none after pruning, the recipe's to distill, by default.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; in models/ by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a smaller copy of a model: pruned, quantised, or distilled into another architecture.

    The copy is a model folder like any other. What compression did to robustness and explanations is what
    `xaibench compare MODEL COPY` shows.

    [dim]xaibench compress digits-cnn --prune 0.8 --epochs 5[/]
    [dim]xaibench compress digits-cnn --quantize int8[/]
    [dim]xaibench compress mnist-cnn --distill small_cnn:width=8 --epochs 10[/]
    """
    from xaibench.compression import compress as made

    method = _method(prune, quantize, distill, temperature, alpha)
    with live_progress() as progress:
        found = made(model, method, out=out, epochs=epochs, progress=progress)
    if as_json:
        sides = {"before": found.before, "after": found.after}
        print_json({"folder": str(found.folder), **{k: asdict(v) | {"sparsity": v.sparsity} for k, v in sides.items()}})
    else:
        _show(found)


def _method(
    prune: float | None, quantize: str | None, distill: str | None, temperature: float | None, alpha: float | None
) -> Spec:
    from xaibench.registry import Spec

    given = {
        "prune": ("amount", prune),
        "quantize": ("dtype", quantize),
        "distill": ("architecture", distill),
    }
    chosen = {name: {key: value} for name, (key, value) in given.items() if value is not None}
    if len(chosen) != 1:
        got = " and ".join(f"--{name}" for name in chosen) or "none"
        raise InputError(f"expected one of --prune, --quantize and --distill, got {got}")
    ((name, params),) = chosen.items()
    mixture = {key: value for key, value in (("temperature", temperature), ("alpha", alpha)) if value is not None}
    if mixture and name != "distill":
        raise InputError(f"expected --{next(iter(mixture))} with --distill only, got it with --{name}")
    return Spec(name, params | mixture)


def _show(found: Compression) -> None:
    before, after = found.before, found.after
    rows: list[tuple[object, ...]] = [
        ("file of weights, kB", f"{before.bytes / 1000:,.1f}", f"{after.bytes / 1000:,.1f}"),
        ("weights", f"{before.weights:,}", f"{after.weights:,}"),
        ("of them zero", percent(before.sparsity), percent(after.sparsity)),
        ("ms for a pass over 256 rows", f"{before.milliseconds:.1f}", f"{after.milliseconds:.1f}"),
        ("test accuracy", *("" if side.accuracy is None else f"{side.accuracy:.4f}" for side in (before, after))),
    ]
    print_table(rows, header=("", "before", "after"), title=str(found.folder))
