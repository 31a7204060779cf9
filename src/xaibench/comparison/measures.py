"""Figures of two classifiers about their decisions: distances, transfer, corruptions, calibration."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from xaibench.attacks import attacks
from xaibench.attacks.transfer import Transfer, transfer
from xaibench.comparison.attackers import TRANSFERRED
from xaibench.comparison.pair import Pair, threat_of
from xaibench.comparison.paired import calibration_figure, paired_figure
from xaibench.comparison.results import CorruptionRow, PairedFigure
from xaibench.comparison.sides import Side
from xaibench.corruptions import corrupt, corruptions
from xaibench.errors import InputError, first_line
from xaibench.evaluate.shards import Piece
from xaibench.evaluate.tally import worst_case
from xaibench.threats import contains

__all__ = ["calibration_figures", "corruption_figures", "distance_figures", "transfer_figures"]

_SEVERITIES = (1, 3, 5)

Distances = tuple[tuple[float | None, ...], tuple[float | None, ...]]


def distance_figures(sides: tuple[Side, Side], seed: int) -> tuple[list[PairedFigure], Distances | None]:
    """How far the nearest adversarial examples lie, of the samples that were searched on both sides.

    The figure is of those for which both searches found one.
    """
    found: list[dict[int, float | None]] = []
    for side in sides:
        robustness = side.results.robustness
        if robustness is None or robustness.minimal is None:
            return [], None
        rows = side.tensors["minimal/rows"].tolist()
        found.append(dict(zip(rows, robustness.minimal.distances, strict=True)))
    rows = sorted(found[0].keys() & found[1].keys())
    if not rows:
        return [], None
    first, second = (tuple(side[row] for row in rows) for side in found)
    figure = paired_figure(
        "distances", "minimal_distance", _numbers(first), _numbers(second), better="higher", seed=seed
    )
    return [figure] if figure else [], (first, second)


def transfer_figures(pair: Pair, sides: tuple[Side, Side]) -> list[PairedFigure]:
    """Of the samples that both get right, those on which what was found on the other model fools this one.

    Papernot et al., *Transferability in machine learning* (2016): images and tables are attacked by PGD on the source
    within the whole radius. Texts take the examples that broke the source, where both models read the same words.
    """
    what = "transfer"
    if not pair.attacked:
        pair.skip(what, "the plan has no attacks")
        return []
    rows = pair.shared.sort().values
    if len(rows) < 2:
        pair.skip(what, "fewer than two samples are classified correctly by both")
        return []
    text = pair.task not in Transfer.tasks
    if text and pair.models[0].vocabulary != pair.models[1].vocabulary:
        pair.skip(what, "the two models read other words, so that token ids of one mean nothing to the other")
        return []
    work = partial(_words_across, sides=sides) if text else _found_across
    try:
        shards = pair.together(what, what, {f"to-{place}": partial(work, pair, rows, place) for place in (0, 1)})
    except InputError as error:
        pair.skip(what, first_line(error))
        return []
    first, second = (shard.tensors["fooled"].double() for shard in shards)
    figure = paired_figure("transfer", "fooled_by_the_other", first, second, better="lower", seed=pair.seed)
    return [figure] if figure else []


def _found_across(pair: Pair, rows: Tensor, place: int) -> Piece:
    """Which samples (m,) the model at ``place`` gets wrong once the other one was attacked."""
    job, other = pair.jobs[place], pair.jobs[1 - place]
    x, y, ids = (part[rows].to(job.model.device) for part in (job.x, job.data.labels, job.data.ids))
    found = transfer(
        other.model, job.model, x, y, threat_of(job), attack=attacks.create(TRANSFERRED), ids=ids, seed=pair.seed
    )
    return Piece({"fooled": (found != x).flatten(1).any(dim=1)})


def _words_across(pair: Pair, rows: Tensor, place: int, *, sides: tuple[Side, Side]) -> Piece:
    source = sides[1 - place]
    worst = worst_case(source.plan, source.tensors)
    clean, found = source.tensors["inputs"][rows], worst.adversarials[rows]
    inside = contains(threat_of(pair.jobs[place]), found, clean, pair.models[place].bounds)
    return Piece({"fooled": inside & (pair.predict(place, found) != pair.labels[rows])})


def corruption_figures(pair: Pair, count: int) -> tuple[list[PairedFigure], tuple[CorruptionRow, ...]]:
    """Accuracy on the first samples in every corruption, the same corrupted images for both."""
    n = min(count, len(pair.labels))
    bounds = pair.models[0].bounds
    if not n:
        return [], ()
    if pair.task != "image" or isinstance(bounds.lower, tuple) or isinstance(bounds.upper, tuple):
        pair.skip("corruptions", f"they are made for images, the data is {pair.task}")
        return [], ()
    names = corruptions.names()
    shards = pair.together(
        "corruptions", f"corrupted-{n}", {name: partial(_corrupted, pair, name, n) for name in names}
    )
    right = torch.stack([shard.tensors["right"] for shard in shards]).double()
    means = right.mean(dim=(2, 3)).tolist()
    rows = tuple(
        CorruptionRow(name=name, accuracy=(one, other)) for name, (one, other) in zip(names, means, strict=True)
    )
    first, second = right.mean(dim=(0, 2))
    figure = paired_figure("corruptions", "corrupted_accuracy", first, second, better="higher", seed=pair.seed)
    return [figure] if figure else [], rows


def _corrupted(pair: Pair, name: str, n: int) -> Piece:
    """Which images each gets right: (models, severities, n) bool."""
    job = pair.jobs[0]
    low, high = job.model.bounds.extent
    unit = (job.x[:n] - low) / (high - low)
    right = []
    for severity in _SEVERITIES:
        x = low + (high - low) * corrupt(unit, name, severity, ids=job.data.ids[:n], seed=pair.seed)
        right.append(torch.stack([pair.predict(place, x) == pair.labels[:n] for place in (0, 1)]))
    return Piece({"right": torch.stack(right, dim=1)})


def calibration_figures(pair: Pair) -> list[PairedFigure]:
    """Calibration error, which is not tested, log loss and Brier score on the unchanged samples."""
    logits, labels = pair.logits, pair.labels
    losses = [F.cross_entropy(one.double(), labels, reduction="none") for one in logits]
    truth = F.one_hot(labels, logits[0].shape[1])
    briers = [(one.double().softmax(dim=1) - truth).square().sum(dim=1) for one in logits]
    figures = [
        calibration_figure(logits[0], logits[1], labels),
        paired_figure("calibration", "log_loss", losses[0], losses[1], better="lower", seed=pair.seed),
        paired_figure("calibration", "brier_score", briers[0], briers[1], better="lower", seed=pair.seed),
    ]
    return [figure for figure in figures if figure]


def _numbers(values: tuple[float | None, ...]) -> Tensor:
    return torch.tensor([torch.nan if value is None else value for value in values], dtype=torch.float64)
