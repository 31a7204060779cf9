"""``xaibench evaluate``: clean metrics, beside those that the model's card states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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

__all__ = ["evaluate"]


@takes_model_options
def evaluate(
    *,
    model: ModelName,
    data: DataName = None,
    split: Split = "test",
    n: Limit = None,
    seed: Seed = 0,
    weights: Weights = None,
    as_json: AsJson = False,
    options: Mapping[str, str],
) -> None:
    """Measure accuracy and its kin on a whole split.

    [dim]xaibench evaluate digits-cnn[/]
    [dim]xaibench evaluate my_module:make_model --weights best.safetensors --data scans/ --n 1000[/]
    [dim]xaibench evaluate scans.keras --data scans/ --bounds 0,255[/]
    """
    from xaibench.evaluate import ModelOptions, evaluate_clean, load_pair

    classifier, rows = load_pair(
        model, data, weights=weights, options=ModelOptions.of(options), split=split, n=n, seed=seed
    )
    card = classifier.card
    say_if_fewer(len(rows), n)
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
    stated = card.metrics.get(split, {}) if card is not None and data in (None, card.data.name) else {}
    print_table(
        [(key, _shown(value), _shown(stated.get(key))) for key, value in metrics.items() if key not in _NESTED],
        header=("metric", "measured", "stated in the card"),
        title=f"{model} on {rows.name}/{split}",
    )


_NESTED = {"per_class", "confusion_matrix"}


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " to ".join(map(_shown, value))
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)
