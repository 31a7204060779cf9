"""``xaibench explain``: samples explained by several methods side by side, each with its trust."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xaibench.cli import completion
from xaibench.cli.console import live_progress, print_json, print_table
from xaibench.cli.options import AsJson, DataName, ModelName, Seed, Split, Weights, listed, takes_model_options
from xaibench.errors import InputError
from xaibench.reading import percent

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from xaibench.data import Data
    from xaibench.explainers import Comparison
    from xaibench.types import Classifier

__all__ = ["explain"]

_FIGURES = ("completeness_gap", "kept", "sampling_error", "randomisation", "stability")
_MATRIX = 8
"""Most methods whose agreement is printed in full."""
_OPPOSED = 0.3
"""Rank correlation below which two methods do not say the same."""


@takes_model_options
def explain(
    *,
    model: ModelName,
    index: Annotated[
        list[int] | None, typer.Option(help="A row of the split; repeat for several. The first by default.")
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            "--method",
            help="all, names with commas, or name:key=value,...; repeat for several. A first few by default.",
            autocompletion=completion.explainer,
        ),
    ] = None,
    text: Annotated[str | None, typer.Option(help="A text of your own instead of a row, for models of text.")] = None,
    target: Annotated[
        str | None, typer.Option(help="Class to explain, by name or index; the predicted one by default.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the checks of trust that explain again.")] = False,
    data: DataName = None,
    split: Split = "test",
    seed: Seed = 0,
    weights: Weights = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for pictures; explanations/<model> by default.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    options: Mapping[str, str],
) -> None:
    """Explain samples by several methods: how far each can be trusted, how far they agree, and a picture of all.

    [dim]xaibench explain digits-cnn --index 3 --methods all[/]
    [dim]xaibench explain cifar10-resnet --index 7 --methods grad_cam,occlusion --methods lrp:rule=gamma --target cat[/]
    [dim]xaibench explain imdb-cnn --text "a dull film with one lovely scene"[/]
    """
    from xaibench.evaluate import ModelOptions, load_classifier, load_pair, rows_at
    from xaibench.explainers import DEFAULT_PANEL, compare_explainers

    wanted = _methods(methods)
    reading = ModelOptions.of(options)
    if text is None:
        classifier, rows = load_pair(model, data, weights=weights, options=reading, split=split)
        samples = _Samples.of(classifier, rows_at(rows, index or [0]))
    else:
        classifier = load_classifier(model, weights, reading)
        if classifier.task != "text" or index:
            got = "an index as well" if classifier.task == "text" else f"a model of task {classifier.task}"
            raise InputError(f"expected `--text` for a model of text and without `--index`, got {got}")
        samples = _Samples(ids=("text",), x=classifier.encode([text]), labels=(None,))
    with live_progress() as progress:
        found = compare_explainers(
            classifier,
            samples.x,
            None if target is None else _target(target, classifier),
            methods=DEFAULT_PANEL[classifier.task] if wanted is None else wanted or None,
            seed=seed,
            trust="quick" if quick else "full",
            progress=progress,
        )
    if not found.attributions:
        raise InputError("; ".join(found.refused.values()))
    pictures = _save(found, classifier, samples, out or Path("explanations") / Path(model.replace(":", "-")).stem)
    if as_json:
        print_json(_facts(found, classifier, samples, model, pictures))
        return
    for row in range(len(samples.ids)):
        _show(found, classifier, samples, row)
    for reason in found.refused.values() if wanted is not None else ():
        print(f"left out: {reason}")
    print(f"pictures of all methods: {', '.join(map(str, pictures))}")


@dataclass(frozen=True, kw_only=True)
class _Samples:
    """What is explained: inputs, and what is known of them."""

    ids: tuple[str, ...]
    x: Tensor
    labels: tuple[str | None, ...]
    features: tuple[str, ...] | None = None

    @classmethod
    def of(cls, model: Classifier, data: Data) -> _Samples:
        """Rows of a data set."""
        from xaibench.evaluate import align
        from xaibench.types import model_inputs

        data = align(model, data)
        return cls(
            ids=tuple(map(str, data.ids.tolist())),
            x=model_inputs(model, data.inputs),
            labels=tuple(model.class_names[label] for label in data.labels.tolist()),
            features=data.feature_names,
        )


def _methods(given: list[str] | None) -> list[str] | None:
    """Specs in the order given; None for a first few, an empty list for all."""
    from xaibench.explainers import explainers

    found = listed(given)
    if found == ["all"]:
        return []
    for spec in found or ():
        explainers.create(spec)
    return found


def _target(text: str, model: Classifier) -> int:
    if text in model.class_names:
        return model.class_names.index(text)
    if text.isdecimal() and int(text) < model.num_classes:
        return int(text)
    raise InputError(f"expected a class of the model ({', '.join(model.class_names)}) or its index, got {text!r}")


def _heading(found: Comparison, model: Classifier, samples: _Samples, row: int) -> tuple[str, str]:
    """What is explained, and what the model says of it."""
    names = model.class_names
    first = next(iter(found.attributions.values()))
    probabilities = model.logits(samples.x[row : row + 1]).detach().softmax(dim=1)[0]
    likely = int(probabilities.argmax())
    label = samples.labels[row]
    truth = "" if label is None else f", truly {label}"
    return (
        f"sample {samples.ids[row]}{truth}: why {names[int(first.target[row])]}?",
        f"read as {names[likely]} with {percent(float(probabilities[likely]))}",
    )


def _rows(found: Comparison, row: int) -> Iterator[dict[str, Any]]:
    """What is known of each method's answer for one sample."""
    for place, (method, attribution) in enumerate(found.attributions.items()):
        figures, others = attribution.trust.at(row).figures(), found.agreement[row, place].tolist()
        others.pop(place)
        yield {
            "method": method,
            **{name: figures.get(name) for name in ("verdict", "reason", *_FIGURES, "notes")},
            "agreement": sum(others) / len(others) if others else None,
            "passes": attribution.cost.forward + attribution.cost.backward,
            "seconds": attribution.cost.seconds,
        }


