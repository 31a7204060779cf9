"""Running a plan: load, settle, measure in shards, put together."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.evaluate.align import align
from xaibench.evaluate.batches import batch_inputs, batch_logits, batches
from xaibench.evaluate.caveats import find_caveats
from xaibench.evaluate.clean import clean_logits, clean_metrics
from xaibench.evaluate.corrupted import measure_corruptions
from xaibench.evaluate.explained import explain_samples
from xaibench.evaluate.inputs import load_pair
from xaibench.evaluate.interpretability import interpret
from xaibench.evaluate.job import Job
from xaibench.evaluate.plan import Plan
from xaibench.evaluate.results import DataInfo, Evaluation, ModelInfo, Results
from xaibench.evaluate.robustness import measure_robustness
from xaibench.evaluate.settle import settle
from xaibench.evaluate.shards import Shards
from xaibench.metrics import classification_metrics
from xaibench.types import Classifier, Progress

__all__ = ["data_info", "evaluate_clean", "is_current", "model_info", "prepared", "run"]

_FRAMEWORKS = {"keras": ("keras", "tensorflow"), "savedmodel": ("keras", "tensorflow")}


def run(
    plan: Plan,
    model: Classifier | None = None,
    data: Data | None = None,
    *,
    out: Path | str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a classifier as planned; `xaibench.report.write_report` makes files of the result.

    ``model`` and ``data`` stand in for those that the plan names; its ``model`` is then a label, and all rows of
    ``data`` are measured.

    The settled plan is written to the folder ``out`` first, then every finished shard of work, each atomically, under
    ``.run``. A run that was killed goes on from them; shards of another plan, model, data or version are never used.
    Nothing else in ``out`` is touched. Without ``out`` the shards live in a temporary folder.

    Raises `InputError` for an unknown model or data set, and for data or a threat that does not fit the model.
    """
    plan = _naming(plan, model, data)
    model, data = prepared(plan, model, data)
    plan = settle(plan, model, data)
    with _workspace(out) as folder:
        shards = Shards.open(folder, plan, model, data)
        job = Job(plan=plan, model=model, data=data, shards=shards, progress=progress)
        logits = clean_logits(job)
        robustness, adversarials, left_out = measure_robustness(job, logits)
        corruptions, uncorrupted = measure_corruptions(job)
        explanations, attributions, unexplained = explain_samples(job, logits, adversarials)
        interpretability, manipulated, unmoved = interpret(job, logits.argmax(dim=1), adversarials)
        caveats = find_caveats(job)
    return Evaluation(
        plan=plan,
        model=model_info(plan, model),
        data=data_info(data),
        results=Results(
            clean=clean_metrics(logits, data),
            robustness=robustness,
            corruptions=corruptions,
            explanations=explanations,
            interpretability=interpretability,
            not_measured=tuple(dict.fromkeys((*left_out, *uncorrupted, *unexplained, *unmoved))),
            caveats=caveats,
        ),
        adversarials={**adversarials, **manipulated},
        attributions=attributions,
        versions=_versions(model.framework),
        seconds=dict(job.seconds),
        passes=dict(job.passes),
        path=Path(out) if out is not None else None,
        shards=shards.folder if out is not None else None,
    )


def prepared(plan: Plan, model: Classifier | None = None, data: Data | None = None) -> tuple[Classifier, Data]:
    """The classifier and the samples of a plan, loaded unless they are given, in one order of classes and features."""
    model, data = load_pair(
        plan.model if model is None else model,
        plan.data if data is None else data,
        weights=plan.weights,
        options=plan.options,
        split=plan.split,
        n=plan.n,
        seed=plan.seed,
    )
    return model, align(model, data)


def is_current(plan: Plan, of: Plan, digests: tuple[str, str], versions: Mapping[str, str]) -> bool:
    """Whether running ``plan`` would repeat what was found by the plan ``of``.

    That is so on a model and data of the same ``digests``, with the same ``versions`` of what computes.
    """
    model, data = prepared(plan)
    return settle(plan, model, data) == of and (
        (model.digest, data.digest) == digests and dict(versions) == _versions(model.framework)
    )


def evaluate_clean(
    model: Classifier, data: Data, *, batch_size: int | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Metrics of a classifier on unchanged data: see `xaibench.metrics.classification_metrics`."""
    data = align(model, data)
    logits = []
    for rows in batches(len(data), batch_size):
        logits.append(batch_logits(model, batch_inputs(model, data, rows)))
        if progress is not None:
            progress("clean", rows.stop, len(data), {})
    return classification_metrics(torch.cat(logits), data.labels, data.class_names)


def _naming(plan: Plan, model: Classifier | None, data: Data | None) -> Plan:
    """The plan with what is given as an object named as such."""
    given = {name: value for name, value in (("data", data), ("model", model)) if value is not None}
    if missing := set(plan.given) - given.keys():
        raise InputError(f"expected `{min(missing)}` as an object, which this plan only names, got none")
    values = {**plan.model_dump(), "given": tuple(given)}
    if data is not None:
        values.update(data=plan.data or data.name, split=data.split)
    return Plan(**values)


@contextmanager
def _workspace(out: Path | str | None) -> Iterator[Path]:
    if out is None:
        with tempfile.TemporaryDirectory(prefix="xaibench-") as name:
            yield Path(name)
        return
    if Path(out).exists() and not Path(out).is_dir():
        raise InputError(f"expected a folder to write to, got the file {out}")
    yield Path(out)


def model_info(plan: Plan, model: Classifier) -> ModelInfo:
    """What a report says of the classifier."""
    return ModelInfo(
        name=model.card.name if model.card else plan.model,
        framework=model.framework,
        task=model.task,
        digest=model.digest,
        class_names=model.class_names,
        input_shape=model.input_shape,
        bounds=(model.bounds.lower, model.bounds.upper),
        card=model.card,
    )


def data_info(data: Data) -> DataInfo:
    """What a report says of the samples."""
    return DataInfo(
        name=data.name,
        split=data.split,
        n=len(data),
        digest=data.digest,
        class_names=data.class_names,
        feature_names=data.feature_names,
    )


def _versions(framework: str) -> dict[str, str]:
    packages = ("xaibench", "torch", "numpy", "plotly", *_FRAMEWORKS.get(framework, ()))
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
