"""Words and figures as HTML, and methods as widgets."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from PIL import Image

from xaibench.drawing.colours import BLUE, VIOLET
from xaibench.drawing.pictures import photo
from xaibench.pages.explain.regions import region_chart
from xaibench.pages.explanations.charts import heat_map
from xaibench.pages.shared.charts import paired_bars
from xaibench.pages.shared.pictures import attribution_figure, changed_words, figure, overlay, shaded_words
from xaibench.pages.shared.text import plain


def test_text_from_data_is_escaped() -> None:
    words = shaded_words(["<script>", "a&b", ""], torch.tensor([1.0, -0.5, 0.3]), signed=True)
    assert "<script>" not in words
    assert "&lt;script&gt;" in words
    assert "a&amp;b" in words
    assert 'alt="&lt;b&gt; &quot;x&quot;"' in figure("data:,", '<b> "x"', side=8)
    assert plain("a*b [c](d)") == r"a\*b \[c\]\(d\)"


def test_words_are_shaded_by_sign_and_size() -> None:
    strong, weak, against = re.findall(
        r"rgba\((\d+,\d+,\d+),([\d.]+)\)", shaded_words("abc", torch.tensor([2.0, 0.2, -2.0]), signed=True)
    )
    assert strong[0] == weak[0] != against[0]
    assert float(strong[1]) == float(against[1]) > float(weak[1]) > 0


def test_padding_is_left_out_and_zeros_are_no_error() -> None:
    assert shaded_words(["a", "", "b"], torch.zeros(3), signed=False).count("<span") == 2


def test_small_pictures_keep_their_pixels() -> None:
    assert "image-rendering:pixelated" in attribution_figure(torch.rand(1, 8, 8), "c", signed=False)
    assert "image-rendering:auto" in attribution_figure(torch.rand(3, 224, 224), "c", signed=True)


def test_every_picture_has_an_edge_that_takes_no_room() -> None:
    white = torch.ones(1, 8, 8)
    shown = figure(photo(white), "white", side=8)
    over = overlay(white, torch.zeros(1, 8, 8), "none", bounds=(0.0, 1.0), opacity=0.5, signed=True)
    for html, pictures in ((shown, 1), (over, 2)):
        assert (
            len(re.findall(r"<img[^>]*outline:1px solid rgba\(128,128,128,[^>]*outline-offset:-1px", html)) == pictures
        )
        assert "border:" not in html
    source = region_chart(white, torch.zeros(8, 8, dtype=torch.int64), (), (0.0, 1.0)).layout.images[0].source
    drawn = torch.from_numpy(decoded(source))
    assert {tuple(pixel) for pixel in torch.cat([drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]]).tolist()} == {
        (211, 211, 211)
    }
    assert bool((drawn[1:-1, 1:-1] == 255).all())


def decoded(source: str) -> np.ndarray:
    """The pixels of a data URI."""
    return np.array(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB"))


def luminance(colour: Sequence[float]) -> float:
    """Of a colour in bytes, as WCAG 2 defines it."""
    parts = [byte / 255 for byte in colour]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_numbers_are_read_on_every_shade_of_a_table() -> None:
    table = heat_map(["a"], ["b", "c"], [[0.0, 1.0]], [["0", "1"]], hover="%{text}").data[0]
    ink = luminance([int(table.textfont.color[place : place + 2], 16) for place in (1, 3, 5)])
    stops = [(share, [int(colour[place : place + 2], 16) for place in (1, 3, 5)]) for share, colour in table.colorscale]
    assert [share for share, _ in stops] == [0, 0.5, 1]
    shades = [
        luminance([a + (b - a) * step / 100 for a, b in zip(low, high, strict=True)])
        for (_, low), (_, high) in pairwise(stops)
        for step in range(101)
    ]
    assert all((max(shade, ink) + 0.05) / (min(shade, ink) + 0.05) >= 4.5 for shade in shades)
    assert all(later <= earlier for earlier, later in pairwise(shades)), "the better, the darker"


def test_bars_stand_in_order_and_read_as_percent() -> None:
    chart = paired_bars(["a", "b"], {"before": [0.9, 0.1], "after": [0.2, 0.8]}, limits=(0.0, 1.0))
    before, after = chart.data
    assert (before.name, list(before.y), list(before.x)) == ("before", ["a", "b"], [0.9, 0.1])
    assert list(after.text) == ["20 %", "80 %"]
    assert before.marker.color != after.marker.color
    assert chart.layout.yaxis.autorange == "reversed"


def test_bars_without_a_sign_have_the_colour_of_no_side() -> None:
    values = {"attribution": [0.5, 0.1]}
    assert set(paired_bars(["a", "b"], values, signed=False).data[0].marker.color) == {VIOLET}
    assert set(paired_bars(["a", "b"], values).data[0].marker.color) == {BLUE}


def test_of_a_long_text_the_changes_and_what_stands_around_them_are_shown() -> None:
    before = [f"w{place}" for place in range(100)]
    after = [*before[:50], "new", *before[51:]]
    marked = re.sub(r"<[^>]+>", "", changed_words(before, after, around=2)).split()
    assert marked == ["…", "w48", "w49", "w50", "new", "w51", "w52", "…"]
    assert changed_words(before, after, around=60) == changed_words(before, after)


def test_words_can_be_marked_and_left_out() -> None:
    html = shaded_words(["a", "b", "c", "d", ""], torch.ones(5), signed=True, marked={1}, shown={1})
    assert re.sub(r"<[^>]+>", "", html).split() == ["…", "b", "…"]
    assert html.count("underline") == 1
