"""Data sets in the layout of the Hugging Face Hub: from a mirror folder first, then from the Hub itself."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from xaibench.data.table import TableSource
from xaibench.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["KNOWN", "from_hub", "from_mirror", "mirror_home", "split_of"]

KNOWN = {"cifar10": "uoft-cs/cifar10", "imdb": "stanfordnlp/imdb", "mnist": "ylecun/mnist"}
"""Short names of the Hub's data sets."""

_SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
}
_CONNECT_SECONDS = 5.0


def mirror_home() -> Path | None:
    """The folder that ``XAIBENCH_DATA_HOME`` names, if it does."""
    home = os.environ.get("XAIBENCH_DATA_HOME")
    return Path(home).expanduser() if home else None


def split_of(name: str) -> str | None:
    """The split that a file or folder name stands for, if any.

    >>> split_of("train-00000-of-00002"), split_of("my_val"), split_of("table")
    ('train', 'validation', None)
    """
    sharded = re.fullmatch(r"(\w+)-\d{5}-of-\d{5}.*", name)
    if sharded:
        return _SPLITS.get(sharded[1].lower(), sharded[1])
    words = re.split(r"[^a-z]+", name.lower())
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def from_mirror(folder: Path, name: str) -> TableSource:
    """Parquet files ``[<config>/]<split>-*.parquet`` (or ``<split>/*.parquet``) below a folder."""
    configs: dict[str, dict[str, list[Path]]] = {}
    for file in sorted(folder.rglob("*.parquet")):
        inner = list(file.relative_to(folder).parts[:-1])
        split = split_of(file.stem) or (split_of(inner.pop()) if inner and split_of(inner[-1]) else "all")
        configs.setdefault("/".join(part for part in inner if part != "data"), {}).setdefault(
            split or "all", []
        ).append(file)
    wanted = next(iter(configs)) if len(configs) == 1 else next((c for c in ("default", "") if c in configs), None)
    if wanted is None:
        raise InputError(f"expected one configuration of {name}, got {', '.join(configs)}: name its folder")
    return TableSource.of(
        name, {split: partial(_read_parquet, tuple(files)) for split, files in configs[wanted].items()}
    )


def from_hub(name: str) -> TableSource:
    """A data set ``owner/name`` of the Hub, through `datasets` and its cache."""
    import datasets
    import huggingface_hub

    hint = f"put a copy of it at $XAIBENCH_DATA_HOME/{name}, or connect to the network"
    try:
        if not huggingface_hub.is_offline_mode():
            huggingface_hub.HfApi().dataset_info(name, timeout=_CONNECT_SECONDS)
        loaded = datasets.load_dataset(name)
    except (huggingface_hub.errors.RepositoryNotFoundError, datasets.exceptions.DatasetNotFoundError):
        raise InputError(f"expected a data set of the Hugging Face Hub, got {name!r}, which it does not have") from None
    except Exception as error:
        raise InputError(f"expected to read data set {name!r}, got {type(error).__name__}: {hint}") from None
    return TableSource.of(name, {str(split): partial(_table_of, part) for split, part in loaded.items()})


def _read_parquet(files: tuple[Path, ...]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        return pa.concat_tables([parquet.read_table(file, memory_map=True, partitioning=None) for file in files])
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"expected Parquet in {files[0]}, got {str(error).splitlines()[0]:.120}") from None


def _table_of(part: object) -> pa.Table:
    table: Callable[[], pa.Table] = part.with_format("arrow")[:]  # type: ignore[attr-defined]
    return table.replace_schema_metadata(part.features.arrow_schema.metadata)  # type: ignore[attr-defined]
