"""Which data sets can be read without the network, and which of their splits models are measured on."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from xaibench.data import load_data, measured_split, names_at_hand


def test_a_folder_of_parquet_in_the_data_home_is_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAIBENCH_DATA_HOME", str(tmp_path))
    table = pa.table({"width": [1.0, 2.0, 3.0, 4.0], "label": ["a", "b", "a", "b"]})
    for place in ("own/data", "owner/name/data", "other-owner/data", "odd name/data"):
        (tmp_path / place).mkdir(parents=True)
        parquet.write_table(table, tmp_path / place / "validation-00000-of-00001.parquet")
    (tmp_path / "other-owner" / "data" / "README.md").touch()
    names = names_at_hand()
    assert "own" in names
    assert {"owner", "other-owner", "odd name", "mnist"}.isdisjoint(names)
    assert {"digits", "evidence"} <= set(names)
    assert measured_split("own") == "validation"
    assert len(load_data("own", measured_split("own"))) == 4
