"""Adversarial training of text models: on words exchanged, and on embeddings moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from xaibench.attacks.text.neighbours import check_distance, embedding_matrix, nearest_words
from xaibench.errors import InputError
from xaibench.rng import SampleRng
from xaibench.threats import Words
from xaibench.training.objectives.ascent import SummedCrossEntropy
from xaibench.training.objectives.base import Forward, TrainingLoss, objectives
from xaibench.types import Task

__all__ = ["FreeLB", "SubstitutionTraining"]

_TABLE = "neighbours"
_AGE = "neighbours_age"


@objectives.register("word_substitution")
@dataclass(frozen=True, kw_only=True)
class SubstitutionTraining:
    """Cross entropy on texts of which up to ``k`` words, those of the threat, are exchanged for near ones.

    Substitution augmentation, as by Jin et al., *Is BERT really robust?* (AAAI 2020), with the choice of words of
    Ebrahimi et al., *HotFlip* (ACL 2018): each of ``steps`` passes exchanges some more of the words that the gradient
    promises most of, and in between ``draws`` random exchanges are tried; the worst text by loss is trained on.
    Candidates are the ``neighbours`` nearest words in the network's own embedding, as attacks take them; with
    ``neighbours`` 0, all words that the threat allows. The table of neighbours is made anew every ``refresh`` batches,
    for the embedding moves.

    Args:
        draws: random candidates for each text, 0 or more.
        steps: passes for the gradient's choice, 0 or more; with none, all is random.
        neighbours: words that a word may be exchanged for; 0: any word.
        max_distance: largest cosine distance of neighbours; None: any.
        refresh: batches between two tables of neighbours.
        positions: places of a text, those with the largest gradients, where the best exchange is looked for.
        clean: weight of the loss on the texts as they are, beside one minus it on the exchanged, in [0, 1].
    """

    adversarial: ClassVar[bool] = True
    tasks: ClassVar[tuple[Task, ...]] = ("text",)
    draws: int = 0
    steps: int = 1
    neighbours: int = 0
    max_distance: float | None = None
    refresh: int = 50
    positions: int = 8
    clean: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("draws", 0), ("steps", 0), ("neighbours", 0), ("refresh", 1), ("positions", 1)):
            if getattr(self, name) < least:
                raise InputError(f"expected `{name}` >= {least}, got {getattr(self, name)}")
        if not self.draws + self.steps:
            raise InputError("expected `draws` or `steps` above 0, got 0 for both")
        if not 0 <= self.clean <= 1:
            raise InputError(f"expected 0 <= `clean` <= 1, got {self.clean}")
        check_distance(self.max_distance)

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The worst of the texts (n, length) that were tried, with words exchanged."""
        words = _words(forward, x)
        batch = _Batch(x, y, words.editable(x), words.budget(x))
        candidates = self._candidates(forward, words)
        tried = [_drawn(batch, candidates, forward.rng, draw) for draw in range(self.draws)]
        if self.steps:
            tried.append(self._climbed(forward, batch, candidates))
        if len(tried) == 1:
            return tried[0]
        losses = [F.cross_entropy(forward.evaluate(text), y, reduction="none") for text in tried]
        worst = torch.stack(losses).argmax(0)
        return torch.stack(tried)[worst, torch.arange(len(x), device=x.device)]

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`."""
        logits = forward(perturbed)[0]
        loss = F.cross_entropy(logits, y)
        if self.clean:
            loss = self.clean * F.cross_entropy(forward(x)[0], y) + (1 - self.clean) * loss
        return TrainingLoss(loss, logits)

    def _candidates(self, forward: Forward, words: Words) -> _Candidates:
        matrix, memory = embedding_matrix(forward.classifier, len(words.vocabulary.words)), forward.memory
        allowed = words.allowed.to(matrix.device)
        if not self.neighbours:
            return _Candidates(matrix.float(), allowed.nonzero().flatten(), None)
        age = int(memory[_AGE]) if _AGE in memory else self.refresh
        if age >= self.refresh:
            wanted = torch.arange(len(matrix), device=matrix.device)
            memory[_TABLE] = nearest_words(matrix, wanted, allowed, self.neighbours, self.max_distance)
            age = 0
        memory[_AGE] = torch.tensor(age + 1)
        return _Candidates(matrix.float(), allowed.nonzero().flatten(), memory[_TABLE])

    def _climbed(self, forward: Forward, batch: _Batch, candidates: _Candidates) -> Tensor:
        """Each pass exchanges an equal share of the words that may still be edited, the most promising first."""
        text, still = batch.x.clone(), batch.editable
        for step in range(self.steps):
            shift = candidates.matrix.new_zeros((*text.shape, candidates.matrix.shape[1]))
            gradient = forward.input_gradient(text, SummedCrossEntropy(batch.y), shift=shift).float()
            steepness = gradient.norm(dim=2).masked_fill(~still, -torch.inf)
            places = steepness.topk(min(self.positions, text.shape[1]), dim=1).indices
            slope = gradient.gather(1, places[:, :, None].expand(-1, -1, gradient.shape[2]))
            gain, best = candidates.best(slope, text.gather(1, places))
            gain = gain.masked_fill(~still.gather(1, places), -torch.inf)
            count = (batch.budget * (step + 1)) // self.steps - (batch.budget * step) // self.steps
            chosen = _first(gain, count) & (gain > 0)
            text = text.scatter(1, places, torch.where(chosen, best, text.gather(1, places)))
            still = still.scatter(1, places, still.gather(1, places) & ~chosen)
        return text


@dataclass(frozen=True)
class _Batch:
    """Texts ``x`` (n, length) with their classes, the places where words may be edited, and how many may be."""

    x: Tensor
    y: Tensor
    editable: Tensor
    budget: Tensor


@dataclass(frozen=True)
class _Candidates:
    """What words may be exchanged for: their embeddings (vocabulary, dimension), the ids that may be put into a text.

    ``table`` (vocabulary, neighbours) holds near words, -1 for none; None: any id that may be put into a text.
    """

    matrix: Tensor
    ids: Tensor
    table: Tensor | None

    def best(self, slope: Tensor, old: Tensor) -> tuple[Tensor, Tensor]:
        """For words ``old`` (n, m) with gradients (n, m, dimension): the largest first-order rise, and its word."""
        here = (slope * self.matrix[old]).sum(2)
        if self.table is None:
            rise, choice = (slope.flatten(0, 1) @ self.matrix[self.ids].T).max(1)
            return rise.view_as(here) - here, self.ids[choice].view_as(old)
        near = self.table[old]
        scores = torch.einsum("nmd,nmkd->nmk", slope, self.matrix[near.clamp_min(0)]).masked_fill(near < 0, -torch.inf)
        rise, choice = scores.max(2)
        return rise - here, near.gather(2, choice[:, :, None])[:, :, 0]

    def draw(self, old: Tensor, uniform: Tensor) -> Tensor:
        """A candidate (n, m) for each of the words ``old``, by numbers in [0, 1); -1 where there is none."""
        if self.table is None:
            return self.ids[(uniform * len(self.ids)).long().clamp(max=len(self.ids) - 1)]
        near = self.table[old]
        count = (near >= 0).sum(2)
        choice = (uniform * count).long().minimum((count - 1).clamp_min(0))
        return near.gather(2, choice[:, :, None])[:, :, 0]


def _drawn(batch: _Batch, candidates: _Candidates, rng: SampleRng, draw: int) -> Tensor:
    """As many words of each text as may be edited, at random places, exchanged for random candidates."""
    length = tuple(batch.x.shape[1:])
    order = rng.uniform(length, 2 * draw).masked_fill(~batch.editable, -torch.inf)
    found = candidates.draw(batch.x, rng.uniform(length, 2 * draw + 1))
    return torch.where(_first(order, batch.budget) & (found >= 0), found, batch.x)


def _first(score: Tensor, count: Tensor) -> Tensor:
    """The ``count`` (n,) best places of each row, without those at -inf: bool (n, length)."""
    most = int(count.max()) if len(count) else 0
    best, place = score.topk(min(most, score.shape[1]), dim=1)
    taken = (torch.arange(best.shape[1], device=score.device) < count[:, None]) & (best > -torch.inf)
    return torch.zeros_like(score, dtype=torch.bool).scatter(1, place, taken)


def _words(forward: Forward, x: Tensor) -> Words:
    threat = forward.threat
    if not isinstance(threat, Words):
        raise InputError(f"expected a threat of words for text, got {threat.norm}")
    if x.is_floating_point() or x.ndim != 2:
        raise InputError(f"expected token ids (n, length), got {x.dtype} {tuple(x.shape)}")
    return threat


@objectives.register("free_lb")
@dataclass(frozen=True, kw_only=True)
class FreeLB:
    """Cross entropy averaged over the steps of an ascent in the embeddings of a text.

    Zhu et al., *FreeLB: Enhanced adversarial training for natural language understanding* (ICLR 2020). The disturbance
    of a text lies in an L2 ball of radius ``radius`` times the root mean square norm of its words' embeddings, times
    the root of their number; padding takes none. It makes no text that exists: robustness to exchanged words follows
    from it less than from training on them. The recipe names no threat.

    Args:
        steps: ascent steps, each of which adds to the gradient of the weights.
        radius: of the ball, relative to the norm of the embedded text.
        step_size: length of a step as a fraction of the radius.
        padding: the id that pads.
    """

    adversarial: ClassVar[bool] = False
    tasks: ClassVar[tuple[Task, ...]] = ("text",)
    steps: int = 3
    radius: float = 0.1
    step_size: float = 0.5
    padding: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"expected `steps` >= 1, got {self.steps}")
        for name in ("radius", "step_size"):
            if not getattr(self, name) > 0:
                raise InputError(f"expected `{name}` > 0, got {getattr(self, name)}")

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The texts as they are: embeddings move, words do not."""
        if x.is_floating_point() or x.ndim != 2:
            raise InputError(f"expected token ids (n, length), got {x.dtype} {tuple(x.shape)}")
        return x

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`."""
        embedded = forward.embed(perturbed)
        words = (perturbed != self.padding)[:, :, None]
        radius = self.radius * (embedded * words).flatten(1).norm(dim=1)[:, None, None]
        noise = forward.rng.normal(tuple(embedded.shape[1:])).to(embedded) * words
        # A point of the ball: a random direction, at a uniform share of the radius.
        shift = noise * (radius * forward.rng.uniform((1, 1), 1).to(embedded) / _norm(noise))
        losses = []
        for step in range(self.steps):
            point = shift.detach().requires_grad_()
            logits = forward(perturbed, shift=point)[0]
            loss = F.cross_entropy(logits, y)
            losses.append(loss)
            if step + 1 == self.steps:
                break  # nothing moves after the last loss
            (gradient,) = torch.autograd.grad(loss, point, retain_graph=True)
            gradient = gradient * words
            shift = point.detach() + self.step_size * radius * gradient / _norm(gradient)
            shift = shift * (radius / _norm(shift)).clamp(max=1)
        return TrainingLoss(torch.stack(losses).mean(), logits)


def _norm(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None]
