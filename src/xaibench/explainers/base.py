"""What every explainer shares: the protocol, the registry, `explain`, and the logit as a function to differentiate."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers.attribution import Attribution, Cost
from xaibench.registry import Registry, Spec
from xaibench.types import Capability, Classifier, Inputs, require

__all__ = ["Explainer", "TargetLogit", "explain", "explainers"]

Targets = Tensor | int | None
"""Classes to explain: one for each sample (n,), the same for all, or None for the predicted ones."""


class Explainer(Protocol):
    """A way to share a logit out among the parts of an input."""

    name: ClassVar[str]

    @property
    def batch_size(self) -> int:
        """Most points in one pass of the model: it bounds the memory, and nothing else."""
        ...

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """Attributions of the target logits to inputs (n, ...): tensors, token ids, or n strings for text.

        Raises `InputError` for targets that do not fit, and `UnsupportedError` for a model without what is needed.
        """
        ...


explainers: Registry[Explainer] = Registry("explainer")
"""Explainers by name."""


def explain(
    model: Classifier,
    inputs: Inputs,
    targets: Targets = None,
    *,
    method: str = "integrated_gradients",
    seed: int = 0,
    **params: Any,
) -> Attribution:
    """Explain predictions by a method's name or spec: see `Explainer` and `Attribution`.

    ``params`` are the method's fields, beyond those in the spec.
    """
    spec = Spec.parse(method)
    explainer = explainers.create(Spec(spec.name, {**spec.params, **params}))
    return explainer(model, inputs, targets, seed=seed)


class TargetLogit:
    """The target logit of each sample, as a function of the point that gradients are taken at; it counts its passes.

    That point is `Classifier.embed` of the input: the input itself, or the embeddings of its tokens.
    """

    def __init__(self, explainer: Explainer, model: Classifier, inputs: Inputs, targets: Targets) -> None:
        text = model.task == "text"
        require(model, explainer.name, Capability.GRADIENTS, *([Capability.EMBEDDINGS] if text else []))
        self._explainer, self.model, self._text = explainer, model, text
        self._started, self._forward, self._backward = time.perf_counter(), 0, 0
        self.x = inputs.detach().to(model.device) if isinstance(inputs, Tensor) else model.encode(inputs)
        self.target = self._read_targets(targets)

    def embed(self, x: Tensor) -> Tensor:
        """The points (n, ...) that stand for inputs."""
        with torch.no_grad():
            return torch.cat([self.model.embed(x[rows]) for rows in self._batches()])

    def value(self, points: Tensor) -> Tensor:
        """Target logits (n,), float64, of one point for each sample."""
        self._forward += len(points)
        with torch.no_grad():
            logits = [self.model.logits(self.x[rows], embeddings=points[rows]) for rows in self._batches()]
        return torch.cat(logits).gather(1, self.target[:, None]).squeeze(1).double()

    def gradient(self, rows: Tensor, points: Tensor) -> Tensor:
        """Gradients of the target logits of samples ``rows`` (m,) at ``points`` (m, ...)."""
        self._forward += len(points)
        self._backward += len(points)
        # The loss named "logit" is one to ascend: the negated logit.
        return -self.model.loss_gradient(self.x[rows], self.target[rows], "logit", embeddings=points).gradient

    def attribution(
        self,
        values: Tensor,
        *,
        seed: int,
        baseline: Tensor | None = None,
        completeness_gap: Tensor | None = None,
        trust: dict[str, float] | None = None,
    ) -> Attribution:
        """Put the result together; values at embeddings are added up for each token.

        Raises `UnsupportedError` where the model's logits or gradients left values that are not finite.
        """
        if not all(found.isfinite().all() for found in (values, completeness_gap) if found is not None):
            raise UnsupportedError(f"{self._explainer.name} needs finite logits and gradients, got NaN or infinity")
        fields = {field.name: getattr(self._explainer, field.name) for field in dataclasses.fields(self._explainer)}  # type: ignore[arg-type]
        return Attribution(
            values=values.sum(dim=-1) if self._text else values,
            target=self.target,
            baseline=baseline,
            method=self._explainer.name,
            params={name: "given" if isinstance(value, Tensor) else value for name, value in fields.items()},
            seed=seed,
            completeness_gap=completeness_gap,
            trust=trust or {},
            cost=Cost(forward=self._forward, backward=self._backward, seconds=time.perf_counter() - self._started),
        )

    def _batches(self) -> tuple[Tensor, ...]:
        return torch.arange(len(self.x), device=self.x.device).split(self._explainer.batch_size)

    def _read_targets(self, targets: Targets) -> Tensor:
        n, classes = len(self.x), self.model.num_classes
        if targets is None:
            self._forward += n
            return torch.cat([self.model.predict(self.x[rows]) for rows in self._batches()])
        if isinstance(targets, int) and not isinstance(targets, bool):
            targets = torch.full((n,), targets)
        if not isinstance(targets, Tensor) or targets.shape != (n,) or targets.dtype not in (torch.int32, torch.int64):
            got = f"{targets.dtype} {tuple(targets.shape)}" if isinstance(targets, Tensor) else repr(targets)
            raise InputError(f"expected targets as one class or {n} class indices, got {got}")
        if n and (int(targets.min()) < 0 or int(targets.max()) >= classes):
            raise InputError(f"expected targets in 0..{classes - 1}, got {int(targets.min())}..{int(targets.max())}")
        return targets.to(self.x.device, torch.int64)
