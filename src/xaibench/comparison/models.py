"""Two sides by name: models are loaded and evaluated, reports read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from xaibench.comparison.applicable import check_attacks, check_explainers
from xaibench.comparison.compare import Sizes, View, compare, workspace
from xaibench.comparison.sides import Live, Side, check_alike, load_side, side_of
from xaibench.comparison.usual import trained_threat
from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.evaluate import Plan, align, load_classifier, load_pair, run
from xaibench.evaluate.options import ModelOptions
from xaibench.types import Progress

__all__ = ["compare_names"]


def compare_names(
    first: str,
    second: str,
    plan: Plan,
    *,
    sizes: Sizes | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> View:
    """Compare two models, or folders of reports, by name.

    ``plan`` says how models are evaluated; its ``model`` is replaced by each. Both are loaded, and looked at for
    whether they can be compared, before any work is done: a threat, an attack or an explainer asked for by name that
    does not apply to both raises `InputError` then. Two models without a radius in the plan are attacked within the
    threat that one of them was trained against, if one was: the second's before the first's. See `compare`.
    """
    if folder is not None and folder.exists() and not folder.is_dir():
        raise InputError(f"expected a folder to write to, got the file {folder}")
    names = (first, second)
    reports = {name: load_side(name, live=sizes is not None) for name in names if (Path(name) / "report.json").exists()}
    models = [name for name in names if name not in reports]
    loaded = _load_both(first, second, plan) if len(models) == 2 else [_load(name, plan) for name in models]
    source = None
    if len(loaded) == 2:
        plan, source = trained_threat(plan, (loaded[0].live.model, loaded[1].live.model))
        threat = {"norm": plan.norm, "eps": plan.eps}
        loaded = [replace(one, plan=one.plan.model_copy(update=threat)) for one in loaded]
    for one in loaded:
        check_attacks(one.name, one.plan, one.live)
    lives = [(name, side.live) for name, side in reports.items() if isinstance(side.live, Live)]
    for name, live in (*lives, *((one.name, one.live) for one in loaded)):
        check_explainers(name, sizes.chosen if sizes else (), live)
    with workspace(folder) as place:
        sides = {**reports, **{one.name: _evaluated(one, place, progress) for one in loaded}}
        view = compare(sides[first], sides[second], sizes=sizes, folder=place, progress=progress)
    if source is None or view.comparison.within is None:
        return view
    within = view.comparison.within.model_copy(update={"trained_by": source})
    return replace(view, comparison=view.comparison.model_copy(update={"within": within}))


@dataclass(frozen=True)
class _Loaded:
    """A model to be evaluated as planned, and the samples before and after they were aligned with it."""

    name: str
    plan: Plan
    live: Live
    rows: Data


def _load(name: str, plan: Plan, data: Data | None = None) -> _Loaded:
    model, rows = load_pair(name, data or plan.data, split=plan.split, n=plan.n, seed=plan.seed)
    named = plan.model_copy(update={"model": name, "data": plan.data or rows.name})
    return _Loaded(name, named, Live(model=model, data=align(model, rows)), rows)


def _load_both(first: str, second: str, plan: Plan) -> list[_Loaded]:
    """Both classifiers, with the same samples."""
    one = _load(first, plan)
    other = load_classifier(second, None, ModelOptions(), one.rows)
    live = one.live.model
    check_alike((first, second), (live.task, other.task), (live.class_names, other.class_names))
    trained = [model.card.data.name if model.card else None for model in (live, other)]
    if plan.data is None and trained[1] not in (None, trained[0]):
        raise InputError(
            f"expected two models of the same data, got {trained[0]} ({first}) and {trained[1]} ({second}):"
            " --data names what both are measured on"
        )
    named = one.plan.model_copy(update={"model": second})
    return [one, _Loaded(second, named, Live(model=other, data=align(other, one.rows)), one.rows)]


def _evaluated(loaded: _Loaded, place: Path, progress: Progress | None) -> Side:
    def told(stage: str, done: int, total: int, info: object) -> None:
        if progress is not None:
            progress(f"{loaded.name}: {stage}", done, total, info)  # type: ignore[arg-type]

    model, data = loaded.live.model, loaded.live.data
    evaluation = run(loaded.plan, model, data, out=place, progress=told)
    return side_of(evaluation, model, data)
