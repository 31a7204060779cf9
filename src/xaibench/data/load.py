"""`load_data`: a name or a path to labelled rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from xaibench.data.builtin import breast_cancer, digits
from xaibench.data.dataset import Data, data_digest
from xaibench.data.hub import KNOWN, from_hub, from_mirror, mirror_home
from xaibench.data.labels import check_labels
from xaibench.data.source import Rows, Source, select_rows
from xaibench.errors import InputError, unknown_name

__all__ = ["data_names", "load_data"]

_BUILTIN: dict[str, Callable[[], Source]] = {"breast-cancer": breast_cancer, "digits": digits}


def data_names() -> tuple[str, ...]:
    """The data sets that have a name here, sorted: built-in ones, and short names for some of the Hub's."""
    return tuple(sorted([*_BUILTIN, *KNOWN]))


def load_data(name_or_path: str | Path, split: str = "test", n: int | None = None, seed: int | None = 0) -> Data:
    """Load rows of a data set with their labels, class names and digest.

    Args:
        name_or_path: one of `data_names`; ``owner/name`` of the Hugging Face Hub, read from the mirror folder
            ``$XAIBENCH_DATA_HOME/owner/name`` where there is one; or a path.
        split: ``train``, ``test``, or another that the set has.
        n: how many rows, the first of a permutation seeded by ``seed``; None for all rows in the order of the set.
        seed: None takes the first ``n`` rows in the order of the set.

    Raises:
        InputError: an unknown name or split, an empty set, more rows than there are, no labels, or bad values.

    >>> load_data("digits", n=5).inputs.shape
    torch.Size([5, 1, 8, 8])
    """
    name, source = _open(name_or_path)
    if split not in source.splits:
        raise InputError(f"expected a split of {name} ({', '.join(source.splits)}), got {split!r}")
    ids = select_rows(source.size(split), n, seed)
    rows = source.read(split, ids)
    _check(rows, source, name)
    return Data(
        name=name,
        split=split,
        task=source.task,
        inputs=rows.inputs,
        labels=rows.labels,
        class_names=source.class_names,
        ids=ids,
        digest=data_digest(rows.inputs, rows.labels, source.class_names),
        bounds=source.bounds,
        masks=rows.masks,
        feature_names=source.feature_names,
        spurious_masks=rows.spurious_masks,
    )


def _open(name_or_path: str | Path) -> tuple[str, Source]:
    name = str(name_or_path)
    name = {full: short for short, full in KNOWN.items()}.get(name, name)
    if name in _BUILTIN:
        return name, _BUILTIN[name]()
    full = KNOWN.get(name, name)
    path = Path(name_or_path).expanduser()
    if name not in KNOWN and path.exists():
        return path.resolve().name, from_mirror(path, name)
    home = mirror_home()
    if home and (home / full).is_dir():
        return name, from_mirror(home / full, name)
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", full):
        return name, from_hub(full)
    raise unknown_name("data set", name, data_names())


def _check(rows: Rows, source: Source, name: str) -> None:
    check_labels(rows.labels, len(source.class_names), name)
    if isinstance(rows.inputs, Tensor) and not bool(torch.isfinite(rows.inputs).all()):
        raise InputError(f"expected finite inputs in {name}, got NaN or infinity")
