"""Two classifiers on the same samples: what one of them wins and pays, with a test for every difference."""

from xaibench.comparison.compare import Sizes, View, compare
from xaibench.comparison.judged import compare_judgements
from xaibench.comparison.models import compare_names
from xaibench.comparison.results import Comparison, McNemar, PairedFigure
from xaibench.comparison.sides import Side, load_side, side_of
from xaibench.comparison.write import write_comparison

__all__ = [
    "Comparison",
    "McNemar",
    "PairedFigure",
    "Side",
    "Sizes",
    "View",
    "compare",
    "compare_judgements",
    "compare_names",
    "load_side",
    "side_of",
    "write_comparison",
]
