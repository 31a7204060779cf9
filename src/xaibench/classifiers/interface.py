"""What the outside sees of a model: its task, box of inputs, normalisation and names; and the checks of inputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor

from xaibench.card import Card
from xaibench.errors import InputError, UnsupportedError
from xaibench.types import Bounds, Task, Vocabulary

__all__ = ["Interface", "Options", "describe_shape"]

_AXES: dict[Task, tuple[str, ...]] = {
    "image": ("n", "channels", "height", "width"),
    "tabular": ("n", "features"),
    "text": ("n", "length"),
}


class Options(TypedDict, total=False):
    """What can be said about a model when it is wrapped; each has a default.

    ``bounds`` is the box of valid inputs, (0, 1); ``mean`` and ``std`` (one number, or one per channel or feature, in
    input units) are subtracted and divided before the model; ``class_names`` are "0", "1", ... unless given; ``task``
    is ``"image"``; ``input_shape`` is without the batch, channels first; ``tokenizer`` is a `tokenizers.Tokenizer`;
    ``card`` describes a shipped model. ``outputs`` says whether the model gives logits or probabilities where that
    cannot be found out (``"auto"``).
    """

    bounds: Bounds | Sequence[object]
    mean: float | Sequence[float] | None
    std: float | Sequence[float] | None
    class_names: Sequence[str] | None
    task: Task
    input_shape: Sequence[int | None] | None
    tokenizer: Any
    card: Card | None
    outputs: Literal["auto", "logits", "probabilities"]


@dataclass(frozen=True, kw_only=True)
class Interface:
    """Options once read and checked."""

    task: Task = "image"
    bounds: Bounds = field(default_factory=Bounds)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    class_names: tuple[str, ...] | None = None
    input_shape: tuple[int | None, ...] | None = None
    tokenizer: Any = None
    card: Card | None = None
    outputs: Literal["auto", "logits", "probabilities"] = "auto"

    def __post_init__(self) -> None:
        if self.task not in _AXES:
            raise InputError(f"expected task as image, tabular or text, got {self.task!r}")
        if self.outputs not in ("auto", "logits", "probabilities"):
            raise InputError(f"expected outputs as auto, logits or probabilities, got {self.outputs!r}")
        if self.std is not None and not all(value > 0 for value in self.std):
            raise InputError(f"expected std > 0, got {self.std}")
        self.check_shape(self.input_shape)
        if self.task == "text" and (self.mean is not None or self.std is not None):
            raise InputError("expected no mean and std with task 'text', got some")

    @classmethod
    def of(cls, options: Options) -> Interface:
        """Read options as they are passed to a classifier."""
        read: dict[str, Any] = dict(options)
        read["bounds"] = Bounds.of(options.get("bounds", (0.0, 1.0)))
        for name in ("mean", "std"):
            read[name] = _numbers(name, read.get(name))
        for name in ("class_names", "input_shape"):
            read[name] = None if read.get(name) is None else tuple(read[name])
        return cls(**read)

    def check_shape(self, shape: tuple[int | None, ...] | None) -> None:
        """Raise `InputError` for an input shape (without the batch) that is that of another task."""
        axes = _AXES[self.task][1:]
        if shape is None or len(shape) == len(axes):
            return
        if fitting := {task: names[1:] for task, names in _AXES.items() if len(names) == len(shape) + 1}:
            hint = "".join(f"; task {task!r} takes ({', '.join(names)})" for task, names in fitting.items())
            expected = f"({', '.join(axes)}) with task {self.task!r}"
            raise InputError(f"expected an input_shape of {expected}, got ({describe_shape(shape)}){hint}")

    def description(self) -> str:
        """All that has a part in the logits, or in what may be fed in, as text."""
        tokenizer = None if self.tokenizer is None else self.tokenizer.to_str()
        told = (self.task, self.bounds, self.mean, self.std, self.input_shape, self.outputs, tokenizer)
        return " ".join(map(str, told))

    def moments(self, rank: int) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation shaped against a batch of that rank, channels first; None where unused."""
        if self.mean is None and self.std is None:
            return None
        mean, std = torch.tensor(self.mean or (0.0,)), torch.tensor(self.std or (1.0,))
        trailing = (1,) * (rank - 2)
        return mean.reshape(-1, *trailing), std.reshape(-1, *trailing)

    def normalise(self, x: Tensor) -> Tensor:
        """Subtract the mean and divide by the standard deviation; token ids pass through."""
        moments = self.moments(x.ndim)
        if moments is None:
            return x
        mean, std = moments
        return (x - mean.to(x)) / std.to(x)

    def check(self, x: object, shape: tuple[int | None, ...] | None) -> Tensor:
        """``x`` if it is a batch that the model takes: rank, shape (without the batch), dtype, finite numbers."""
        if not isinstance(x, Tensor):
            raise InputError(f"expected a torch tensor, got {type(x).__name__}")
        rank = len(_AXES[self.task]) if shape is None else len(shape) + 1
        if x.ndim != rank:
            names = ", ".join(_AXES[self.task]) if shape is None else f"n, {describe_shape(shape)}"
            raise InputError(f"expected a batch of shape ({names}), got {tuple(x.shape)}")
        if shape is not None and any(want not in (None, got) for want, got in zip(shape, x.shape[1:], strict=True)):
            raise InputError(f"expected a batch of shape (n, {describe_shape(shape)}), got {tuple(x.shape)}")
        if len(x) == 0:
            raise InputError("expected at least one sample, got an empty batch")
        return x if self.task == "text" else _check_numbers(x)

    def check_tokens(self, x: Tensor, vocabulary: int | None) -> Tensor:
        """Token ids as int64; ids that the vocabulary lacks, where that is known, raise `InputError`."""
        if x.dtype not in (torch.int32, torch.int64):
            raise InputError(f"expected token ids as int64, got {str(x.dtype).removeprefix('torch.')}")
        low, high = (int(value) for value in x.aminmax())
        if low < 0 or (vocabulary is not None and high >= vocabulary):
            top = "" if vocabulary is None else f"..{vocabulary - 1}"
            raise InputError(f"expected token ids from 0{top}, got {low if low < 0 else high}")
        return x.long()

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Token ids (n, length), cut and padded to the model's length, or else to the longest text."""
        if self.tokenizer is None:
            raise UnsupportedError("reading text needs a tokenizer of the model: none was given")
        if isinstance(texts, str):
            raise InputError(f"expected a list of strings, got one string: put it in a list, [{texts[:40]!r}]")
        if not isinstance(texts, Iterable) or isinstance(texts, Mapping):
            raise InputError(f"expected a list of strings, got {type(texts).__name__}")
        if odd := next((type(text).__name__ for text in texts if not isinstance(text, str)), None):
            raise InputError(f"expected a list of strings, got {odd} among them")
        if not len(texts):
            raise InputError("expected at least one text, got none")
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        fixed = self.input_shape[0] if self.input_shape else None
        length = fixed or max(1, *map(len, rows))
        padding = self.tokenizer.padding or {}
        fill = torch.full((len(rows), length), int(padding.get("pad_id", 0)))
        for target, row in zip(fill, rows, strict=True):
            row = row[:length]  # noqa: PLW2901
            start = length - len(row) if padding.get("direction") == "left" else 0
            target[start : start + len(row)] = torch.tensor(row, dtype=torch.int64)
        return fill

    def tokens(self, x: Tensor) -> list[list[str]]:
        """The words behind token ids; without a tokenizer, the ids themselves."""
        if self.tokenizer is None:
            return [[str(value) if value else "" for value in row] for row in x.tolist()]
        pad = int((self.tokenizer.padding or {}).get("pad_id", 0))
        word = self.tokenizer.id_to_token
        return [["" if value == pad else (word(value) or "") for value in row] for row in x.tolist()]

    def vocabulary(self, size: int | None) -> Vocabulary:
        """What the ids below ``size`` stand for; without a tokenizer each is its own word, but for 0, which pads."""
        if self.tokenizer is None and size is None:
            raise UnsupportedError("reading words needs a tokenizer or an embedding of the model: neither was found")
        if self.tokenizer is None:
            return Vocabulary(("", *map(str, range(1, size or 1))))
        count = size or self.tokenizer.get_vocab_size()
        padding = int((self.tokenizer.padding or {}).get("pad_id", 0))
        name = getattr(self.tokenizer.model, "unk_token", None)
        unknown = None if name is None else self.tokenizer.token_to_id(name)
        markers = (i for i, token in self.tokenizer.get_added_tokens_decoder().items() if token.special)
        return Vocabulary(
            words=tuple(self.tokenizer.id_to_token(i) or "" for i in range(count)),
            padding=padding,
            unknown=unknown,
            special=frozenset({padding, *markers, *(() if unknown is None else (unknown,))}),
            cut=(self.tokenizer.truncation or {}).get("direction", "right").lower(),
        )


def describe_shape(shape: Sequence[int | None]) -> str:
    """A shape in words, with `any` where a size is free."""
    return ", ".join("any" if size is None else str(size) for size in shape)


def _numbers(name: str, value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    numbers = tuple(torch.as_tensor(value, dtype=torch.float64).reshape(-1).tolist())
    if not numbers or not all(map(math.isfinite, numbers)):
        raise InputError(f"expected {name} as finite numbers, got {value!r}")
    return numbers


def _check_numbers(x: Tensor) -> Tensor:
    if not x.is_floating_point():
        raise InputError(f"expected floating-point inputs, got {str(x.dtype).removeprefix('torch.')}")
    # Within torch.func transforms values cannot be looked at.
    if torch._C._functorch.is_functorch_wrapped_tensor(x):
        return x
    # The sum is quicker to look at than all numbers, but may overflow.
    if not math.isfinite(float(x.detach().sum())) and not bool(x.isfinite().all()):
        raise InputError("expected finite inputs, got NaN or infinity")
    return x
