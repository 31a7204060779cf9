"""Tables whose shares read as everywhere else and still sort by their exact values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xaibench.reading import percent

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

__all__ = ["share_table"]


def share_table(rows: Sequence[Mapping[str, Any]], shares: Sequence[str]) -> Styler:
    """Rows for `streamlit.dataframe`; ``shares`` are the columns that hold shares, None where there is none."""
    import pandas as pd

    frame = pd.DataFrame(list(rows))
    for name in (present := [name for name in shares if name in frame]):
        frame[name] = frame[name].astype("float64")
    return frame.style.format(dict.fromkeys(present, _share))


def _share(value: float) -> str:
    return "–" if math.isnan(value) else percent(value)
