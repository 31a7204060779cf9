"""Tables by split, in the columnar form of Apache Arrow, read as a labelled data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from xaibench.data.columns import Columns, find_columns
from xaibench.data.images import Encoded, decode_images, image_channels, probe_rows
from xaibench.data.labels import read_labels
from xaibench.data.source import Rows, feature_bounds, stratified_split
from xaibench.errors import InputError
from xaibench.types import Bounds, Task

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TableSource"]


@dataclass(frozen=True, kw_only=True)
class TableSource:
    """Tables by split, each read when it is first needed; columns are told apart by `find_columns`."""

    name: str
    tables: Mapping[str, Callable[[], pa.Table]]

    @classmethod
    def of(cls, name: str, tables: Mapping[str, Callable[[], pa.Table]]) -> TableSource:
        """Tables by split; a lone table called ``all`` is divided by `stratified_split`."""
        if tuple(tables) != ("all",):
            return cls(name=name, tables={split: cache(read) for split, read in tables.items()})
        whole = cls(name=name, tables={"all": cache(tables["all"])})
        if not whole.size("all"):
            return whole
        rows = stratified_split(whole._labels("all"))
        table = whole.tables["all"]()
        return cls(name=name, tables={split: partial(table.take, ids.numpy()) for split, ids in rows.items()})

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.tables)

    @property
    def task(self) -> Task:
        return self._columns.task

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        return self._columns.inputs if self.task == "tabular" else None

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        if self._columns.class_names:
            return self._columns.class_names
        raw = np.concatenate([self._raw_labels(split) for split in self.splits])
        return read_labels(raw, None, self.name)[1]

    @cached_property
    def bounds(self) -> Bounds:
        if self.task != "tabular":
            return Bounds()
        split = "train" if "train" in self.tables else self.splits[0]
        return feature_bounds(self._numbers(self.tables[split]()))

    def size(self, split: str) -> int:
        return int(self.tables[split]().num_rows)

    def read(self, split: str, ids: Tensor) -> Rows:
        labels = self._labels(split)[ids]
        table = self.tables[split]()
        rows = table.select(self._columns.inputs).take(ids.numpy())
        if self.task == "tabular":
            return Rows(inputs=self._numbers(rows), labels=labels)
        cells = rows.column(0).to_pylist()
        missing = next((i for i, cell in zip(ids.tolist(), cells, strict=True) if cell is None), None)
        if missing is not None:
            raise InputError(f"expected {self.task} data in every row of {self.name}, got none in row {missing}")
        if self.task == "text":
            return Rows(inputs=tuple(cells), labels=labels)
        images = [self._encoded(cell, row) for row, cell in zip(ids.tolist(), cells, strict=True)]
        every = table.column(self._columns.inputs[0])
        probes = [self._encoded(every[row].as_py(), row) for row in probe_rows(len(every))]
        return Rows(inputs=decode_images(images, image_channels(probes)), labels=labels)

    @cached_property
    def _columns(self) -> Columns:
        return find_columns(next(iter(self.tables.values()))().schema, self.name)

    def _raw_labels(self, split: str) -> np.ndarray:
        table = self.tables[split]()
        if self._columns.label not in table.column_names:
            raise InputError(f"expected a label column in {self.name}, got none in its split {split}")
        column = table.column(self._columns.label)
        if column.null_count:
            raise InputError(f"expected a label in every row of {self.name}, got {column.null_count} without one")
        return np.asarray(column.to_numpy(zero_copy_only=False))

    def _labels(self, split: str) -> Tensor:
        return read_labels(self._raw_labels(split), self.class_names, f"{self.name}, split {split}")[0]

    def _numbers(self, table: pa.Table) -> Tensor:
        import pyarrow as pa

        for name in self._columns.inputs:
            if table.column(name).null_count:
                raise InputError(f"expected a number in every row of {self.name}, got none in column {name!r}")
        columns = [table.column(name).cast(pa.float64(), safe=False).to_numpy() for name in self._columns.inputs]
        return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))

    def _encoded(self, cell: Mapping[str, Any], row: int) -> Encoded:
        return f"row {row} of {self.name}", lambda: cell["bytes"]
