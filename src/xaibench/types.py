"""The nouns that everything else is said in: bounds, capabilities, and the protocols of models and methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from xaibench.card import Card

__all__ = [
    "AttentionGradient",
    "Bounds",
    "Capability",
    "Classifier",
    "Inputs",
    "Loss",
    "LossGradient",
    "Progress",
    "Task",
    "Vocabulary",
    "check_classifier",
    "model_inputs",
    "require",
]

Task = Literal["image", "text", "tabular"]
Inputs = Tensor | Sequence[str]
"""A batch: images (n, channels, height, width), features (n, features), token ids (n, length), or n strings."""

Loss = str | Callable[[Tensor, Tensor], Tensor]
"""A loss by name (see `xaibench.losses`), or a function of logits (n, classes) and labels (n,) to losses (n,)."""


Progress = Callable[[str, int, int, Mapping[str, Any]], None]
"""Called with a stage's name, the work done, the work in all, and figures worth watching."""


class Capability(StrEnum):
    """What a classifier can be asked for, beyond logits."""

    GRADIENTS = "gradients"
    """Exact gradients of any differentiable function of the logits, with respect to the input (or embeddings)."""
    LOGITS = "logits"
    """The outputs are true logits; without it they are log-probabilities, and unbounded losses are misleading."""
    ACTIVATIONS = "activations"
    """Outputs of named inner layers, their gradients, and logits from a replaced layer output."""
    ATTENTION = "attention"
    """Attention weights."""
    EMBEDDINGS = "embeddings"
    """Token ids go through an embedding whose output can be read and replaced."""
    TORCH_MODULE = "torch_module"
    """A live `torch.nn.Module` whose forward and backward hooks see every layer (DeepLIFT, LRP and their like)."""
    WEIGHTS = "weights"
    """Learned weights that a copy of the model can have others in the place of: see `Classifier.randomised`."""
    DETERMINISTIC = "deterministic"
    """Two passes over the same batch give the same logits."""


