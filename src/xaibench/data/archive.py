"""Arrays in a NumPy archive."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xaibench.data.arrays import ArraySource
from xaibench.data.images import images_tensor
from xaibench.data.labels import read_labels
from xaibench.data.splits import split_of
from xaibench.errors import InputError, first_line
from xaibench.types import Task

__all__ = ["from_archive"]

_INPUTS = ("x", "inputs", "images", "features", "texts", "data")
_LABELS = ("y", "labels", "label", "targets", "target")
_CHANNELS = (1, 3)


def from_archive(path: Path) -> ArraySource:
    """Read ``.npz``: arrays ``x`` and ``y`` (or inputs, images, features, texts; labels, targets), optionally
    ``class_names`` and ``feature_names``; with splits, ``x_train``, ``y_train``, ``x_test``, ``y_test``.

    Images are (n, height, width[, channels]) or (n, channels, height, width), bytes or floats in [0, 1];
    tables are (n, features); texts are (n,) strings. Nothing is unpickled.
    """
    arrays = _load(path)
    pairs = _pairs(arrays, path)
    raw_labels = np.concatenate([labels for _, labels in pairs.values()])
    _, class_names = read_labels(raw_labels, _names(arrays, "class_names", path), str(path))
    parts = {split: _part(inputs, labels, class_names, path) for split, (inputs, labels) in pairs.items()}
    tasks = {task for task, _, _ in parts.values()}
    if len(tasks) > 1:
        raise InputError(f"expected splits of one kind in {path}, got {' and '.join(sorted(tasks))}")
    task = tasks.pop()
    feature_names = _names(arrays, "feature_names", path) if task == "tabular" else None
    if tuple(parts) == ("all",):
        _, inputs, labels = parts["all"]
        return ArraySource.divided(task, inputs, labels, class_names, feature_names)
    return ArraySource(
        task=task,
        class_names=class_names,
        arrays={split: (inputs, labels) for split, (_, inputs, labels) in parts.items()},
        feature_names=feature_names,
    )


def _load(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise InputError(f"expected a NumPy archive (.npz) in {path}, got something else or a part of one")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"expected a NumPy archive without pickled objects in {path}, got: {first_line(error)}"
        ) from None


def _pairs(arrays: Mapping[str, np.ndarray], path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Inputs and labels by split."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        split = split_of(key.lower())
        words = key.lower().split("_")
        for role, names in (("inputs", _INPUTS), ("labels", _LABELS)):
            if words[0] in names and len(words) == (1 if split is None else 2):
                found.setdefault(split or "all", {})[role] = array
    pairs = {split: (roles.get("inputs"), roles.get("labels")) for split, roles in found.items()}
    complete = {split: (x, _flat(y)) for split, (x, y) in pairs.items() if x is not None and y is not None}
    if not complete:
        raise InputError(f"expected arrays x and y in {path}, got {', '.join(arrays) or 'none'}")
    for x, y in complete.values():
        if not y.size:
            raise InputError(f"expected at least one row in {path}, got an empty set")
        if x.ndim == 0 or y.shape != (len(x),):
            raise InputError(f"expected one label an input in {path}, got shapes {y.shape} for inputs {x.shape}")
    return complete


def _names(arrays: Mapping[str, np.ndarray], key: str, path: Path) -> tuple[str, ...] | None:
    names = arrays.get(key)
    if names is None:
        return None
    if names.ndim != 1:
        raise InputError(f"expected `{key}` as a list in {path}, got an array of shape {names.shape}")
    return tuple(map(str, names.tolist()))


def _flat(labels: np.ndarray) -> np.ndarray:
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def _part(
    x: np.ndarray, y: np.ndarray, class_names: tuple[str, ...], path: Path
) -> tuple[Task, Tensor | tuple[str, ...], Tensor]:
    labels, _ = read_labels(y, class_names, str(path))
    if x.dtype.kind == "U" and x.ndim == 1:
        return "text", tuple(x.tolist()), labels
    if x.dtype.kind not in "fiub":
        raise InputError(f"expected numbers or texts as inputs in {path}, got {x.dtype}")
    if x.ndim == 2:
        return "tabular", torch.from_numpy(x.astype(np.float32)), labels
    return "image", _images(x, path), labels


def _images(x: np.ndarray, path: Path) -> Tensor:
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or not {x.shape[1], x.shape[3]} & set(_CHANNELS):
        raise InputError(f"expected images of 1 or 3 channels in {path}, got an array of shape {x.shape}")
    if x.shape[1] not in _CHANNELS:
        x = x.transpose(0, 3, 1, 2)
    if x.dtype == np.uint8:
        return images_tensor(torch.from_numpy(np.ascontiguousarray(x)))
    if x.dtype.kind != "f":
        raise InputError(f"expected images as bytes or floats in [0, 1] in {path}, got {x.dtype}")
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
