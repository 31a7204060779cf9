"""What all charts have in common: names are text in them, whatever tags they hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from xaibench.drawing.charts import laid_out, verbatim
from xaibench.pages.compare.charts import curves_chart
from xaibench.pages.explanations.charts import heat_map, interval_bars
from xaibench.pages.harden.results import Outcome, overview
from xaibench.pages.shared.charts import paired_bars

HOSTILE = "<a href='https://example.org/x'>name</a> & <b style='color:red'>bold</b>"
SHOWN = "&lt;a href='https://example.org/x'&gt;name&lt;/a&gt; &amp; &lt;b style='color:red'&gt;bold&lt;/b&gt;"
TAG = re.compile(r"<(?!/?extra>|br>)")


def charts() -> dict[str, Any]:
    names = [HOSTILE, "other"]
    outcome = Outcome(
        before=HOSTILE, after=HOSTILE, norm="linf", eps=0.1, clean=(1, 1), robust=(0, 1), attack="pgd", n=9
    )
    return {
        "paired bars": paired_bars(names, {HOSTILE: [0.1, 0.9], "after": [0.2, 0.8]}, limits=(0.0, 1.0)),
        "curves": curves_chart([(HOSTILE, [0.0], [1.0], [(0.9, 1.0)])], eps=0.1, unit="radius"),
        "intervals": interval_bars(names, [1, 2], [(None, None)] * 2, strong=[True, False], axis=HOSTILE),
        "heat map": heat_map(names, ["two\nlines"], [[0.5], [None]], [[HOSTILE], [""]], hover="%{y}"),
        "overview": overview([outcome]),
        "ticks": laid_out(
            go.Figure().update_xaxes(tickvals=[0], ticktext=[HOSTILE]).add_annotation(text=HOSTILE), height=90
        ),
    }


@pytest.mark.parametrize("name", charts())
def test_names_in_charts_are_text(name: str) -> None:
    told = charts()[name].to_json().encode().decode("unicode_escape")
    assert SHOWN in told
    assert not TAG.search(told)


def test_a_line_break_in_a_name_is_one_in_the_chart_and_numbers_stay() -> None:
    chart = verbatim(go.Figure(go.Bar(x=[1.5, None], y=["a\nb", "c"], customdata=[["<", 2], ["x", 3]])))
    bars = chart.data[0]
    assert tuple(bars.x) == (1.5, None)
    assert tuple(bars.y) == ("a<br>b", "c")
    assert [list(row) for row in bars.customdata] == [["&lt;", 2], ["x", 3]]


def test_every_chart_is_made_so_and_no_template_is_put_together_of_names(root: Path) -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in (root / "src/xaibench").rglob("*.py")}
    drawing = {path: text for path, text in sources.items() if "go.Figure(" in text}
    assert len(drawing) > 5
    bare = {path.name for path, text in drawing.items() if not re.search(r"\b(laid_out|verbatim)\(", text)}
    assert bare == {"regions.py"}, "which draws a picture without names"
    joined = {path.name for path, text in drawing.items() if re.search(r'hovertemplate=(f"|\w+ \+|"[^"]*" \+)', text)}
    assert joined <= {"curves.py"}, "which puts its unit there, epoch or step"
