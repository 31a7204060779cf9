"""A hardened copy of a model: a recipe derived from the model's own, the training, and what came of it."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xaibench.card import Card
from xaibench.data import Data, load_data
from xaibench.errors import InputError
from xaibench.evaluate.settle import customary_eps
from xaibench.reading import percent
from xaibench.registry import Spec
from xaibench.rng import permutation
from xaibench.threats import Threat, Words
from xaibench.training.holdout import holdout, seen_by
from xaibench.training.objectives import Objective, needs_task, objectives
from xaibench.training.output import check_output
from xaibench.training.probe import robust_accuracy
from xaibench.training.recipe import Recipe
from xaibench.training.session import REBUILDABLE, train
from xaibench.training.threat import training_threat
from xaibench.training.trackers import Tracking
from xaibench.types import Bounds, Progress, Task, model_inputs
from xaibench.zoo import load_model, model_folder

__all__ = ["Hardening", "HeldOut", "default_objective", "harden", "hardening_recipe"]

_KEPT = (
    *("n", "seed", "batch_size", "accumulate", "normalize", "optimizer", "augmentation", "text", "precision"),
    *("channels_last", "clip_norm", "validation"),
)
"""Fields of a model's own recipe that its hardened copy takes over."""

_DEFAULTS: dict[str, Any] = {"epochs": 20, "schedule": {"name": "cosine"}}

_WARMUP = 0.25
"""Share of the training in which the radius grows: large ones keep a network at chance level if met at once."""

_OBJECTIVES: dict[Task, str] = {"image": "trades", "tabular": "trades", "text": "word_substitution"}

_DATA_DECIDES = ("classes", "input_shape", "vocabulary")

