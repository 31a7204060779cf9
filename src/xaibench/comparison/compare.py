"""From two sides to a comparison."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xaibench.comparison.attackers import attack_notes
from xaibench.comparison.cost import file_bytes, parameters, speeds
from xaibench.comparison.explained import Maps, choose, explanation_figures, explanation_maps, movement_figures
from xaibench.comparison.measures import (
    calibration_figures,
    corruption_figures,
    distance_figures,
    transfer_figures,
)
from xaibench.comparison.pair import Pair
from xaibench.comparison.paired import holm, mcnemar
from xaibench.comparison.results import Compared, Comparison, CorruptionRow, McNemar, PairedFigure, PerClass, Within
from xaibench.comparison.sides import Live, Side, check_alike
from xaibench.comparison.verdict import verdict
from xaibench.errors import InputError
from xaibench.evaluate.hardness import Interval
from xaibench.evaluate.results import NotMeasured
from xaibench.explainers import explainers
from xaibench.types import Progress

__all__ = ["Sizes", "View", "compare", "workspace"]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """On how many samples the costly parts of a comparison are made; 0 leaves one out."""

    assessed: int = 32
    """Samples whose explanations are measured."""
    manipulated: int = 16
    """Samples whose explanations are attacked."""
    corruptions: int = 100
    """Images that are corrupted in every way."""
    samples: int = 6
    """Samples that are shown side by side."""
    explainers: tuple[str, ...] = ("saliency", "integrated_gradients")
    """Explainers, as specs."""

    def __post_init__(self) -> None:
        for name in ("assessed", "manipulated", "corruptions", "samples"):
            if getattr(self, name) < 0:
                raise InputError(f"expected `{name}` >= 0, got {getattr(self, name)}")
        if len({explainers.create(spec) for spec in self.explainers}) < len(self.explainers):
            raise InputError(f"expected each of `explainers` once, got {', '.join(self.explainers)}")

    @property
    def chosen(self) -> tuple[str, ...]:
        """Explainers that were asked for by name, and so are owed; of the usual ones, those that apply are taken."""
        return () if self.explainers == type(self).explainers else self.explainers


@dataclass(frozen=True, kw_only=True)
class View:
    """A comparison, and what a page shows beyond it."""

    comparison: Comparison
    sides: tuple[Side, Side]
    maps: Maps | None = None

    def __repr__(self) -> str:
        return f"View({self.comparison!r})"

    def _repr_html_(self) -> str:
        return self.comparison._repr_html_()


def compare(
    first: Side,
    second: Side,
    *,
    sizes: Sizes | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> View:
    """Set two evaluations side by side, and measure what can be measured of the two classifiers together.

    ``sizes`` None asks the classifiers nothing: what the evaluations hold is compared. Finished work is kept in
    ``folder`` and found there again. Other tasks, classes, samples or threat models on the two sides raise
    `InputError`; what a model cannot do is listed as not measured.
    """
    sides = first, second
    check_alike(
        (first.model.name, second.model.name),
        (first.model.task, second.model.task),
        (first.data.class_names, second.data.class_names),
        (first.data, second.data),
    )
    names = _told_apart(first.model.name, second.model.name)
    tests, within = _robustness(sides)
    figures, distances = distance_figures(sides, first.plan.seed)
    rows: tuple[CorruptionRow, ...] = ()
    left_out: list[NotMeasured] = []
    models = tuple(_described(side) for side in sides)
    maps = None
    if sizes is not None:
        with workspace(folder) as place:
            pair = Pair.of(names, sides, place, progress)
            if pair is None:
                left_out = [
                    NotMeasured(what=f"what is asked of {name} itself", reason=side.live)
                    for name, side in zip(names, sides, strict=True)
                    if isinstance(side.live, str)
                ]
            else:
                more, rows, maps = _asked(pair, sides, sizes)
                figures += more
                left_out = pair.left_out
                models = tuple(
                    one.model_copy(update={"images_per_second": speed})
                    for one, speed in zip(models, speeds(pair.models, (pair.jobs[0].x, pair.jobs[1].x)), strict=True)
                )
    found = Comparison(
        names=names,
        models=(models[0], models[1]),
        task=first.model.task,
        data=first.data.name,
        split=first.data.split,
        data_digest=first.data.digest,
        seed=first.plan.seed,
        n=len(first.correct),
        verdict="",
        same_model=first.model.digest == second.model.digest,
        tests=_corrected_tests(tests),
        within=within,
        attacks=attack_notes(sides, figures),
        per_class=_per_class(sides),
        figures=_corrected(figures),
        distances=distances,
        calibration=(first.results.clean.calibration, second.results.clean.calibration),
        corruptions=rows,
        not_measured=tuple(dict.fromkeys(left_out)),
    )
    return View(comparison=found.model_copy(update={"verdict": verdict(found)}), sides=sides, maps=maps)


def _asked(
    pair: Pair, sides: tuple[Side, Side], sizes: Sizes
) -> tuple[list[PairedFigure], tuple[CorruptionRow, ...], Maps | None]:
    """All that needs both classifiers."""
    figures = transfer_figures(pair, sides)
    corrupted, rows = corruption_figures(pair, sizes.corruptions)
    figures += corrupted
    figures += calibration_figures(pair)
    figures += explanation_figures(pair, sizes.explainers, sizes.assessed)
    moving = movement_figures(pair, sizes.explainers, sizes.manipulated)
    figures += moving
    broken = None
    if pair.attacked:
        one, other = (side.broken_at <= _index(side) for side in sides)
        broken = one, other
    searched = pair.shared[: sizes.manipulated if moving else 0]
    chosen = choose(searched if moving else pair.shared, pair.labels, broken, sizes.samples)
    return figures, rows, explanation_maps(pair, sizes.explainers, chosen, searched)


@contextmanager
def workspace(folder: Path | None) -> Iterator[Path]:
    """The folder, or a temporary one where there is none."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="xaibench-") as name:
        yield Path(name)


