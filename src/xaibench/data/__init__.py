"""Labelled data: built in, planted evidence, the Hub's layout, and a user's own."""

from xaibench.data.dataset import Data
from xaibench.data.load import data_names, load_data

__all__ = ["Data", "data_names", "load_data"]
