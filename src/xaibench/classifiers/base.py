"""The one implementation of `Classifier`: checks, names and capabilities, over an engine that runs the model."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Self, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from xaibench.card import Card
from xaibench.classifiers.engine import Engine, InnerEngine
from xaibench.classifiers.interface import Interface
from xaibench.classifiers.probe import Probe, missing_gradient, probe, probe_batch
from xaibench.errors import InputError, UnsupportedError, unknown_name
from xaibench.losses import resolve
from xaibench.patience import check_patience
from xaibench.types import AttentionGradient, Bounds, Capability, Inputs, Loss, LossGradient, Task, Vocabulary

__all__ = ["ModelClassifier"]

T = TypeVar("T")


class ModelClassifier:
    """A `Classifier` over any engine; see `xaibench.types.Classifier` for its methods."""

    def __init__(self, engine: Engine, interface: Interface) -> None:
        interface.check_shape(engine.input_shape)
        self._engine = engine
        self._interface = interface
        self._probed: Probe | None = None
        self._missing_gradient: str | None = None
        self._gradient_tried = False
        self._kept: tuple[object, Callable[[Tensor], Tensor] | None] | None = None

    def __repr__(self) -> str:
        name = "" if self.card is None else f"{self.card.name}, "
        return f"{type(self).__name__}({name}task={self.task!r}, input_shape={self.input_shape})"

    @property
    def task(self) -> Task:
        """``image``, ``text`` or ``tabular``."""
        return self._interface.task

    @property
    def bounds(self) -> Bounds:
        """The box of valid inputs."""
        return self._interface.bounds

    @property
    def card(self) -> Card | None:
        """The description of a shipped model."""
        return self._interface.card

    @property
    def framework(self) -> str:
        """``torch``, ``keras``, ``savedmodel`` or ``exported``."""
        return self._engine.framework

    @property
    def input_shape(self) -> tuple[int | None, ...] | None:
        """Without the batch, channels first; None where the model does not say."""
        return self._interface.input_shape or self._engine.input_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """The given names, else "0", "1", ... as many as the model has outputs."""
        return self._interface.class_names or tuple(map(str, range(self.num_classes)))

    @property
    def num_classes(self) -> int:
        """How many classes the model tells apart; the first use may run the model once."""
        if self._interface.class_names is not None:
            return len(self._interface.class_names)
        self._probe()
        if self._probed is None:
            raise InputError("expected `input_shape` or `class_names` to know the number of classes, got neither")
        return self._probed.width

    @property
    def device(self) -> torch.device:
        """Where inputs are moved to and results lie."""
        return self._engine.device

    def to(self, device: torch.device | str) -> Self:
        """Move the model itself; returns this classifier."""
        self._engine.to(torch.device(device))
        return self

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the model's state, by name, dtype, shape and bytes, and of what is told of its computation.

        Told are layers and their settings, graphs, normalisation, bounds and tokenizer; not the code of a ``forward``.
        The first use may run the model, which builds what is not built yet.
        """
        self._probe()
        digest = hashlib.sha256()
        for name, value in sorted(self._engine.state(), key=lambda item: item[0]):
            digest.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        digest.update(f"{self._engine.description()}\n{self._interface.description()}\n".encode())
        return digest.hexdigest()

    @property
    def capabilities(self) -> frozenset[Capability]:
        """All that is not among the `limits`."""
        return frozenset(Capability) - self.limits.keys()

    @property
    def limits(self) -> Mapping[Capability, str]:
        """For each missing capability the reason; the first use may run the model a few times on a few probes."""
        self._probe()
        limits = dict(self._engine.limits)
        if self._probed is not None and self._probed.unsteady is not None:
            limits[Capability.DETERMINISTIC] = self._probed.unsteady
        if self.task == "text" and Capability.EMBEDDINGS in limits:
            limits[Capability.GRADIENTS] = f"token ids have none, and {limits[Capability.EMBEDDINGS]}"
        elif reason := self._no_gradient():
            limits[Capability.GRADIENTS] = reason
        return MappingProxyType(limits)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the inner layers."""
        return self._engine.layers

    def logits(self, x: Inputs, *, embeddings: Tensor | None = None) -> Tensor:
        """Logits (n, classes), differentiable with respect to ``x`` or ``embeddings``."""
        x = self._read(x)
        if embeddings is not None and self.task != "text":
            x, embeddings = self._read(embeddings), None
        return self._check_width(self._engine.logits(x, self._check_embeddings(x, embeddings)))

    def predict(self, x: Inputs) -> Tensor:
        """Class indices (n,), int64."""
        with torch.no_grad():
            return self.logits(x).argmax(1)

    def scorer(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """A function from batches like ``x`` to logits, without gradients: the fast path of attacks that only ask.

        It holds the model as it is now, checks nothing, and gives the `logits` up to rounding. Where the framework has
        nothing faster it is `logits` itself.
        """
        with torch.no_grad():
            x = self._read(x)
            quick = self._frozen(x)

        def fast(batch: Tensor) -> Tensor:
            check_patience()
            with torch.no_grad():
                return quick(batch.to(self.device, self._engine.dtype))  # type: ignore[misc]

        def plain(batch: Tensor) -> Tensor:
            with torch.no_grad():
                return self.logits(batch)

        return plain if quick is None else fast

    def footprint(self, x: Tensor) -> int:
        """Bytes that one sample's intermediate results take in a forward pass, about; ``x`` is one sample (1, ...)."""
        x = self._read(x)
        return self._engine.footprint(x) + x.numel() * x.element_size()

    def _frozen(self, x: Tensor) -> Callable[[Tensor], Tensor] | None:
        """The engine's frozen copy for batches like ``x``, if it has one that can be relied on.

        It is made anew whenever the model has changed.
        """
        if not hasattr(self._engine, "quick") or self.task == "text":
            return None
        low, high = self.bounds.tensors(x)
        # Three samples, not all alike: what is traced on one may be a constant for its size or its contents.
        mirrored = low + high - x[:1]
        mirrored = torch.where(mirrored.isfinite(), mirrored, self.bounds.clip(-x[:1]))
        examples = torch.cat([x[:1], mirrored, x[-1:]])
        key = (self.digest, tuple(x.shape[1:]), x.device)
        if self._kept is None or self._kept[0] != key:
            self._kept = (key, self._engine.quick(examples))
        quick = self._kept[1]
        return quick if quick is not None and self._agrees(quick, examples) else None

    def _agrees(self, quick: Callable[[Tensor], Tensor], examples: Tensor) -> bool:
        """Whether a frozen copy gives the logits, for other batch sizes too."""
        for batch in (examples, examples[1:]):
            usual = self.logits(batch)
            try:
                found = quick(batch)
            except RuntimeError:  # the size of the batch is one of the constants
                return False
            if found.shape != usual.shape or not torch.allclose(found, usual, rtol=1e-4, atol=1e-4):
                return False
        return True

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Token ids (n, length), int64."""
        return self._interface.encode(texts).to(self.device)

    def tokens(self, x: Tensor) -> list[list[str]]:
        """The words behind token ids; padding is an empty string."""
        return self._interface.tokens(x)

    @property
    def vocabulary(self) -> Vocabulary:
        """What token ids stand for; the first use may run the model."""
        if self.task != "text":
            raise UnsupportedError(f"a vocabulary needs a model of text, got task {self.task!r}")
        self._probe()
        return self._interface.vocabulary(self._engine.vocabulary)

    def embed(self, x: Tensor) -> Tensor:
        """Embeddings (n, length, dimension) of token ids; ``x`` itself where the task is not text."""
        x = self._read(x)
        return self._inner(Capability.EMBEDDINGS).embed(x) if self.task == "text" else x

    def loss_gradient(
        self, x: Tensor, y: Tensor, loss: Loss = "ce", *, embeddings: Tensor | None = None
    ) -> LossGradient:
        """Loss per sample, gradient of its sum with respect to `embed` of ``x``, and logits."""
        x = self._read(x)
        if embeddings is not None and self.task != "text":
            x, embeddings = self._read(embeddings), None
        y = self._check_labels(y, len(x))
        if self.task == "text":
            self._inner(Capability.EMBEDDINGS)
        if reason := self._no_gradient():
            raise UnsupportedError(f"the model has no gradients: {reason}")
        return self._engine.loss_gradient(x, y, resolve(loss), self._check_embeddings(x, embeddings))

    def activations(self, x: Tensor, layer: str) -> Tensor:
        """Output of a layer, channels first for images."""
        return self._inner(Capability.ACTIVATIONS, layer).activations(self._read(x), layer)

    def activation_gradient(self, x: Tensor, layer: str, y: Tensor) -> LossGradient:
        """Logit of class ``y`` (n,), its gradient with respect to a layer's output, and all logits."""
        x = self._read(x)
        engine = self._inner(Capability.ACTIVATIONS, layer)
        return engine.activation_gradient(x, layer, self._check_labels(y, len(x)))

    def logits_from(self, x: Tensor, layer: str, activations: Tensor) -> Tensor:
        """Logits with the output of a layer replaced."""
        engine = self._inner(Capability.ACTIVATIONS, layer)
        return engine.logits_from(self._read(x), layer, activations.to(self.device))

    def attention(self, x: Tensor) -> dict[str, Tensor]:
        """Attention weights (n, heads, queries, keys) by layer name, in order of use."""
        x = self._read(x)
        return _whole(self._inner(Capability.ATTENTION).attention(x))

    def attention_gradient(self, x: Tensor, y: Tensor) -> dict[str, AttentionGradient]:
        """Attention weights and the gradients of the logits of classes ``y`` (n,) with respect to them, by layer."""
        x = self._read(x)
        return _whole(self._inner(Capability.ATTENTION).attention_gradient(x, self._check_labels(y, len(x))))

    def randomised(self, seed: int = 0, layers: Sequence[str] | None = None) -> Self:
        """An independent copy whose weights, all or those of the named layers, are random."""
        if reason := self._engine.limits.get(Capability.WEIGHTS):
            raise UnsupportedError(f"the model has no weights to draw again: {reason}")
        for name in layers or ():
            if name not in self.layers:
                raise unknown_name("layer", name, self.layers)
        self._probe()
        found = copy.copy(self)
        found._engine = self._engine.randomised(seed, layers)
        return found

    def _read(self, x: Inputs) -> Tensor:
        check_patience()
        if self.task == "text" and not isinstance(x, Tensor):
            x = self._interface.encode(x)
        checked = self._interface.check(x, self.input_shape)
        self._probe(checked)
        if self.task == "text":
            return self._interface.check_tokens(checked, self._engine.vocabulary).to(self.device)
        return checked.to(self.device, self._engine.dtype)

    def _check_embeddings(self, x: Tensor, embeddings: Tensor | None) -> Tensor | None:
        if embeddings is None:
            return None
        self._inner(Capability.EMBEDDINGS)
        if embeddings.ndim != 3 or embeddings.shape[:2] != x.shape:
            raise InputError(
                f"expected embeddings of shape ({len(x)}, {x.shape[1]}, dimension), got {tuple(embeddings.shape)}"
            )
        return embeddings.to(self.device, self._engine.dtype)

    def _check_labels(self, y: Tensor, n: int) -> Tensor:
        if not isinstance(y, Tensor) or y.shape != (n,) or y.dtype not in (torch.int32, torch.int64):
            got = f"{tuple(y.shape)} of {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
            raise InputError(f"expected labels ({n},) as int64, got {got}")
        low, high = (int(value) for value in y.aminmax())
        if low < 0 or high >= self.num_classes:
            raise InputError(f"expected labels within 0..{self.num_classes - 1}, got {low if low < 0 else high}")
        return y.to(self.device, torch.int64)

    def _inner(self, capability: Capability, layer: str | None = None) -> InnerEngine:
        """The engine, if it has what is asked of it."""
        if reason := self._engine.limits.get(capability):
            raise UnsupportedError(f"the model has no {capability.value}: {reason}")
        if layer is not None and layer not in self.layers:
            raise unknown_name("layer", layer, self.layers)
        return cast(InnerEngine, self._engine)

    def _check_width(self, logits: Tensor) -> Tensor:
        names = self._interface.class_names
        if names is not None and logits.shape[1] != len(names):
            raise InputError(f"expected {logits.shape[1]} class names, as the model has outputs, got {len(names)}")
        return logits

    def _probe(self, batch: Tensor | None = None) -> None:
        """Run the model once on inputs of its own kind, to learn what its outputs are and whether they are steady."""
        if self._probed is not None:
            return
        shapes = [self.input_shape] if self.input_shape else list(self._engine.candidates())
        if batch is not None:
            shapes = [tuple(batch.shape[1:])]
        for shape in shapes:
            try:
                self._probed = probe(self._engine, probe_batch(self._engine, self._interface, shape))
            except InputError:
                # A guessed shape may be wrong; a known one is not.
                if batch is None and self.input_shape is None:
                    continue
                raise
            return

    def _no_gradient(self) -> str | None:
        """Why gradients of the logits are not to be had, found out once; None where they are, or it is not known."""
        if not self._gradient_tried and self._probed is not None:
            self._missing_gradient = missing_gradient(self._engine, self._probed)
            self._gradient_tried = True
        return self._missing_gradient


def _whole(found: dict[str, T]) -> dict[str, T]:
    """What was recorded of attention layers, if any of them ran."""
    if not found:
        raise UnsupportedError("the model has no attention: its attention layers did not run, or showed no weights")
    return found
