"""``xaibench evaluate``: clean metrics, beside those that the model's card states."""

from __future__ import annotations

from typing import Any

from xaibench.cli.console import live_progress, print_json, print_table
from xaibench.cli.options import AsJson, DataName, Limit, ModelName, Seed, Split, Weights
from xaibench.errors import InputError

__all__ = ["evaluate"]


def evaluate(
    *,
    model: ModelName,
    data: DataName = None,
    split: Split = "test",
    n: Limit = None,
    seed: Seed = 0,
    weights: Weights = None,
    as_json: AsJson = False,
) -> None:
    """Measure accuracy and its kin on a whole split.

    [dim]xaibench evaluate digits-cnn[/]
    [dim]xaibench evaluate my_module:make_model --weights best.safetensors --data scans/ --n 1000[/]
    """
    from xaibench.data import load_data
    from xaibench.evaluate import evaluate_clean
    from xaibench.zoo import load_model

    classifier = load_model(model, weights=weights)
    card = classifier.card
    if data is None and card is None:
        raise InputError(f"expected --data, since {model!r} does not say what it was trained on")
    rows = load_data(data or card.data.name, split, n, seed)  # type: ignore[union-attr]
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
