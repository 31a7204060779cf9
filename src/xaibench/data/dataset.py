"""A labelled selection of rows, as every analysis and the training loop take it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.types import Bounds, Task

__all__ = ["Data", "data_digest"]


@dataclass(frozen=True)
class Data:
    """Inputs with their labels, names and origin: one split of a data set, or a selection of its rows."""

    name: str
    split: str
    task: Task
    inputs: Tensor | tuple[str, ...]
    """Images (n, channels, height, width) float32 in [0, 1], tables (n, features) float32 in raw units, or texts."""
    labels: Tensor
    """(n,) int64, indices into `class_names`."""
    class_names: tuple[str, ...]
    ids: Tensor
    """(n,) int64, each row's index in the full split."""
    digest: str
    """SHA-256 (hex) of inputs, labels and class names, the same on every machine."""
    bounds: Bounds
    """The box of valid inputs: [0, 1] for images, each feature's range over the training split for tables."""
    masks: Tensor | None = None
    """(n, height, width) bool where the evidence for the class is known: True on it."""
    feature_names: tuple[str, ...] | None = None
    spurious_masks: Tensor | None = None
    """(n, height, width) bool where a spurious cue is planted: True on it, all False where a row has none."""

    def __post_init__(self) -> None:
        sizes = {"inputs": len(self.inputs), "labels": len(self.labels), "ids": len(self.ids)}
        if len(set(sizes.values())) > 1:
            raise InputError(f"expected as many labels and ids as inputs, got {sizes}")
        _check_names("classes", self.class_names, self.name)
        if self.feature_names is not None:
            _check_names("features", self.feature_names, self.name)
            if not isinstance(self.inputs, Tensor) or self.inputs.shape[1:] != (len(self.feature_names),):
                raise InputError(f"expected a name for each feature of {self.name}, got {len(self.feature_names)}")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Sequence[int] | Tensor) -> Data:
        """The rows at these positions of this selection, in this order; their ids stay."""
        index = torch.as_tensor(indices)
        if index.dtype == torch.bool:
            index = index.nonzero().flatten()
        index = index.to(torch.int64)
        if index.ndim != 1 or (len(index) and not (-len(self) <= int(index.min()) <= int(index.max()) < len(self))):
            raise InputError(f"expected a list of positions below {len(self)}, got {indices!r:.60}")
        inputs = self.inputs[index] if isinstance(self.inputs, Tensor) else tuple(self.inputs[i] for i in index)
        labels = self.labels[index]
        return dataclasses.replace(
            self,
            inputs=inputs,
            labels=labels,
            ids=self.ids[index],
            digest=data_digest(inputs, labels, self.class_names),
            masks=None if self.masks is None else self.masks[index],
            spurious_masks=None if self.spurious_masks is None else self.spurious_masks[index],
        )

    def with_classes(self, class_names: Sequence[str]) -> Data:
        """The same rows with these class names, all of its own among them: labels follow their names."""
        if tuple(class_names) == self.class_names:
            return self
        index = torch.tensor([tuple(class_names).index(name) for name in self.class_names])
        labels = index[self.labels]
        return dataclasses.replace(
            self,
            labels=labels,
            class_names=tuple(class_names),
            digest=data_digest(self.inputs, labels, class_names),
        )

    def with_features(self, feature_names: Sequence[str]) -> Data:
        """The same rows of a table with these columns, all of them among its own, in this order."""
        if tuple(feature_names) == self.feature_names:
            return self
        assert isinstance(self.inputs, Tensor)
        assert self.feature_names is not None
        index = [self.feature_names.index(name) for name in feature_names]
        inputs = self.inputs[:, index].contiguous()
        low, high = (limit.expand(self.inputs.shape[1])[index] for limit in self.bounds.tensors(torch.zeros(())))
        return dataclasses.replace(
            self,
            inputs=inputs,
            feature_names=tuple(feature_names),
            bounds=Bounds(tuple(low.tolist()), tuple(high.tolist())),
            digest=data_digest(inputs, self.labels, self.class_names),
        )


def _check_names(what: str, names: Sequence[str], where: str) -> None:
    if len(set(names)) < len(names):
        doubled = next(name for name in names if names.count(name) > 1)
        raise InputError(f"expected {what} with different names in {where}, got {doubled!r} twice")


def data_digest(inputs: Tensor | Sequence[str], labels: Tensor, class_names: Sequence[str]) -> str:
    """SHA-256 (hex) over shapes, little-endian values, labels and class names; strings count as UTF-8 with lengths."""
    state = hashlib.sha256()

    def add_texts(texts: Sequence[str]) -> None:
        state.update(f"{len(texts)} texts\n".encode())
        for text in texts:
            raw = text.encode("utf-8", "surrogatepass")
            state.update(len(raw).to_bytes(8, "little"))
            state.update(raw)

    def add_tensor(tensor: Tensor) -> None:
        array = tensor.detach().cpu().contiguous().numpy()
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        state.update(f"{array.dtype.str} {array.shape}\n".encode())
        if array.size:
            state.update(array.data.cast("B"))

    if isinstance(inputs, Tensor):
        add_tensor(inputs)
    else:
        add_texts(inputs)
    add_tensor(labels)
    add_texts(class_names)
    return state.hexdigest()
