"""Tables in files: CSV, TSV and Parquet, one by one or a folder of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from xaibench.data.splits import split_of
from xaibench.data.table import TableSource
from xaibench.errors import InputError, first_line

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TABLE_SUFFIXES", "from_table", "from_tables_folder", "table_files"]

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_PARQUET = ".parquet"
TABLE_SUFFIXES = (*_SEPARATORS, _PARQUET)


def table_files(folder: Path) -> list[Path]:
    """The tables below a folder, sorted: its Parquet files where there are any, else CSV and TSV files."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in TABLE_SUFFIXES)
    return [file for file in files if file.suffix.lower() == _PARQUET] or files


def from_tables_folder(folder: Path, name: str, label: str | None = None) -> TableSource:
    """Tables laid out as ``[<config>/]<split>-*.parquet`` or ``[<config>/]<split>/*.parquet`` (or CSV, TSV).

    Of several configurations the one called ``default`` is read; where there is none, name its folder instead.
    """
    configs: dict[str, dict[str, list[Path]]] = {}
    for file in table_files(folder):
        inner = list(file.relative_to(folder).parts[:-1])
        split = split_of(file.stem)
        if split is None and inner:
            split = split_of(inner[-1])
            inner = inner[:-1] if split else inner
        config = "/".join(part for part in inner if part != "data")
        configs.setdefault(config, {}).setdefault(split or "all", []).append(file)
    if len(configs) > 1 and "default" not in configs:
        raise InputError(f"expected one configuration in {name}, got {', '.join(configs)}: give the folder of one")
    splits = configs.get("default") or next(iter(configs.values()))
    return TableSource.open(name, {split: partial(_read, files) for split, files in splits.items()}, label)


def from_table(file: Path, label: str | None = None) -> TableSource:
    """One table, divided into train and test by a fixed rule."""
    return TableSource.open(file.name, {"all": partial(_read, [file])}, label)


def _read(files: Sequence[Path]) -> pa.Table:
    import pyarrow as pa

    try:
        table = pa.concat_tables([_read_one(file) for file in files])
    except pa.ArrowInvalid as error:
        raise InputError(f"expected files with the same columns, got {first_line(error)}") from None
    if not table.num_rows:
        raise InputError(f"expected at least one row in {files[0]}, got an empty table")
    return table


def _read_one(file: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv, parquet

    suffix = file.suffix.lower()
    try:
        if suffix == _PARQUET:
            return parquet.read_table(file, memory_map=True, partitioning=None)
        options = csv.ParseOptions(delimiter=_SEPARATORS[suffix], newlines_in_values=True)
        table = csv.read_csv(file, parse_options=options)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"expected a table in {file}, got {first_line(error)}") from None
    undecoded = next((field.name for field in table.schema if pa.types.is_binary(field.type)), None)
    if undecoded is not None:
        raise InputError(f"expected text in UTF-8 in {file}, got other bytes in column {undecoded!r}")
    return table
