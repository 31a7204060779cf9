"""The logit that an explainer explains: a function of inputs or points, counted, in batches that fit the memory."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xaibench.errors import UnsupportedError
from xaibench.explainers.attribution import Attribution, Cost
from xaibench.explainers.base import Explainer, Targets
from xaibench.explainers.budget import points_at_once, samples_at_once
from xaibench.explainers.reading import check_words, read_targets
from xaibench.explainers.trust import Trust
from xaibench.rng import SampleRng, content_ids
from xaibench.types import Capability, Classifier, Inputs, require

__all__ = ["TargetLogit", "completeness_gap"]


@dataclasses.dataclass
class _Shared:
    """What a logit has in common with its parts."""

    started: float = dataclasses.field(default_factory=time.perf_counter)
    forward: int = 0
    backward: int = 0
    scorer: Callable[[Tensor], Tensor] | None = None


class TargetLogit:
    """The target logit of each sample, as a function of points (`value`, `gradient`) or of inputs (`score`).

    A point is `Classifier.embed` of an input: the input itself, or the embeddings of its tokens. ``needs`` are the
    capabilities without which the explainer cannot work; gradients of text need embeddings as well.
    """

    def __init__(
        self,
        explainer: Explainer,
        model: Classifier,
        inputs: Inputs,
        targets: Targets,
        *,
        needs: Sequence[Capability] = (Capability.GRADIENTS,),
    ) -> None:
        text = model.task == "text"
        embedded = [Capability.EMBEDDINGS] if text and Capability.GRADIENTS in needs else []
        require(model, explainer.name, *needs, *embedded)
        self._explainer, self.model, self.text = explainer, model, text
        self._shared = _Shared()
        x = inputs if isinstance(inputs, Tensor) or not text else model.encode(inputs)
        self.x = x.detach().to(model.device) if text else model.embed(x).detach()  # type: ignore[union-attr, arg-type]
        if text:
            check_words(model, self.x)
        self.target = self._read_targets(targets)

    def split(self, count: int, *, backward: bool = True) -> tuple[Tensor, ...]:
        """0..count-1 in parts of as many points as go through the model at once."""
        size = points_at_once(self.model, self.x, backward=backward)
        return torch.arange(count, device=self.x.device).split(size)

    def part(self, rows: Tensor) -> TargetLogit:
        """The same of samples ``rows`` (m,) alone; what it spends counts here."""
        part = copy.copy(self)
        part.x, part.target = self.x[rows], self.target[rows]
        return part

    def in_groups(
        self, each: int, work: Callable[[Tensor], tuple[Tensor, ...]], *, most: int | None = None
    ) -> tuple[Tensor, ...]:
        """What ``work`` gives for samples ``rows`` (g,), tensors (g, ...), put together for all samples.

        Groups are such that working arrays of ``each`` bytes for a sample keep within the memory budget, and have at
        most ``most`` samples.
        """
        n = len(self.x)
        groups = torch.arange(n, device=self.x.device).split(min(samples_at_once(each), most or max(1, n)))
        found = work(groups[0])
        if len(groups) == 1:
            return found
        # One place for each result: small ones between large temporary ones would keep the memory of these from others.
        whole = tuple(part.new_empty(n, *part.shape[1:]) for part in found)
        for rows in groups:
            for out, part in zip(whole, found if rows is groups[0] else work(rows), strict=True):
                out[rows] = part
        return whole

    def embed(self, x: Tensor) -> Tensor:
        """The points (n, ...) that stand for inputs."""
        if not self.text:
            return x
        with torch.no_grad():
            return torch.cat([self.model.embed(x[part]) for part in self.split(len(x), backward=False)])

    def value(self, points: Tensor, rows: Tensor | None = None) -> Tensor:
        """Target logits (m,), float64, at points (m, ...) of samples ``rows`` (m,), by default one for each."""
        rows = torch.arange(len(self.x), device=self.x.device) if rows is None else rows
        found = []
        for part in self.split(len(points), backward=False):
            with torch.no_grad():
                logits = self.model.logits(self.x[rows[part]], embeddings=points[part])
            found.append(logits.gather(1, self.target[rows[part], None]).squeeze(1).double())
        self.count(forward=len(points))
        return torch.cat(found)

    def gradient(self, rows: Tensor, points: Tensor) -> Tensor:
        """Gradients of the target logits of samples ``rows`` (m,) at ``points`` (m, ...), in one pass: see `split`."""
        self.count(forward=len(points), backward=len(points))
        # The loss named "logit" is one to ascend: the negated logit.
        return -self.model.loss_gradient(self.x[rows], self.target[rows], "logit", embeddings=points).gradient

    def gradients(self, points: Tensor) -> Tensor:
        """Gradients of all target logits at one point (n, ...) for each sample."""
        return torch.cat([self.gradient(rows, points[rows]) for rows in self.split(len(points))])

    def score(self, rows: Tensor, inputs: Tensor) -> Tensor:
        """Target logits (m,), float64, of inputs (m, ...) that stand in for samples ``rows`` (m,), in one pass.

        The fast path of perturbation methods: inputs are token ids for text, and are not checked.
        """
        if self._shared.scorer is None:
            self._shared.scorer = self.model.scorer(self.x)
        self.count(forward=len(inputs))
        with torch.no_grad():
            return self._shared.scorer(inputs).gather(1, self.target[rows, None]).squeeze(1).double()

    def rng(self, seed: int, stream: str = "") -> SampleRng:
        """Random numbers of the samples; equal inputs draw the same ones, wherever they stand."""
        return SampleRng(content_ids(self.x), seed, f"{self._explainer.name} {stream}")

    def count(self, *, forward: int = 0, backward: int = 0) -> None:
        """Note passes made elsewhere, in samples."""
        self._shared.forward += forward
        self._shared.backward += backward

    @property
    def cost(self) -> Cost:
        """What was spent up to now."""
        spent = self._shared
        return Cost(forward=spent.forward, backward=spent.backward, seconds=time.perf_counter() - spent.started)

    def attribution(
        self,
        values: Tensor,
        *,
        seed: int,
        baseline: Tensor | None = None,
        stderr: Tensor | None = None,
        change: Tensor | None = None,
        kept: Tensor | None = None,
        tolerance: float = 0.01,
        uncovered: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> Attribution:
        """Put the result together; values at embeddings are added up for each token, standard errors are by token.

        ``change`` (n,) is what the values should add up to, where the method promises completeness; ``tolerance`` the
        gap, relative to it, that it was to stay within; ``kept`` (n,) is the share of the logit that values add up to,
        where the method promises no more. Raises `UnsupportedError` where the model's logits or
        gradients left values that are not finite.
        """
        if not all(found.isfinite().all() for found in (values, stderr, change) if found is not None):
            raise UnsupportedError(f"{self._explainer.name} needs finite logits and gradients, got NaN or infinity")
        if self.text and values.ndim == self.x.ndim + 1:
            values = values.sum(dim=-1)
        fields = {field.name: getattr(self._explainer, field.name) for field in dataclasses.fields(self._explainer)}  # type: ignore[arg-type]
        dtype = torch.promote_types(self.x.dtype if self.x.is_floating_point() else torch.float32, torch.float32)
        return Attribution(
            values=values.to(dtype),
            target=self.target,
            baseline=baseline,
            method=self._explainer.name,
            params={name: "given" if isinstance(value, Tensor) else value for name, value in fields.items()},
            seed=seed,
            words=self._words(),
            stderr=None if stderr is None else stderr.to(dtype),
            trust=Trust(
                completeness_gap=None if change is None else completeness_gap(values, change),
                kept=kept,
                tolerance=tolerance,
                sampling_error=None if stderr is None else _relative(stderr, values),
                uncovered=tuple(uncovered),
                notes=tuple(notes),
            ),
            cost=self.cost,
        )

    def _words(self) -> tuple[tuple[str, ...], ...] | None:
        if not self.text:
            return None
        try:
            return tuple(map(tuple, self.model.tokens(self.x)))
        except UnsupportedError:
            return None

    def _read_targets(self, targets: Targets) -> Tensor:
        n = len(self.x)
        if targets is None:
            self.count(forward=n)
            return torch.cat([self.model.predict(self.x[rows]) for rows in self.split(n, backward=False)])
        return read_targets(targets, n, self.model.num_classes).to(self.x.device)


def completeness_gap(values: Tensor, change: Tensor) -> Tensor:
    """(n,), float32: how far the sum of values (n, ...) misses the change (n,), relative to it.

    A change below 1e-3 counts as 1e-3, for a relative gap means nothing where there is nothing to share out.
    """
    missed = (values.double().flatten(1).sum(dim=1) - change.double()).abs()
    return (missed / change.double().abs().clamp_min(1e-3)).float()


def _relative(stderr: Tensor, values: Tensor) -> Tensor:
    error, size = (part.double().flatten(1).square().mean(dim=1).sqrt() for part in (stderr, values))
    return (error / size.clamp_min(1e-12)).float()
