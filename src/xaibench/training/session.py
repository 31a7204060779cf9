"""From a recipe to a model folder: data, network, training, measurement, card."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xaibench.card import Card
from xaibench.data import Data, load_data
from xaibench.errors import InputError
from xaibench.files import move_into, write_json
from xaibench.registry import Spec
from xaibench.threats import Threat
from xaibench.training.batches import TrainingSet, steps_per_epoch
from xaibench.training.checkpoint import saving
from xaibench.training.holdout import holdout
from xaibench.training.log import LOG_FILE
from xaibench.training.loop import DivergedError, fit
from xaibench.training.measure import measure
from xaibench.training.memory import kept_memory
from xaibench.training.network import Network, make_network
from xaibench.training.objectives import Objective, needs_one_batch, needs_task, needs_threat, objectives
from xaibench.training.output import check_output, remove_new
from xaibench.training.probe import check_probe, probes
from xaibench.training.recipe import MethodConfig, Recipe
from xaibench.training.record import Record
from xaibench.training.threat import threat_config, training_threat
from xaibench.training.trackers import Tracking, tracking
from xaibench.types import Progress
from xaibench.zoo import model_folder

__all__ = ["REBUILDABLE", "train"]

REBUILDABLE = "a model by name or by its folder with config.json, from which the network is built anew"
"""What trainings begin with: a network of a user's own code, or a file alone, has no such description."""


def train(
    model_or_recipe: Recipe | Path | str,
    data: Data | str | None = None,
    *,
    objective: str | Spec | None = None,
    threat: Threat | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    keep_checkpoints: bool = False,
    track: Tracking | None = None,
    progress: Progress | None = None,
    **recipe: Any,
) -> Path:
    """Train a model and write its folder: weights, tokenizer, `config.json` with test metrics, model card, log.

    Args:
        model_or_recipe: a `Recipe`, the path of a TOML recipe, or a model (name or folder) to fine-tune.
        data: training data where a recipe's own is not meant: a name, or a `Data` (its test split is then not
            measured).
        objective: a registered objective in place of the recipe's.
        threat: what adversarial objectives train against, in place of the recipe's; the probe attacks within it too.
        out: the folder to write, ``models/<name>`` by default. An existing model there is replaced at the very end.
        resume: go on from the checkpoint that an interrupted run left in ``out``, which must be there; the weights come
            out as if it had not been interrupted (on the same machine and number of threads).
        keep_checkpoints: keep the model after each epoch too (averaged weights where the recipe keeps an average), as a
            folder in ``checkpoints`` below ``out``, for `xaibench.examples.kept_checkpoints`.
        track: ``tensorboard`` (in ``out/tensorboard``) or ``mlflow``, where figures of each step go besides the log.
        progress: called after each step and epoch.
        recipe: fields of `Recipe` that replace the recipe's own.

    Raises:
        InputError: for a recipe that is not valid, a folder of several models as ``out``, a network, objective, threat
            or probe that does not fit the data, data of one class, a loss that is not finite, a disk that is full,
            nothing to ``resume``, and where ``out`` holds an unfinished training that ``resume`` does not ask for, or
            one of another recipe, other data or other initial weights.
    """
    plan = _recipe(model_or_recipe, data, objective, threat, recipe)
    folder = Path(out) if out is not None else Path("models") / plan.name
    check_output(folder, resume=resume)
    goal = objectives.create(Spec(plan.objective.name, plan.objective.params))
    _check_fit(goal, plan, data)
    rows = _rows(plan, data)
    if threat is not None:
        plan = plan.model_copy(update={"threat": threat_config(threat, rows)})
    work = folder / ".training"
    record = Record.find(work, plan, resume=resume)
    network = make_network(plan, rows)
    learner = network.learner
    against = training_threat(plan.threat, rows, learner.classifier)
    needs_threat(goal, against)
    needs_one_batch(goal, plan.accumulate)
    if against is not None and not goal.adversarial and not probes(plan):
        raise InputError(
            f"expected a probe or an adversarial objective for the threat, got neither with {plan.objective.name}"
        )
    every, apart = TrainingSet(network.encode(rows), rows.labels, rows.ids), holdout(plan, rows)
    training, validation = (every.take(apart.trained), every.take(apart.held)) if len(apart.held) else (every, None)
    check_probe(plan, rows.task, 0 if validation is None else len(validation))
    learner.wait()
    if not learner.is_main:
        progress = track = None

    def keep(epoch: int, learning_rate: float) -> None:
        kept = folder / "checkpoints" / f"epoch-{epoch:04d}"
        kept.parent.mkdir(exist_ok=True)
        network.write(kept, plan, rows)
        write_json(kept / "checkpoint.json", {"epoch": epoch, "learning_rate": learning_rate})

    with (
        kept_memory(),
        _work_folder(work, main=learner.is_main),
        tracking(track, folder, plan, steps=steps_per_epoch(training, plan)) as tracked,
    ):
        if learner.is_main:
            record.keep(work, data=rows.digest, initial_weights=network.initial_weights)
            if not resume:
                shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        try:
            history = fit(
                learner,
                goal,
                plan,
                training,
                validation,
                seen=apart.seen,
                threat=against,
                folder=work,
                resume=resume,
                progress=progress,
                keep=keep if keep_checkpoints else None,
                track=tracked,
            )
        except DivergedError as error:
            raise _kept(error, network, work, plan, rows) from None
        if learner.is_main:
            final = work / "final"
            with saving(final):
                network.write(final, plan, rows, history)
                shutil.copyfile(work / LOG_FILE, final / LOG_FILE)
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
    """The recipe that the arguments amount to; a threat's scale and rules wait for the data that they belong to."""
    if isinstance(data, str):
        changes = changes | {"data": data}
    elif isinstance(data, Data):
        changes = changes | {"data": data.name, "train_split": data.split}
    if objective is not None:
        spec = Spec.parse(objective)
        changes = changes | {"objective": MethodConfig(name=spec.name, params=dict(spec.params)).model_dump()}
    if threat is not None:
        if not hasattr(threat, "project"):
            raise InputError(f"expected a threat such as Linf(0.03), got {threat!r:.80}")
        changes = changes | {"threat": {"norm": threat.norm, "eps": threat.eps}}
    if not isinstance(given, Recipe | str | Path):
        raise InputError(f"expected a recipe, or {REBUILDABLE}, got {given!r:.80}")
    if isinstance(given, str | Path) and Path(given).suffix != ".toml":
        name = f"{Path(given).name}-tuned"
        return Recipe.of({"name": name, "init": str(given)} | changes, source=f"the arguments for {given}")
    base = given if isinstance(given, Recipe) else Recipe.read(given)
    return Recipe.of(base.model_dump(exclude_unset=True) | changes, source=str(given) if changes else "recipe")


