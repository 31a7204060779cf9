"""From a recipe to a model folder: data, network, training, measurement, card."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from xaibench.data import Data, load_data
from xaibench.files import move_into, write_json
from xaibench.registry import Spec
from xaibench.rng import permutation
from xaibench.threats import Threat
from xaibench.training.loop import TrainingSet, fit
from xaibench.training.measure import measure
from xaibench.training.network import make_network
from xaibench.training.objectives import needs_threat, objectives
from xaibench.training.recipe import MethodConfig, Recipe
from xaibench.training.record import Record
from xaibench.training.threat import training_threat
from xaibench.types import Progress

__all__ = ["train"]


def train(
    model_or_recipe: Recipe | Path | str,
    data: Data | str | None = None,
    *,
    objective: str | Spec | None = None,
    threat: Threat | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    keep_checkpoints: bool = False,
    progress: Progress | None = None,
    **recipe: Any,
) -> Path:
    """Train a model and write its folder: weights, tokenizer, `config.json` with test metrics, model card.

    Args:
        model_or_recipe: a `Recipe`, the path of a TOML recipe, or a model (name or folder) to fine-tune.
        data: training data where a recipe's own is not meant: a name, or a `Data` (its test split is then not
            measured).
        objective: a registered objective in place of the recipe's.
        threat: what adversarial objectives train against, in place of the recipe's.
        out: the folder to write, ``models/<name>`` by default. An existing model there is replaced at the very end.
        resume: go on from the checkpoint that an interrupted run left in ``out``; the weights come out as if it had
            not been interrupted (on the same machine and number of threads).
        keep_checkpoints: keep the model after each epoch too (averaged weights where the recipe keeps an average), as a
            folder in ``checkpoints`` below ``out``, for `xaibench.examples.kept_checkpoints`.
        progress: called after each step and epoch.
        recipe: fields of `Recipe` that replace the recipe's own.

    Raises:
        InputError: for a recipe that is not valid, a network that does not fit the data, a loss that is not finite,
            and where ``out`` holds an unfinished training that ``resume`` does not ask for, or one of another recipe,
            other data or other initial weights.
    """
    plan = _recipe(model_or_recipe, data, objective, threat, recipe)
    folder = Path(out) if out is not None else Path("models") / plan.name
    work = folder / ".training"
    goal = objectives.create(Spec(plan.objective.name, plan.objective.params))
    record = Record.find(work, plan, resume=resume)
    if isinstance(data, Data):
        rows = data
    else:
        rows = load_data(plan.data, plan.train_split, plan.n, seed=plan.seed)
        load_data(plan.data, plan.test_split, 1)  # a split that does not exist is said now, not after the last epoch
    network = make_network(plan, rows)
    learner = network.learner
    against = training_threat(plan.threat, rows, learner.classifier)
    needs_threat(goal, against)
    learner.wait()
    if learner.is_main:
        record.keep(work, data=rows.digest, initial_weights=network.initial_weights)
    else:
        progress = None

    def keep(epoch: int, learning_rate: float) -> None:
        kept = folder / "checkpoints" / f"epoch-{epoch:04d}"
        kept.parent.mkdir(exist_ok=True)
        network.write(kept, plan, rows)
        write_json(kept / "checkpoint.json", {"epoch": epoch, "learning_rate": learning_rate})

    if learner.is_main and not resume:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    training, validation = _split(TrainingSet(network.encode(rows), rows.labels, rows.ids), plan)
    fit(
        learner,
        goal,
        plan,
        training,
        validation,
        threat=against,
        folder=work,
        resume=resume,
        progress=progress,
        keep=keep if keep_checkpoints else None,
    )
    if learner.is_main:
        final = work / "final"
        network.write(final, plan, rows)
        if not isinstance(data, Data):
            measure(final, progress=progress)
        move_into(folder, final, last="config.json")
        shutil.rmtree(work)
    learner.wait()
    return folder


def _recipe(
    given: Recipe | Path | str,
    data: Data | str | None,
    objective: str | Spec | None,
    threat: Threat | None,
    changes: dict[str, Any],
) -> Recipe:
    if isinstance(data, str):
        changes = changes | {"data": data}
    elif isinstance(data, Data):
        changes = changes | {"data": data.name, "train_split": data.split}
    if objective is not None:
        spec = Spec.parse(objective)
        changes = changes | {"objective": MethodConfig(name=spec.name, params=dict(spec.params)).model_dump()}
    if threat is not None:
        changes = changes | {"threat": {"norm": threat.norm, "eps": threat.eps}}
    if isinstance(given, str | Path) and Path(given).suffix != ".toml":
        name = f"{Path(given).name}-tuned"
        return Recipe.of({"name": name, "init": str(given)} | changes, source=f"the arguments for {given}")
    base = given if isinstance(given, Recipe) else Recipe.read(given)
    return Recipe.of(base.model_dump(exclude_unset=True) | changes, source=str(given) if changes else "recipe")


def _split(rows: TrainingSet, plan: Recipe) -> tuple[TrainingSet, TrainingSet | None]:
    held = round(plan.validation * len(rows))
    if not held:
        return rows, None
    order = permutation(len(rows), plan.seed, "validation")
    return rows.take(order[held:]), rows.take(order[:held])
