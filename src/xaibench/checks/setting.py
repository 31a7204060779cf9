"""Checks of the question itself: units that fit the data, and a model that does not defend itself while it answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from unittest import mock

import torch

from xaibench.checks.base import Case, Outcome, Status, checks
from xaibench.errors import UnsupportedError

__all__ = ["GradientsInForward", "Units"]


@checks.register("units")
@dataclass(frozen=True, kw_only=True)
class Units:
    """Whether radius and inputs fit the box of valid inputs, as they do not where one is in 0..1 and another in 0..255.

    The figure is the smaller of two shares: of the radius in the size of the box, both in the threat's norm, and of the
    range of the inputs in that of the box.
    """

    name: ClassVar[str]
    thorough: ClassVar[bool] = False
    floor: ClassVar[bool] = True

    limit: float = 1e-3
    filled: float = 0.02

    def __call__(self, case: Case) -> Outcome:
        """See `Check`."""
        if case.model.task == "text":
            raise UnsupportedError("words have no units")
        if case.threat.norm not in ("linf", "l2", "l1"):
            raise UnsupportedError(f"a threat in {case.threat.norm} counts, and has no units")
        low, high = (limit.expand(1, *case.x.shape[1:]) for limit in case.model.bounds.tensors(case.x.double()))
        radius = case.threat.eps / float(case.threat.distance(low, high))
        spread = float((case.x.double() - low).amax() - (case.x.double() - low).amin()) / float((high - low).amax())
        status: Status = "warning" if radius < self.limit or spread < self.filled else "pass"
        if radius < self.limit:
            advice = "The radius is next to nothing beside the range of valid inputs: are both in the same units?"
        elif spread < self.filled:
            advice = "The inputs fill next to nothing of their declared range: are both in the same units?"
        else:
            advice = "Radius, inputs and their declared range are of one size."
        return Outcome(check=self.name, status=status, figure=min(radius, spread), limit=self.limit, advice=advice)


@checks.register("gradients_in_forward")
@dataclass(frozen=True, kw_only=True)
class GradientsInForward:
    """Whether a model takes gradients while it answers, as defences do that purify their input or train on it.

    Croce et al., *Evaluating the adversarial robustness of adaptive test-time defenses* (ICML 2022). The figure is the
    number of backward passes through torch in one answer.
    """

    name: ClassVar[str]
    thorough: ClassVar[bool] = False

    samples: int = 4
    limit: int = 0

    def __call__(self, case: Case) -> Outcome:
        """See `Check`."""
        if case.model.framework != "torch":
            raise UnsupportedError(f"the model runs in {case.model.framework}, where that cannot be watched")
        rows = case.some(torch.ones_like(case.correct), self.samples)
        with _counted() as calls:
            case.model.logits(case.x[rows])
        fired = len(calls) > self.limit
        return Outcome(
            check=self.name,
            status="warning" if fired else "pass",
            figure=len(calls),
            limit=self.limit,
            advice="The model takes gradients while it answers: attack it through them, or without them and for long."
            if fired
            else "The model answers without gradients of its own.",
        )


@contextmanager
def _counted() -> Iterator[list[None]]:
    """A list that grows by one with each backward pass."""
    calls: list[None] = []

    def counting(run: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(None)
            return run(*args, **kwargs)

        return call

    with (
        mock.patch.object(torch.autograd, "grad", counting(torch.autograd.grad)),
        mock.patch.object(torch.autograd, "backward", counting(torch.autograd.backward)),
    ):
        yield calls
