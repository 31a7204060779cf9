"""``xaibench attack``: a few samples attacked, in the terminal and as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xaibench.cli import completion
from xaibench.cli.console import print_json, print_table
from xaibench.cli.options import AsJson, DataName, ModelName, Seed, Split, Weights, takes_model_options
from xaibench.reading import percent

if TYPE_CHECKING:
    from xaibench.data import Data
    from xaibench.evaluate.trial import Trial
    from xaibench.types import Classifier

__all__ = ["attack"]

_MOST_EDITS = 8


@takes_model_options
def attack(
    *,
    model: ModelName,
    attack: Annotated[
        str | None,
        typer.Option(
            help="An attack or ensemble, as name or name:key=value,...; verdict by default.",
            autocompletion=completion.attack,
        ),
    ] = None,
    eps: Annotated[float | None, typer.Option(help="How far a perturbation may go; customary by default.")] = None,
    norm: Annotated[str, typer.Option(help="linf, l2, l1 or l0; texts are measured in words.")] = "linf",
    n: Annotated[int, typer.Option(help="How many samples, drawn by the seed.")] = 5,
    index: Annotated[list[int] | None, typer.Option(help="A row of the split instead; repeat for several.")] = None,
    data: DataName = None,
    split: Split = "test",
    seed: Seed = 0,
    weights: Weights = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for pictures; attacks/<model> by default.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    options: Mapping[str, str],
) -> None:
    """Attack a few samples, show what became of them, and save pictures of the changes.

    [dim]xaibench attack digits-cnn --attack pgd --eps 0.1 --n 5[/]
    [dim]xaibench attack cifar10-resnet --norm l2 --eps 0.5 --index 17 --index 23 --out pictures[/]
    [dim]xaibench attack imdb-cnn --eps 3[/]
    """
    from xaibench.evaluate import ModelOptions, load_pair
    from xaibench.evaluate.trial import try_attack

    classifier, rows = load_pair(
        model,
        data,
        weights=weights,
        options=ModelOptions.of(options),
        split=split,
        n=None if index else n,
        seed=seed,
    )
    trial = try_attack(classifier, rows, attack=attack, norm=norm, eps=eps, index=index, seed=seed)
    folder = out or Path("attacks") / Path(model.replace(":", "-")).stem
    pictures = _save(trial, classifier, folder) if classifier.task == "image" else []
    found = list(_rows(trial, classifier))
    if as_json:
        print_json(
            {
                "model": model,
                "data": rows.name,
                "split": split,
                "norm": trial.threat.norm,
                "eps": trial.threat.eps,
                "samples": found,
                "pictures": [str(path) for path in pictures],
            }
        )
        return
    _show(trial, found, rows)
    if pictures:
        print(f"\n{len(pictures)} pictures (clean, attacked, perturbation magnified): {folder.resolve()}")


def _rows(trial: Trial, model: Classifier) -> list[dict[str, Any]]:
    from xaibench.drawing.labels import edited

    names, result = model.class_names, trial.result
    found = []
    for row, label in enumerate(trial.labels.tolist()):
        broken = not bool(result.robust[row]) and result.broken_by[row] != "clean"
        facts: dict[str, Any] = {
            "id": int(trial.ids[row]),
            "label": names[label],
            "prediction": names[int(trial.predictions[row])],
            "confidence": float(trial.confidence[row]),
            "attacked": names[int(result.predictions[row])] if broken else None,
            "attacked_confidence": float(trial.attacked_confidence[row]) if broken else None,
            "distance": float(result.distance[row]) if broken else None,
            "attack": result.broken_by[row],
        }
        if model.task == "text" and broken:
            before, after = (model.tokens(x[row : row + 1])[0] for x in (trial.x, result.adversarials))
            facts["removed"] = [word for word, gone in zip(before, edited(before, after), strict=True) if gone and word]
            facts["inserted"] = [word for word, new in zip(after, edited(after, before), strict=True) if new and word]
        found.append(facts)
    return found


def _show(trial: Trial, found: list[dict[str, Any]], data: Data) -> None:
    header = ["sample", "label", "prediction", "", "attacked", "", "distance", "broken by"]
    table = [
        [
            facts["id"],
            facts["label"],
            facts["prediction"],
            percent(facts["confidence"]),
            facts["attacked"] or ("wrong before" if facts["attack"] == "clean" else "not broken"),
            "" if facts["attacked_confidence"] is None else percent(facts["attacked_confidence"]),
            "" if facts["distance"] is None else f"{facts['distance']:.4g}",
            "" if facts["attack"] == "clean" else facts["attack"],
        ]
        for facts in found
    ]
    if data.task == "text":
        header.append("words changed")
        for row, facts in zip(table, found, strict=True):
            row.append(_edits(facts))
    broken = sum(facts["attacked"] is not None for facts in found)
    right = sum(facts["attack"] != "clean" for facts in found)
    title = (
        f"{', '.join(trial.result.attack)} within {trial.threat.norm} {trial.threat.eps:g}: {broken} of {right} broken"
    )
    print_table(table, header=header, title=title)


def _edits(facts: dict[str, Any]) -> str:
    removed, inserted = facts.get("removed", []), facts.get("inserted", [])
    if not removed and not inserted:
        return ""
    return f"{' '.join(removed[:_MOST_EDITS])} → {' '.join(inserted[:_MOST_EDITS])}"


def _save(trial: Trial, model: Classifier, folder: Path) -> list[Path]:
    """A picture for each broken sample."""
    from xaibench.drawing.pictures import triptych
    from xaibench.errors import InputError
    from xaibench.files import atomic_path

    if folder.exists() and not folder.is_dir():
        raise InputError(f"expected a folder to write to, got the file {folder}")
    low, high = (float(limit.min() if i == 0 else limit.max()) for i, limit in enumerate(model.bounds.tensors(trial.x)))
    saved = []
    for row in (~trial.result.robust).nonzero().flatten().tolist():
        if trial.result.broken_by[row] == "clean":
            continue
        path = folder / f"{int(trial.ids[row])}.png"
        with atomic_path(path) as temporary:
            triptych(trial.x[row], trial.result.adversarials[row], (low, high)).save(temporary)
        saved.append(path)
    return saved
