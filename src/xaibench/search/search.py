"""A search over recipes: which numbers give the best score on validation rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaibench.data import load_data
from xaibench.errors import InputError
from xaibench.files import write_json, write_text
from xaibench.rng import derive_seed
from xaibench.search.space import Range, changed, search_space
from xaibench.search.toml import to_toml
from xaibench.search.trial import Trial, run_trial
from xaibench.training import Recipe
from xaibench.types import Progress

__all__ = ["SearchResult", "search"]


@dataclass(frozen=True)
class SearchResult:
    """All trials of a search, and the recipe of the best."""

    folder: Path
    monitor: str
    """The score on validation rows: accuracy, robust_accuracy, or loss (as a negative number)."""
    trials: tuple[Trial, ...]
    best: Trial
    """Of the highest score; the first of equals."""
    recipe: Recipe
    """That trial's, which ``best.toml`` holds."""


def search(
    recipe: Recipe | Path | str,
    *,
    trials: int = 20,
    out: Path | str | None = None,
    space: Sequence[str] = (),
    seed: int = 0,
    prune: bool = True,
    progress: Progress | None = None,
) -> SearchResult:
    """Try values for the numbers of a recipe by Optuna's TPE sampler, and keep the best by its validation score.

    Bergstra et al., *Algorithms for hyper-parameter optimization* (NeurIPS 2011). The score is the recipe's `monitor`,
    on the rows that `validation` holds out of the training split; test data is never read. Each trial is a run folder
    ``trial-NNN`` with recipe, log, record and, if it was completed, model. The same search gives the same trials, also
    if it was killed and called again, which goes on with the trial that was interrupted, from its beginning.

    Args:
        recipe: a `Recipe`, or the path of a TOML one.
        trials: how many there shall be in all, with those that are finished.
        out: folder of the search, ``searches/<name>`` by default.
        space: ranges as ``key=low..high[:log]``, beside and in place of those of `search_space`.
        seed: of the sampler; each trial trains with the recipe's own.
        prune: whether to end a trial whose best score so far is below the median of the completed ones at that epoch,
            once four are completed and a fifth of its epochs are over.
        progress: called while trials train.

    Raises:
        InputError: for a space or recipe that is not valid, without validation rows, a folder of another search, if no
            trial was completed, and if Optuna is not installed.
    """
    optuna = _optuna()
    plan = recipe if isinstance(recipe, Recipe) else Recipe.read(recipe)
    if trials < 1:
        raise InputError(f"expected `trials` >= 1, got {trials}")
    if plan.validation == 0 or (plan.threat is not None and plan.monitor is None and plan.probe.samples == 0):
        raise InputError("expected a recipe with `validation` > 0 and a score measured there, got one without")
    ranges = search_space(plan, space)
    folder = Path(out) if out is not None else Path("searches") / plan.name
    rows = load_data(plan.data, plan.train_split, plan.n, seed=plan.seed)
    _claim(folder, plan, ranges, seed=seed, prune=prune, data=rows.digest)
    pruners = optuna.pruners
    pruner = pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=plan.epochs // 5) if prune else pruners.NopPruner()
    study = optuna.create_study(direction="maximize", pruner=pruner)
    distributions = {key: _distribution(optuna, range_) for key, range_ in ranges.items()}
    found = []
    for number in range(trials):
        place = folder / f"trial-{number:03d}"
        trial = Trial.read(place)
        if trial is None:
            # A sampler for each trial: what it draws depends on the trials before, not on when the search was begun.
            study.sampler = optuna.samplers.TPESampler(seed=derive_seed(seed, "trial", number) % 2**32)
            asked = study.ask(distributions)
            trial = run_trial(number, plan, asked.params, rows, place, give_up=_judge(asked), progress=progress)
            study.tell(asked, trial.score, state=_state(optuna, trial))
        else:
            study.add_trial(_told(optuna, trial, distributions))
        found.append(trial)
    return _result(folder, plan, found)


def _result(folder: Path, plan: Recipe, trials: list[Trial]) -> SearchResult:
    complete = [trial for trial in trials if trial.score is not None]
    if not complete:
        reason = next((trial.reason for trial in trials if trial.reason), "no score was measured")
        raise InputError(f"expected a trial that completes, got none of {len(trials)}: {reason}")
    best = max(complete, key=lambda trial: trial.score or 0.0)
    recipe = changed(plan, best.values)
    monitor = plan.monitor or ("accuracy" if plan.threat is None else "robust_accuracy")
    heading = (
        f"Trial {best.number} of {len(trials)}: {monitor} {best.score:.4f} on validation rows, the best of them all"
    )
    text = to_toml(recipe.model_dump(mode="json", exclude_unset=True), heading=heading)
    write_text(folder / "best.toml", text)
    return SearchResult(folder, monitor, tuple(trials), best, recipe)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise InputError("expected Optuna for a search, got none: pip install 'xaibench[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _claim(folder: Path, plan: Recipe, ranges: dict[str, Range], **settings: Any) -> None:
    """Write down what is searched, or check that the folder is of the same search."""
    path = folder / "search.json"
    now = {"recipe": plan.model_dump(mode="json"), "space": {key: str(r) for key, r in ranges.items()}, **settings}
    if not path.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"expected an empty folder or that of a search, got {folder}")
        try:
            write_json(path, now)
        except OSError as error:
            raise InputError(f"expected a folder that can be written, got {folder}: {error.strerror}") from None
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        different = next((key for key in now if before[key] != now[key]), None)
    except (ValueError, KeyError, TypeError):
        raise InputError(f"expected what is searched in {path}, got a damaged file") from None
    if different:
        raise InputError(
            f"expected the {different} that the search in {folder} was begun with, got another: name an empty folder"
        )


def _judge(asked: Any) -> Callable[[int, float], bool]:
    def give_up(epoch: int, score: float) -> bool:
        asked.report(score, epoch)
        return bool(asked.should_prune())

    return give_up


def _distribution(optuna: Any, range_: Range) -> Any:
    if range_.whole:
        return optuna.distributions.IntDistribution(int(range_.low), int(range_.high), log=range_.log)
    return optuna.distributions.FloatDistribution(range_.low, range_.high, log=range_.log)


def _state(optuna: Any, trial: Trial) -> Any:
    if trial.score is not None:
        return optuna.trial.TrialState.COMPLETE
    return optuna.trial.TrialState.PRUNED if trial.state == "pruned" else optuna.trial.TrialState.FAIL


def _told(optuna: Any, trial: Trial, distributions: dict[str, Any]) -> Any:
    """A finished trial as Optuna keeps it: one that was pruned with its last score."""
    return optuna.trial.create_trial(
        state=_state(optuna, trial),
        value=trial.scores[max(trial.scores)] if trial.state == "pruned" else trial.score,
        params=trial.values,
        distributions=distributions,
        intermediate_values=trial.scores,
    )