_ROWS = 512

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""Folders that can lend a model their name."""


@dataclass(frozen=True)
class HeldOut:
    """Accuracy of a model on ``n`` rows, as they are and under the probe's attack.

    ``seen`` of them are among those that it was trained on, or may have been.
    """

    clean: float
    robust: float
    n: int
    seen: int = 0

    def __str__(self) -> str:
        seen = f", {self.seen} of which it may have been trained on" if self.seen else ""
        return f"clean {percent(self.clean)}, under attack {percent(self.robust)}, of {self.n} rows{seen}"


@dataclass(frozen=True)
class Hardening:
    """The folder of a hardened model, what it is worth beside the model before, and the alarms of its training."""

    folder: Path
    before: HeldOut
    after: HeldOut
    alarms: tuple[str, ...]
    """Such as ``robust_overfitting after epoch 9``."""
    validation_seen: int = 0
    """Rows held out in training that the model before was trained on: the choice of the epoch is then too hopeful."""

    def __str__(self) -> str:
        lines = [f"before: {self.before}", f"after:  {self.after}"]
        if self.validation_seen:
            lines.append(f"the model before may have been trained on {self.validation_seen} of the held-out rows")
        return "\n".join(lines)


def harden(
    model: str | Path,
    data: Data | str | None = None,
    *,
    objective: str | Spec | None = None,
    threat: Threat | None = None,
    norm: str | None = None,
    eps: float | None = None,
    from_scratch: bool = False,
    out: Path | str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    recipe_file: Path | str | None = None,
    track: Tracking | None = None,
    progress: Progress | None = None,
    **recipe: Any,
) -> Hardening:
    """Train a hardened copy of a model, in a folder of its own, and measure both on the same rows.

    The rows are 512 of the test split at most, drawn by the seed, or for ``data`` given as `Data` those that training
    held out (the best epoch was chosen by them, so that the copy looks a little better there than it is; without any,
    rows that were trained on). `HeldOut.seen` says how many of them each model was trained on. The attack is the
    probe's: `xaibench.evaluate_robustness` judges more strictly.

    Args:
        model: a model's name, or its folder with `config.json`.
        data: training data in place of the model's own.
        objective: a registered objective; `trades` by default, `word_substitution` for text.
        threat: what to train against; else ``norm`` (linf, for text words) and ``eps`` (customary for such data).
        from_scratch: begin with new weights of the same architecture in place of the model's.
        out: the folder to write, which names the copy; ``models/<name>-robust`` by default. It must not hold a model
            yet.
        overwrite: replace a model in ``out``, at the very end.
        resume: go on from the checkpoint that an interrupted run left.
        recipe_file: a TOML file with fields of `Recipe` that replace the derived ones.
        track: see `train`.
        progress: called after each step and epoch.
        recipe: fields of `Recipe` that replace all others.

    Raises:
        InputError: for a model that cannot be built anew, and as `train` does.
    """
    changes = _merged(_read(recipe_file), recipe)
    if out is not None and _NAME.fullmatch(Path(out).name):
        changes.setdefault("name", Path(out).name)
    plan = hardening_recipe(
        model, data, objective=objective, threat=threat, norm=norm, eps=eps, from_scratch=from_scratch, changes=changes
    )
    folder = Path(out) if out is not None else Path("models") / plan.name
    check_output(folder, resume=resume, overwrite=overwrite)
    if folder.resolve() == model_folder(model).resolve():
        raise InputError(f"expected `out` as another folder than the model's own, got {folder}")
    train(
        plan,
        data if isinstance(data, Data) else None,
        threat=threat,
        out=folder,
        resume=resume,
        track=track,
        progress=progress,
    )
    card = Card.read(folder / "config.json")
    made = Recipe.of(card.recipe, source=str(folder / "config.json"))
    rows = data if isinstance(data, Data) else load_data(made.data, made.test_split)
    compared = _compared(made, rows, given=isinstance(data, Data))
    before, after = (_measured(source, rows, compared, made) for source in (model, folder))
    alarms = tuple(f"{line['alarm']} after epoch {line['epoch']}" for line in card.history if "alarm" in line)
    return Hardening(folder, before, after, alarms, card.history[-1].get("validation_seen", 0))


def hardening_recipe(
    model: str | Path,
    data: Data | str | None = None,
    *,
    objective: str | Spec | None = None,
    threat: Threat | None = None,
    norm: str | None = None,
    eps: float | None = None,
    from_scratch: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Recipe:
    """The recipe of a hardened copy: the model's own, with an adversary; ``changes`` replace what is derived."""
    described = isinstance(model, str | Path)  # a caller without a type checker may give a classifier
    if not described or ":" in str(model) or Path(model).is_file() or Path(model).suffix:
        raise InputError(
            f"expected {REBUILDABLE}, got {model!s:.80}: a network of your own code or file alone cannot be hardened"
        )
    card = Card.read(model_folder(model) / "config.json")
    base = card.recipe
    values: dict[str, Any] = {
        "name": f"{card.name}-robust",
        "data": card.data.name,
        "train_split": card.data.train_split,
        "test_split": card.data.test_split,
        **{key: base[key] for key in _KEPT if key in base},
        **_DEFAULTS,
    }
    if not values.get("validation"):
        values.pop("validation", None)  # held-out rows choose the epoch
    if isinstance(data, Data):
        values |= {"data": data.name, "train_split": data.split}
    elif data is not None:
        values["data"] = data
    if from_scratch:
        params = {key: value for key, value in card.architecture.params.items() if key not in _DATA_DECIDES}
        values["architecture"] = {"name": card.architecture.name, "params": params}
    else:
        values["init"] = str(model)
    given = dict(changes or {})
    spec = Spec.parse(objective or default_objective(card.task))
    if objective is not None or "objective" not in given:
        given["objective"] = {"name": spec.name, "params": dict(spec.params)}
    if not isinstance(given.get("threat", {}), Mapping):
        raise InputError(f"expected a table of fields as `threat`, got {given['threat']!r:.80}")
    given["threat"] = _threat(card, threat, norm, eps, given.get("threat", {}))
    plan = Recipe.of(_merged(values, given), source=f"the recipe of a hardened {card.name}")
    goal = objectives.create(Spec(plan.objective.name, plan.objective.params))
    needs_task(goal, card.task)
    return plan.model_copy(update={"summary": plan.summary or _summary(card, plan, goal)})