@dataclass(frozen=True)
class Bounds:
    """The closed box of valid inputs, in input units: one number each, or one per feature.

    >>> Bounds(0.0, 1.0).span
    1.0
    """

    lower: float | tuple[float, ...] = 0.0
    upper: float | tuple[float, ...] = 1.0

    def __post_init__(self) -> None:
        low, high = torch.as_tensor(self.lower), torch.as_tensor(self.upper)
        if low.shape != high.shape or not bool((low < high).all()):
            raise InputError(f"expected bounds with lower < upper, got {self.lower} and {self.upper}")

    @classmethod
    def of(cls, value: Bounds | Sequence[object]) -> Bounds:
        """Read a pair (lower, upper) of numbers or of equally long sequences."""
        if isinstance(value, Bounds):
            return value
        if len(value) != 2:
            raise InputError(f"expected bounds as a pair (lower, upper), got {value!r}")
        low, high = (float(v) if isinstance(v, int | float) else tuple(map(float, v)) for v in value)  # type: ignore[call-overload]
        return cls(low, high)

    @property
    def span(self) -> float | tuple[float, ...]:
        """Upper minus lower, in the form of the bounds."""
        if isinstance(self.lower, tuple) and isinstance(self.upper, tuple):
            return tuple(high - low for low, high in zip(self.lower, self.upper, strict=True))
        return float(self.upper) - float(self.lower)  # type: ignore[arg-type]

    @property
    def extent(self) -> tuple[float, float]:
        """The least and the greatest value that any feature may have: the bounds themselves, where all share them.

        >>> Bounds((0.0, -1.0), (1.0, 3.0)).extent
        (-1.0, 3.0)
        """
        return float(torch.as_tensor(self.lower).min()), float(torch.as_tensor(self.upper).max())

    def tensors(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper on the device and in the dtype of ``like``, broadcastable against its last dimension."""
        return like.new_tensor(self.lower), like.new_tensor(self.upper)

    def clip(self, x: Tensor) -> Tensor:
        """``x`` moved into the box."""
        low, high = self.tensors(x)
        return torch.minimum(torch.maximum(x, low), high)


@dataclass(frozen=True)
class Vocabulary:
    """What the token ids of a text model stand for."""

    words: tuple[str, ...]
    """By id; an empty string where an id stands for nothing that is read."""
    padding: int = 0
    unknown: int | None = None
    """The id of all words that have none of their own."""
    special: frozenset[int] = frozenset({0})
    """Ids that no word has: padding, unknown words, markers."""
    cut: Literal["left", "right"] = "right"
    """The end of a text that is lost where it is longer than the model reads."""


class LossGradient(NamedTuple):
    """What one fused forward and backward pass gives."""

    loss: Tensor
    """(n,) loss per sample."""
    gradient: Tensor
    """Gradient of the summed loss: the input's shape; (n, length, dimension) for token ids."""
    logits: Tensor
    """(n, classes)."""


class AttentionGradient(NamedTuple):
    """What one pass tells of an attention layer."""

    weights: Tensor
    """(n, heads, queries, keys)."""
    gradient: Tensor
    """Of the chosen logits with respect to the weights, in their shape, through all later layers."""


@runtime_checkable
class Classifier(Protocol):
    """A trained model as every analysis sees it, whatever its framework.

    Inputs are torch tensors in input units: images (n, channels, height, width) within `bounds`, tables
    (n, features), texts as int64 token ids (n, length); `logits` and `predict` take strings too where the task
    is text. Normalisation happens inside. While a method runs the model is in evaluation mode and its parameters
    take no gradients; afterwards it is exactly as it was. Wrong shapes, dtypes or NaN raise `InputError`.
    """

    @property
    def task(self) -> Task: ...

    @property
    def bounds(self) -> Bounds: ...

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def card(self) -> Card | None: ...

    @property
    def framework(self) -> str:
        """``torch``, ``keras``, ``savedmodel`` or ``exported``."""
        ...

    @property
    def num_classes(self) -> int: ...

    @property
    def input_shape(self) -> tuple[int | None, ...] | None:
        """Without the batch, channels first; None where a model does not say."""
        ...

    @property
    def device(self) -> torch.device: ...

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of layers and their settings, weights, buffers, normalisation, bounds and tokenizer."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    @property
    def limits(self) -> Mapping[Capability, str]:
        """For each capability that is missing, the reason in one clause."""
        ...

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the inner layers, in order of definition, as `activations` takes them."""
        ...

    def to(self, device: torch.device | str) -> Classifier: ...

    def logits(self, x: Inputs, *, embeddings: Tensor | None = None) -> Tensor:
        """Logits (n, classes), differentiable with respect to ``x`` or to ``embeddings``.

        ``embeddings`` (n, length, dimension) stand in for those of the token ids ``x``, which then only give masks.
        Where the model has no embeddings they stand in for ``x`` itself: see `embed`.
        """
        ...

    def predict(self, x: Inputs) -> Tensor:
        """Class indices (n,), int64."""
        ...

    def scorer(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """A fast function from batches shaped like ``x`` to their logits up to rounding, without gradients or checks.

        It holds the model as it is when this is called.
        """
        ...

    def footprint(self, x: Tensor) -> int:
        """Bytes that one sample's intermediate results take in a forward pass, about; ``x`` is one sample (1, ...)."""
        ...

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Token ids (n, length), int64."""
        ...

    def tokens(self, x: Tensor) -> list[list[str]]:
        """The words behind token ids (n, length); padding is an empty string."""
        ...

    @property
    def vocabulary(self) -> Vocabulary:
        """What token ids stand for; `UnsupportedError` where the task is not text."""
        ...

    def embed(self, x: Tensor) -> Tensor:
        """The continuous point that gradients are taken at: embeddings (n, length, dimension); ``x`` if not text."""
        ...

    def loss_gradient(
        self, x: Tensor, y: Tensor, loss: Loss = "ce", *, embeddings: Tensor | None = None
    ) -> LossGradient:
        """Loss per sample, gradient of its sum with respect to `embed` of ``x``, and logits, in one fused pass."""
        ...

    def activations(self, x: Tensor, layer: str) -> Tensor:
        """Output of a layer, channels first for images; differentiable with respect to ``x`` where that is float."""
        ...

    def activation_gradient(self, x: Tensor, layer: str, y: Tensor) -> LossGradient:
        """Gradient of the logit of class ``y`` (n,) with respect to a layer's output, in that output's shape.

        The first field holds that logit (n,).
        """
        ...

    def logits_from(self, x: Tensor, layer: str, activations: Tensor) -> Tensor:
        """Logits with the output of a layer replaced; differentiable with respect to the replacement."""
        ...

    def attention(self, x: Tensor) -> dict[str, Tensor]:
        """Attention weights (n, heads, queries, keys) by layer name, in order of use.

        Layers that attend within windows of the input may have other first sizes.
        """
        ...

    def attention_gradient(self, x: Tensor, y: Tensor) -> dict[str, AttentionGradient]:
        """Attention weights by layer, with the gradients of the logits of classes ``y`` (n,) with respect to them."""
        ...

    def randomised(self, seed: int = 0, layers: Sequence[str] | None = None) -> Classifier:
        """An independent copy whose weights, all or those of the named layers and what is below them, are random.

        Kernels are drawn from a normal distribution of the size that they have, biases and scales change places, and
        statistics of normalisation layers stay. The same seed gives a layer the same weights, whichever others change.
        """
        ...


def check_classifier(model: object) -> None:
    """Raise `InputError` for a model that is no `Classifier`, naming the class that makes it one."""
    if hasattr(type(model), "capabilities") or hasattr(model, "loss_gradient"):
        return
    makers = {"torch": "TorchClassifier", "keras": "KerasClassifier", "sklearn": "SklearnClassifier"}
    origins = (kind.__module__.partition(".")[0] for kind in type(model).__mro__)
    maker = None if isinstance(model, Tensor) else next((makers[name] for name in origins if name in makers), None)
    hint = "" if maker is None else f": wrap it as {maker}(...)"
    raise InputError(f"expected a classifier of xaibench, got {type(model).__name__}{hint}")


def model_inputs(model: Classifier, inputs: Inputs) -> Tensor:
    """Inputs (n, ...) as the model computes with them: strings become token ids, tensors stay as they are."""
    return inputs if isinstance(inputs, Tensor) else model.encode(inputs)


def require(model: Classifier, method: str, *needed: Capability) -> None:
    """Refuse ``method`` on a model that lacks a capability, saying why (`UnsupportedError`)."""
    for capability in needed:
        if capability not in model.capabilities:
            reason = model.limits.get(capability, "the model does not offer it")
            raise UnsupportedError(f"{method} needs {capability.value} of the model: {reason}")
