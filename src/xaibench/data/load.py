"""`load_data`: a name or a path to labelled rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from xaibench.data.archive import from_archive
from xaibench.data.builtin import breast_cancer, digits
from xaibench.data.dataset import Data, data_digest
from xaibench.data.evidence import EvidenceSource
from xaibench.data.files import TABLE_SUFFIXES, from_table, from_tables_folder, table_files
from xaibench.data.folder import FolderSource, has_images
from xaibench.data.hub import KNOWN, from_hub, mirror_home
from xaibench.data.labels import check_labels
from xaibench.data.source import Rows, Source, select_rows
from xaibench.errors import InputError, unknown_name
from xaibench.places import is_plain

__all__ = [
    "check_at_hand",
    "data_at_hand",
    "data_names",
    "load_data",
    "measured_split",
    "names_at_hand",
    "row_count",
]

_BUILTIN: dict[str, Callable[[], Source]] = {
    "breast-cancer": breast_cancer,
    "digits": digits,
    "evidence": EvidenceSource,
    "evidence-tag": partial(EvidenceSource, watermark="one_class"),
    "evidence-watermark": partial(EvidenceSource, watermark="by_class"),
}
_SUFFIXES = (*TABLE_SUFFIXES, ".npz")
_SHORT = {full: short for short, full in KNOWN.items()}
_MEASURED = ("test", "validation", "all")
"""Splits that models are measured on, the best first."""


def data_names() -> tuple[str, ...]:
    """The data sets that have a name here, sorted: built-in ones, and short names for some of the Hub's."""
    return tuple(sorted([*_BUILTIN, *KNOWN]))


def load_data(name_or_path: str | Path, split: str = "test", n: int | None = None, seed: int | None = 0) -> Data:
    """Load rows of a data set with their labels, class names and digest.

    Args:
        name_or_path: one of `data_names`; ``owner/name`` of the Hugging Face Hub, read from the mirror folder
            ``$XAIBENCH_DATA_HOME/owner/name`` where there is one; or a path to a folder of images by class, to tables
            (``.csv``, ``.tsv``, ``.parquet``, or a folder of them) or to a ``.npz``. After a table, ``:column`` names
            its label column.
        split: ``train``, ``test``, or another that the set has. Data without splits are divided by a fixed rule:
            a fifth of each class is ``test``, the rest ``train``; ``all`` is both.
        n: how many rows, the first of a permutation seeded by ``seed``; None for all rows in the order of the set.
        seed: None takes the first ``n`` rows in the order of the set.

    Raises:
        InputError: an unknown name or split, an empty set, more rows than there are, no labels, or bad values.

    >>> load_data("digits", n=5).inputs.shape
    torch.Size([5, 1, 8, 8])
    """
    name, source = _source_of(name_or_path, split)
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


def row_count(name_or_path: str | Path, split: str = "test") -> int:
    """How many rows a split of a data set has, without reading them; `load_data` takes and raises the same.

    >>> row_count("digits")
    359
    """
    return _source_of(name_or_path, split)[1].size(split)


def data_at_hand(name: str) -> bool:
    """Whether a named data set can be read without the network: it is built in, or in the mirror folder."""
    home = mirror_home()
    return name in _BUILTIN or bool(home and name and (home / KNOWN.get(name, name)).is_dir())


def names_at_hand() -> tuple[str, ...]:
    """The data sets that can be read without the network, sorted: those of `data_names`, and the host's own.

    These are folders directly in ``$XAIBENCH_DATA_HOME`` that hold Parquet files, or a folder ``data`` of them; with a
    ``README.md`` that folder is a data set of the Hub, called ``data`` by its owner.
    """
    home = mirror_home()
    folders = home.iterdir() if home and home.is_dir() else ()
    own = [path.name for path in folders if is_plain(path.name) and _holds_tables(path)]
    return tuple(sorted({*filter(data_at_hand, data_names()), *own}))


def check_at_hand(name: str) -> None:
    """Refuse all but `names_at_hand`; `InputError` says which these are, and where a set of the Hub would lie."""
    names = names_at_hand()
    if name not in names:
        place = f", which is read from {KNOWN[name]} below XAIBENCH_DATA_HOME" if name in KNOWN else ""
        raise InputError(f"expected data that are at hand here ({', '.join(names)}), got {name!r:.80}{place}")


def measured_split(name: str) -> str:
    """The split of a data set that models are measured on: ``test`` where there is one.

    >>> measured_split("digits")
    'test'
    """
    splits = _open(name)[1].splits
    return next((split for split in _MEASURED if split in splits), splits[0])


def _holds_tables(folder: Path) -> bool:
    inner = folder / "data"
    places = (folder,) if (inner / "README.md").exists() else (folder, inner)
    return any(any(place.glob("*.parquet")) for place in places)


def _source_of(name_or_path: str | Path, split: str) -> tuple[str, Source]:
    """A data set's short name and its source, which has this split."""
    name, source = _open(str(name_or_path))
    if split not in source.splits:
        small = (
            "; it has too few rows of each class for a test split" if tuple(source.splits) == ("train", "all") else ""
        )
        raise InputError(f"expected a split of {name} ({', '.join(source.splits)}), got {split!r}{small}")
    return name, source


def _open(text: str) -> tuple[str, Source]:
    """A data set's short name and its source, found by name, then as a path, in the mirror, and on the Hub."""
    if text in _BUILTIN:
        return text, _BUILTIN[text]()
    label, given = None, text
    if ":" in text and not Path(text).expanduser().exists():
        text, _, label = text.rpartition(":")
    path = Path(text).expanduser()
    if text and text not in KNOWN and path.exists():
        return path.resolve().name, _from_path(path.resolve(), label)
    full = KNOWN.get(text, text)
    name = _SHORT.get(full, full)
    home = mirror_home()
    if home and full and (home / full).is_dir():
        return name, _from_folder(home / full, name, label)
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", full) and path.suffix.lower() not in _SUFFIXES:
        return name, from_hub(full, label)
    if path.suffix.lower() in _SUFFIXES or path.is_absolute():
        raise InputError(f"expected an existing file or folder, got {text}")
    raise unknown_name("data set", given, data_names())


def _from_path(path: Path, label: str | None) -> Source:
    if path.is_dir():
        return _from_folder(path, path.name, label)
    if path.suffix.lower() in TABLE_SUFFIXES:
        return from_table(path, label)
    if path.suffix.lower() == ".npz":
        _refuse_label(path, label)
        return from_archive(path)
    raise InputError(f"expected a folder or a file {', '.join(_SUFFIXES)}, got {path.name}")


def _from_folder(folder: Path, name: str, label: str | None) -> Source:
    tables = table_files(folder)
    by_class = has_images(folder) and not any(file.suffix == ".parquet" for file in tables)
    if tables and not by_class:
        return from_tables_folder(folder, name, label)
    _refuse_label(folder, label)
    return FolderSource.open(folder, name)


def _refuse_label(path: Path, label: str | None) -> None:
    if label is not None:
        raise InputError(f"expected a label column after a table only, got {path.name}:{label}")


def _check(rows: Rows, source: Source, name: str) -> None:
    check_labels(rows.labels, len(source.class_names), name)
    if not isinstance(rows.inputs, Tensor):
        return
    low, high = torch.aminmax(rows.inputs)
    if not (torch.isfinite(low) and torch.isfinite(high)):
        raise InputError(f"expected finite inputs in {name}, got NaN or infinity")
    if source.task == "image" and not 0 <= low <= high <= 1:
        raise InputError(f"expected images as bytes or floats in [0, 1] in {name}, got {low:.4g} to {high:.4g}")
