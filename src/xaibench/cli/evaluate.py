"""``xaibench evaluate``: clean metrics or accuracy under attack, beside what the model's card states."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xaibench.cli import completion
from xaibench.cli.console import live_progress, print_json, print_table
from xaibench.cli.options import (
    AsJson,
    DataName,
    Limit,
    ModelName,
    Seed,
    Split,
    Weights,
    say_if_fewer,
    takes_model_options,
)

if TYPE_CHECKING:
    from xaibench.card import Card, RobustAccuracy
    from xaibench.evaluate import Judgement

__all__ = ["evaluate"]


@takes_model_options
def evaluate(
    *,
    model: ModelName,
    data: DataName = None,
    split: Split = "test",
    n: Limit = None,
    first: Annotated[bool, typer.Option("--first", help="The first rows of the split instead of drawn ones.")] = False,
    attack: Annotated[
        str | None,
        typer.Option(
            help="Measure accuracy under this attack or ensemble, as name or name:key=value,...",
            autocompletion=completion.attack,
        ),
    ] = None,
    norm: Annotated[str, typer.Option(help="linf, l2, l1 or l0; texts are measured in words.")] = "linf",
    eps: Annotated[float | None, typer.Option(help="How far a perturbation may go; customary by default.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for finished work of an attack, from where the same command goes on.")
    ] = None,
    seed: Seed = 0,
    weights: Weights = None,
    as_json: AsJson = False,
    options: Mapping[str, str],
) -> None:
    """Measure accuracy and its kin on a whole split, or accuracy under one attack.

    [dim]xaibench evaluate digits-cnn[/]
    [dim]xaibench evaluate digits-cnn --attack autoattack --eps 0.1 --first --n 1000[/]
    [dim]xaibench evaluate my_module:make_model --weights best.safetensors --data scans/ --n 1000[/]
    [dim]xaibench evaluate scans.keras --data scans/ --bounds 0,255[/]
    """
    from xaibench.errors import InputError
    from xaibench.evaluate import ModelOptions, evaluate_clean, judge, load_pair

    if attack is None and (unused := [name for name, value in {"eps": eps, "out": out}.items() if value is not None]):
        raise InputError(f"expected --attack with --{unused[0]}, got none")
    classifier, rows = load_pair(
        model,
        data,
        weights=weights,
        options=ModelOptions.of(options),
        split=split,
        n=n,
        seed=None if first else seed,
    )
    card = classifier.card if classifier.card is not None and data in (None, classifier.card.data.name) else None
    say_if_fewer(len(rows), n)
    if attack is not None:
        chosen = "all" if n is None or len(rows) < n else "first" if first else "drawn"
        with live_progress() as progress:
            found = judge(
                classifier,
                rows,
                name=model,
                attack=attack,
                norm=norm,
                eps=eps,
                seed=seed,
                rows=chosen,  # type: ignore[arg-type]  # one of three literals
                out=out,
                progress=progress,
            )
        print_json(found.model_dump(mode="json")) if as_json else _show(found, card)
        return
    with live_progress() as progress:
        metrics = evaluate_clean(classifier, rows, progress=progress)
    if as_json:
        print_json(
            {
                "model": model,
                "model_digest": classifier.digest,
                "data": rows.name,
                "split": split,
                "seed": seed,
                "data_digest": rows.digest,
                "metrics": metrics,
            }
        )
        return
    stated = card.metrics.get(split, {}) if card is not None else {}
    print_table(
        [(key, _shown(value), _shown(stated.get(key))) for key, value in metrics.items() if key not in _NESTED],
        header=("metric", "measured", "stated in the card"),
        title=f"{model} on {rows.name}/{split}",
    )


def _show(found: Judgement, card: Card | None) -> None:
    known = card.robustness if card is not None else ()
    stated = next((one for one in known if _same_question(one, found)), None)
    print_table(
        [
            (key.replace("_", " "), _shown(getattr(found, key)), _shown(getattr(stated, key, None)))
            for key in ("clean_accuracy", "robust_accuracy", "interval")
        ],
        header=("accuracy", "measured", "stated in the card"),
        title=f"{found.model} under {found.attack} within {found.norm} {found.eps:g}: {found.n} samples of"
        f" {found.data}/{found.split}",
    )


def _same_question(stated: RobustAccuracy, found: Judgement) -> bool:
    """Whether both judged the same rows by the same attack; as many rows as the whole split has are the whole split."""
    fields = ("norm", "eps", "attack", "split", "n")
    return all(getattr(stated, key) == getattr(found, key) for key in fields) and (
        stated.rows == found.rows or "all" in (stated.rows, found.rows)
    )


_NESTED = {"per_class", "confusion_matrix"}


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " to ".join(map(_shown, value))
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)
