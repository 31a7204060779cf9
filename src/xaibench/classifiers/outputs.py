"""From what a torch model returns to logits: the input of its last softmax or sigmoid, wherever that was applied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from xaibench.errors import InputError

__all__ = ["LOG_PROBABILITIES", "OutputKind", "OutputReader", "classifying", "kind_of", "two_columns"]

OutputKind = Literal["logits", "squashed", "probabilities"]

LOG_PROBABILITIES = "the model gives probabilities and hides the logits; log-probabilities stand in, which saturate"

_SOFTMAX = {F.softmax, F.log_softmax, torch.softmax, torch.log_softmax, Tensor.softmax, Tensor.log_softmax}
_SIGMOID = {torch.sigmoid, Tensor.sigmoid, F.sigmoid, torch.special.expit}
_LINEAR = {F.linear, torch.addmm, torch.matmul, torch.mm}
_CASTS = {
    *(Tensor.to, Tensor.type, Tensor.float, Tensor.double, Tensor.half, Tensor.bfloat16),
    *(Tensor.clone, Tensor.contiguous, torch.clone),
}
_TINY = 1e-30
_ROUNDING = 1e-4
_DOUBT = 2e-2


class _LastSteps(TorchFunctionMode):
    """Remembers the last softmax or sigmoid over classes, what went in and what came out, and the last linear map."""

    def __init__(self) -> None:
        self.squashed: tuple[Tensor, Tensor] | None = None
        self.mapped: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in _SIGMOID or (func in _SOFTMAX and _axis(args, kwargs) in (1, -1, None)):
            self.squashed = (args[0] if args else kwargs["input"], out)
        elif func in _LINEAR:
            self.mapped = out
        elif func in _CASTS and isinstance(out, Tensor):
            if self.squashed is not None and _is_same(args[0], self.squashed[1]):
                self.squashed = (self.squashed[0], out)
            if self.mapped is not None and _is_same(args[0], self.mapped):
                self.mapped = out
        return out

    def preimage(self, output: Tensor) -> Tensor | None:
        """What was squashed into ``output``, which may be a view or a cast of the squashed tensor."""
        if self.squashed is None or not _is_same(output, self.squashed[1]):
            return None
        return self.squashed[0].reshape(output.shape).to(output.dtype)

    def is_linear(self, output: Tensor) -> bool:
        """Whether a linear map made ``output``."""
        return self.mapped is not None and _is_same(output, self.mapped)


class OutputReader:
    """Turns a model's outputs to logits (n, classes); what they are is found out on the first pass and kept."""

    def __init__(self, declared: Literal["auto", "logits", "probabilities"]) -> None:
        self._declared = declared
        self.kind: OutputKind | None = "logits" if declared == "logits" else None

    def read(self, run: Callable[[], object], n: int) -> Tensor:
        """Logits from one run of the model on ``n`` samples."""
        if self.kind == "logits":
            return two_columns(_tensor(run()), n)
        if self.kind == "probabilities":
            return log_probabilities(_tensor(run()), n)
        with _LastSteps() as last:
            output = _tensor(run())
        before = last.preimage(output)
        if self.kind is None:
            self.kind = "squashed" if before is not None else kind_of(output, self._declared, last.is_linear(output))
            return two_columns(before, n) if before is not None else self.read(lambda: output, n)
        if before is None:
            raise InputError("expected the model to end in the same softmax or sigmoid on every pass, got another end")
        return two_columns(before, n)


def classifying(output: Any, names: Sequence[str] = ()) -> Any:
    """The output that classifies: the only one, the one called ``logits``, or else the first of several.

    ``names`` are those of a list's items, where it has any; dictionaries and named tuples bring their own.
    """
    if isinstance(output, tuple | list) and output:
        names = getattr(output, "_fields", names)
        output = dict(zip(names if len(names) == len(output) else range(len(output)), output, strict=True))
    if isinstance(output, dict) and output:
        return classifying(output.get("logits", next(iter(output.values()))))
    return output


def _tensor(output: object) -> Tensor:
    output = classifying(output)
    if not isinstance(output, Tensor):
        raise InputError(f"expected the model to return a tensor (n, classes), got {type(output).__name__}")
    return output


def two_columns(z: Tensor, n: int) -> Tensor:
    """Logits (n, classes); those of a single unit become (-z / 2, z / 2).

    Any pair with this difference has the same softmax. This one lets both classes depend on the input: of (0, z), the
    first would have no gradient, and every explanation of it would be empty.
    """
    if z.ndim == 1:
        z = z.unsqueeze(1)
    if z.ndim != 2 or z.shape[0] != n:
        raise InputError(f"expected the model to return ({n}, classes), got {tuple(z.shape)}")
    return torch.cat([-z / 2, z / 2], dim=1) if z.shape[1] == 1 else z


def log_probabilities(p: Tensor, n: int) -> Tensor:
    """Log-probabilities (n, classes) from rows of probabilities, or from one unit's."""
    if p.ndim == 1 or p.shape[-1] == 1:
        p = p.reshape(n, 1)
        p = torch.cat([1 - p, p], dim=1)
    return two_columns(p.clamp_min(_TINY).log(), n)


def kind_of(
    output: Tensor, declared: Literal["auto", "logits", "probabilities"], is_linear: bool
) -> Literal["logits", "probabilities"]:
    """What outputs are that no softmax or sigmoid was seen to make: probabilities, if their rows sum to one.

    So are sums and mixtures of probabilities, although a linear map made them; its other outputs are logits. A single
    unit in [0, 1] that comes from elsewhere could be either, as could rows that sum almost to one, which may have been
    rounded on the way; these raise `InputError`.
    """
    if declared != "auto":
        return declared
    output = output.detach()
    one_unit = output.ndim == 1 or output.shape[-1] == 1
    if bool((output < 0).any()) or bool((output > 1).any()) or (one_unit and is_linear):
        return "logits"
    if one_unit:
        raise InputError(
            "expected `outputs` as 'logits' or 'probabilities' of a one-unit model with outputs in [0, 1], got 'auto'"
        )
    missing = float((output.double().sum(-1) - 1).abs().max())
    if missing <= max(_ROUNDING, torch.finfo(output.dtype).eps):
        return "probabilities"
    if is_linear or missing >= _DOUBT:
        return "logits"
    raise InputError(
        "expected `outputs` as 'logits' or 'probabilities' of a model whose outputs add up to one"
        f" within {missing:.1g}, got 'auto'"
    )


def _is_same(output: Tensor, other: Tensor) -> bool:
    return output is other or (output._is_view() and output._base is other and output.numel() == other.numel())


def _axis(args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> int | None:
    return args[1] if len(args) > 1 else (kwargs or {}).get("dim")
