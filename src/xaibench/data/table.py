"""Tables by split, in the columnar form of Apache Arrow, read as a labelled data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from xaibench.data.columns import Columns, find_columns, is_number
from xaibench.data.images import Encoded, decode_images, image_channels, probe_rows
from xaibench.data.labels import read_labels
from xaibench.data.source import IMAGE_BOUNDS, Rows, feature_bounds, stratified_split
from xaibench.errors import InputError
from xaibench.types import Bounds, Task

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TableReader", "TableSource"]

TableReader = Callable[[], "pa.Table"]


@dataclass(frozen=True, kw_only=True)
class TableSource:
    """Tables by split, each read when it is first needed; columns are told apart by `find_columns`."""

    name: str
    tables: Mapping[str, TableReader]
    label: str | None = None
    """The label column, where it has no usual name."""

    @classmethod
    def open(cls, name: str, tables: Mapping[str, TableReader], label: str | None = None) -> TableSource:
        """Tables by split; a lone table called ``all`` is divided by `stratified_split`."""
        source = cls(name=name, tables={split: cache(read) for split, read in tables.items()}, label=label)
        if source.splits != ("all",):
            return source
        table = source.tables["all"]()
        rows = stratified_split(source._labels("all"))
        parts = {split: cache(partial(table.take, ids.numpy())) for split, ids in rows.items()}
        return cls(name=name, tables=parts, label=label)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits there are."""
        return tuple(self.tables)

    @property
    def task(self) -> Task:
        """By the types of the columns."""
        return self._columns.task

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """The numeric columns, where the task is tabular."""
        return self._columns.inputs if self.task == "tabular" else None

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """From the schema, else from the labels of all splits together."""
        if self._columns.class_names:
            return self._columns.class_names
        return read_labels(np.concatenate([self._raw_labels(split) for split in self.splits]), None, self.name)[1]

    @cached_property
    def bounds(self) -> Bounds:
        """[0, 1]; for tables each feature's range over the training split."""
        if self.task != "tabular":
            return IMAGE_BOUNDS
        split = "train" if "train" in self.tables else self.splits[0]
        return feature_bounds(self._numbers(self.tables[split]()))

    def size(self, split: str) -> int:
        """Number of rows of a split."""
        return int(self.tables[split]().num_rows)

    def read(self, split: str, ids: Tensor) -> Rows:
        """Decode the rows with these indices."""
        labels = self._labels(split)[ids]
        rows = self._inputs(split).take(ids.numpy())
        if self.task == "tabular":
            return Rows(inputs=self._numbers(rows), labels=labels)
        cells = rows.column(0).to_pylist()
        missing = next((row for row, cell in zip(ids.tolist(), cells, strict=True) if cell is None), None)
        if missing is not None:
            raise InputError(f"expected {self.task} data in every row of {self.name}, got none in row {missing}")
        if self.task == "text":
            return Rows(inputs=tuple(cells), labels=labels)
        images = [self._encoded(cell, row) for row, cell in zip(ids.tolist(), cells, strict=True)]
        everything = self._inputs(split).column(0)
        probes = (self._encoded(everything[row].as_py(), row) for row in probe_rows(len(everything)))
        return Rows(inputs=decode_images(images, image_channels(probes)), labels=labels)

    @cached_property
    def _columns(self) -> Columns:
        return find_columns(next(iter(self.tables.values()))().schema, self.name, self.label)

    def _inputs(self, split: str) -> pa.Table:
        table = self.tables[split]()
        missing = next((name for name in self._columns.inputs if name not in table.column_names), None)
        if missing is not None:
            raise InputError(f"expected a column {missing!r} in every split of {self.name}, got none in {split}")
        return table.select(self._columns.inputs)

    def _raw_labels(self, split: str) -> np.ndarray:
        table = self.tables[split]()
        if self._columns.label not in table.column_names:
            raise InputError(f"expected a label column in every split of {self.name}, got none in {split}")
        column = table.column(self._columns.label)
        if column.null_count:
            raise InputError(f"expected a label in every row of {self.name}, got {column.null_count} without one")
        return np.asarray(column.to_numpy(zero_copy_only=False))

    def _labels(self, split: str) -> Tensor:
        return read_labels(self._raw_labels(split), self.class_names, f"{self.name}, split {split}")[0]

    def _numbers(self, table: pa.Table) -> Tensor:
        columns = []
        for name in self._columns.inputs:
            column = table.column(name)
            if column.null_count:
                raise InputError(f"expected a number in every row of {self.name}, got none in column {name!r}")
            if not is_number(column.type):
                raise InputError(f"expected numbers in column {name!r} of {self.name}, got {column.type}")
            columns.append(column.to_numpy(zero_copy_only=False).astype(np.float32))
        return torch.from_numpy(np.stack(columns, axis=1))

    def _encoded(self, cell: Any, row: int) -> Encoded:
        where = f"row {row} of {self.name}"
        if isinstance(cell, bytes):
            return where, lambda: cell
        if cell and cell["bytes"] is not None:
            return where, lambda: cell["bytes"]
        return where, lambda: Path(cell["path"]).read_bytes()
