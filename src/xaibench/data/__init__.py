"""Labelled data: built in, planted evidence, the Hub's layout, and a user's own."""

from xaibench.data.dataset import Data
from xaibench.data.load import (
    check_at_hand,
    data_at_hand,
    data_names,
    load_data,
    measured_split,
    names_at_hand,
    row_count,
)
from xaibench.data.source import TooFewRowsError

__all__ = [
    "Data",
    "TooFewRowsError",
    "check_at_hand",
    "data_at_hand",
    "data_names",
    "load_data",
    "measured_split",
    "names_at_hand",
    "row_count",
]