def _show(found: Comparison, model: Classifier, samples: _Samples, row: int) -> None:
    facts = list(_rows(found, row))
    table = [
        [
            fact["method"],
            fact["verdict"],
            *(_figure(fact[name]) for name in _FIGURES),
            _figure(fact["agreement"]),
            fact["passes"],
            f"{fact['seconds']:.2f} s",
            fact["reason"],
        ]
        for fact in facts
    ]
    header = ("method", "trust", "gap", "kept", "error", "random", "stable", "agrees", "passes", "time", "reason")
    print_table(table, header=header, title="; ".join(_heading(found, model, samples, row)))
    for fact in facts:
        for note in fact["notes"] or ():
            print(f"{fact['method']}: {note}")
    if (pair := _opposed(found, facts, row)) is not None:
        one, other, rank = pair
        print(f"{one} and {other} are both trusted, and rank what matters differently (rank correlation {rank:.2f})")
    methods = list(found.attributions)
    if 2 < len(methods) <= _MATRIX:
        shown = [[name, *(_figure(value) for value in line)] for name, line in _matrix(found, row)]
        print_table(shown, header=("rank agreement", *methods))


def _opposed(found: Comparison, facts: Sequence[Mapping[str, Any]], row: int) -> tuple[str, str, float] | None:
    """The two trusted methods that agree least, if that is little."""
    trusted = [place for place, fact in enumerate(facts) if fact["verdict"] == "trusted"]
    pairs = [(float(found.agreement[row, i, j]), i, j) for i in trusted for j in trusted if i < j]
    rank, i, j = min(pairs, default=(1.0, 0, 0))
    return (facts[i]["method"], facts[j]["method"], rank) if rank < _OPPOSED else None


def _matrix(found: Comparison, row: int) -> Iterator[tuple[str, list[float]]]:
    return zip(found.attributions, found.agreement[row].tolist(), strict=True)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _facts(
    found: Comparison, model: Classifier, samples: _Samples, name: str, pictures: Sequence[Path]
) -> dict[str, Any]:
    first = next(iter(found.attributions.values()))
    predictions = model.predict(samples.x).tolist()
    return {
        "model": name,
        "samples": [
            {
                "id": samples.ids[row],
                "label": samples.labels[row],
                "prediction": model.class_names[predictions[row]],
                "target": model.class_names[int(first.target[row])],
                "methods": list(_rows(found, row)),
                "agreement": dict(_matrix(found, row)),
                "picture": str(pictures[row]),
            }
            for row in range(len(samples.ids))
        ],
        "refused": dict(found.refused),
    }


def _save(found: Comparison, model: Classifier, samples: _Samples, folder: Path) -> list[Path]:
    """A picture of all methods for each sample."""
    from xaibench.files import atomic_path

    if folder.exists() and not folder.is_dir():
        raise InputError(f"expected a folder to write to, got the file {folder}")
    saved = []
    for row, name in enumerate(samples.ids):
        path = folder / f"{name}.png"
        with atomic_path(path) as temporary:
            _picture(found, model, samples, row).save(temporary)
        saved.append(path)
    return saved


def _picture(found: Comparison, model: Classifier, samples: _Samples, row: int) -> Image:
    from xaibench.drawing.labels import method_label
    from xaibench.report.panels import Tile, image_panel, table_panel, text_panel

    tiles = [
        Tile(
            title=method_label(method),
            note=attribution.trust.at(row).verdict,
            values=attribution.values[row].cpu(),
            signed=bool((attribution.values < 0).any()),
        )
        for method, attribution in found.attributions.items()
    ]
    heading, x = _heading(found, model, samples, row), samples.x[row].cpu()
    first = next(iter(found.attributions.values()))
    if model.task == "text":
        words = first.words[row] if first.words else tuple(str(token) for token in x.tolist())
        return text_panel(words, heading, tiles)
    if model.task == "tabular":
        features = samples.features or tuple(f"feature {place}" for place in range(len(x)))
        return table_panel(features, [f"{value:.4g}" for value in x.tolist()], heading, tiles)
    low, high = model.bounds.tensors(x)
    return image_panel(x, heading, tiles, (float(low.min()), float(high.max())))