def _check_fit(goal: Objective, plan: Recipe, data: Data | str | None) -> None:
    """Refuse by one row of the test split what does not fit, or could not be measured, before all rows are loaded."""
    card = None if plan.init is None else Card.read(model_folder(plan.init) / "config.json")
    if card is not None:
        needs_task(goal, card.task)
    row = data if isinstance(data, Data) else load_data(plan.data, plan.test_split, 1)
    needs_task(goal, row.task)
    if card is None:
        return
    if card.task != row.task:
        raise InputError(f"expected {card.task} data to fine-tune {card.name}, got {row.task} data")
    if isinstance(row.inputs, Tensor) and (shape := tuple(row.inputs.shape[1:])) != card.input_shape:
        raise InputError(f"expected inputs of shape {card.input_shape} to fine-tune {card.name}, got {shape}")


def _rows(plan: Recipe, data: Data | str | None) -> Data:
    """The rows to train on."""
    rows = data if isinstance(data, Data) else load_data(plan.data, plan.train_split, plan.n, seed=plan.seed)
    present = torch.unique(rows.labels)
    if len(present) < 2:
        names = ", ".join(rows.class_names[index] for index in present.tolist()) or "none"
        raise InputError(f"expected training rows of at least two classes, got {len(rows)} of {names}")
    return rows


@contextmanager
def _work_folder(work: Path, *, main: bool) -> Iterator[None]:
    """Remove the folder of a run that ends with an error before it has anything worth keeping."""
    folder = work.parent
    before = {folder, *folder.rglob("*")} if folder.exists() else set()
    try:
        yield
    except BaseException:
        if main and not any((work / name).exists() for name in ("checkpoint.safetensors", "best", "last")):
            shutil.rmtree(work, ignore_errors=True)
            remove_new(folder, before)
        raise


def _kept(error: DivergedError, network: Network, work: Path, plan: Recipe, rows: Data) -> DivergedError:
    """The same error with advice, weights of before kept as a model folder."""
    advice = "a smaller learning rate, a warm-up or clip_norm may help"
    if error.kept is None or not network.learner.is_main:
        return DivergedError(f"{error}: {advice}")
    kept = work / error.kept
    network.write(kept, plan, rows)
    what = "the best before" if error.kept == "best" else "the last that was kept"
    return DivergedError(
        f"{error}; the model of epoch {error.epoch}, {what}, is in {kept}: {advice}, in another folder (--out), from"
        " the beginning or with that one as `init`"
    )