def _index(side: Side) -> int:
    return side.results.robustness.index if side.results.robustness else 0


def _told_apart(first: str, second: str) -> tuple[str, str]:
    return (first, second) if first != second else (f"{first} (1)", f"{second} (2)")


def _described(side: Side) -> Compared:
    counts = parameters(side.live.model) if isinstance(side.live, Live) else None
    return Compared(
        name=side.model.name,
        framework=side.model.framework,
        digest=side.model.digest,
        parameters=counts[0] if counts else None,
        nonzero=counts[1] if counts else None,
        file_bytes=file_bytes(side.plan),
    )


def _robustness(sides: tuple[Side, Side]) -> tuple[list[McNemar], Within | None]:
    """Tests of accuracy, clean and, where both were attacked, under attack; and the curves."""
    first, second = sides
    tests = [mcnemar("clean", first.correct, second.correct)]
    one, other = first.results.robustness, second.results.robustness
    if (one is None) != (other is None):
        raise InputError(f"expected attacks on both, got none on {(first if one is None else second).model.name}")
    if one is None or other is None:
        return tests, None
    if (one.norm, one.eps) != (other.norm, other.eps):
        raise InputError(
            f"expected one threat model, got {one.norm} {one.eps:g} for {first.model.name} and {other.norm}"
            f" {other.eps:g} for {second.model.name}"
        )
    attacks = [", ".join(curve.attack for curve in robust.curves) for robust in (one, other)]
    if attacks[0] != attacks[1]:
        raise InputError(
            f"expected the same attacks on both, got {attacks[0]} ({first.model.name}) and {attacks[1]}"
            f" ({second.model.name})"
        )
    tests.append(mcnemar("robust", first.broken_at > one.index, second.broken_at > other.index))
    radii = tuple(radius for radius in one.radii if radius in other.radii)

    def accuracy(side: Side) -> tuple[float, ...]:
        robust = side.results.robustness
        assert robust is not None
        return tuple(robust.worst_case.accuracy[robust.radii.index(radius)] for radius in radii)

    def intervals(side: Side) -> tuple[Interval, ...]:
        robust = side.results.robustness
        assert robust is not None
        return tuple(robust.worst_case.interval[robust.radii.index(radius)] for radius in radii)

    return tests, Within(
        norm=one.norm,
        eps=one.eps,
        unit=one.unit,
        radii=radii,
        curves=(accuracy(first), accuracy(second)),
        intervals=(intervals(first), intervals(second)),
    )


def _per_class(sides: tuple[Side, Side]) -> tuple[PerClass, ...]:
    first, second = sides
    one, other = first.results.robustness, second.results.robustness
    if one is not None and other is not None:
        return tuple(
            PerClass(name=mine.name, support=mine.support, right=(mine.robust, also.robust))
            for mine, also in zip(one.per_class, other.per_class, strict=True)
        )
    return tuple(
        PerClass(
            name=mine.name,
            support=mine.support,
            right=(_hits(mine.recall, mine.support), _hits(also.recall, also.support)),
        )
        for mine, also in zip(first.results.clean.per_class, second.results.clean.per_class, strict=True)
    )


def _hits(recall: float | None, support: int) -> int | None:
    return None if recall is None else round(recall * support)


def _corrected_tests(tests: list[McNemar]) -> tuple[McNemar, ...]:
    adjusted = holm([test.p_value for test in tests])
    return tuple(test.model_copy(update={"adjusted": p}) for test, p in zip(tests, adjusted, strict=True))


def _corrected(figures: list[PairedFigure]) -> tuple[PairedFigure, ...]:
    """With p-values corrected for all that were tested."""
    tested = [figure.p_value for figure in figures if figure.p_value is not None]
    adjusted = iter(holm(tested))
    return tuple(
        figure if figure.p_value is None else figure.model_copy(update={"adjusted": next(adjusted)})
        for figure in figures
    )