def default_objective(task: Task) -> str:
    """The objective that a model for this kind of data is hardened by unless another is named."""
    return _OBJECTIVES[task]


def _summary(card: Card, plan: Recipe, goal: Objective) -> str:
    assert plan.threat is not None
    changes = f"changes of up to {plan.threat.eps:g} ({plan.threat.norm})"
    if goal.adversarial:
        return f"The net of {card.name}, trained by {plan.objective.name} against {changes}."
    return f"The net of {card.name}, trained by {plan.objective.name}; its best epoch was chosen under {changes}."


def _threat(
    card: Card, threat: Threat | None, norm: str | None, eps: float | None, given: Mapping[str, Any]
) -> dict[str, Any]:
    if threat is not None and (norm is not None or eps is not None):
        raise InputError("expected either `threat` or `norm` and `eps`, got both")
    if threat is not None:
        norm, eps = threat.norm, threat.eps
    norm = norm or given.get("norm") or (Words.norm if card.task == "text" else "linf")
    eps = eps if eps is not None else given.get("eps")
    if norm not in ("linf", "l2", "l1", Words.norm):
        raise InputError(f"expected linf, l2, l1 or words as the norm to train against, got {norm}")
    if (norm == Words.norm) != (card.task == "text"):
        expected = "words" if card.task == "text" else "linf, l2 or l1"
        raise InputError(f"expected {expected} as the norm for {card.task}, got {norm}")
    if eps is None:
        eps = customary_eps(norm, card.task, card.input_shape, Bounds(*card.bounds))
    if not isinstance(eps, int | float) or not 0 < eps < math.inf:
        raise InputError(f"expected eps > 0, got {eps!r:.80}")
    if norm == Words.norm:
        Words(eps).check(Bounds(*card.bounds), card.input_shape)  # type: ignore[arg-type]  # a whole number, or refused
    warmup = 0.0 if norm == Words.norm else _WARMUP
    return {"warmup": warmup, **given, "norm": norm, "eps": eps}


def _read(path: Path | str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"expected a recipe file at {path}, got: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"expected TOML in {path}, got: {error}") from None


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``changes`` over ``base``; tables such as `probe` field by field, but methods whole."""
    merged = dict(base)
    for key, value in changes.items():
        before = merged.get(key)
        whole = key in ("objective", "architecture") or not (isinstance(before, dict) and isinstance(value, Mapping))
        merged[key] = value if whole else {**before, **value}  # type: ignore[dict-item]
    return merged


def _compared(recipe: Recipe, rows: Data, *, given: bool) -> Tensor:
    """Positions of the rows that both models are measured on: of the test split, or of the training data ``given``."""
    if not given:
        return permutation(len(rows), recipe.seed, "measured")[:_ROWS]
    found = holdout(recipe, rows)
    return (found.held if len(found.held) else found.trained)[:_ROWS]


def _measured(source: str | Path, rows: Data, compared: Tensor, recipe: Recipe) -> HeldOut:
    model, seen = load_model(source), int(seen_by(source, rows)[compared].sum())
    rows = rows.take(compared)
    threat = training_threat(recipe.threat, rows, model)
    assert threat is not None
    x = model_inputs(model, rows.inputs)
    with torch.no_grad():
        clean = float((model.predict(x) == rows.labels).double().mean())
    probe = recipe.probe.model_copy(update={"samples": len(rows)})
    robust = robust_accuracy(model, x, rows.labels, rows.ids, threat=threat.full, probe=probe, seed=recipe.seed)
    return HeldOut(clean, robust, len(rows), seen)
