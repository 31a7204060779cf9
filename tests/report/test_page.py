"""The page: one file, nothing from outside, nothing from data taken for markup, every picture described."""

from __future__ import annotations

import base64
import gzip
import io
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import factories
import numpy as np
import pytest
import torch
from PIL import Image

from xaibench.drawing.pictures import collapse, map_picture, perturbation_picture, photo
from xaibench.evaluate import Evaluation, Plan, run
from xaibench.evaluate.results import Caveat
from xaibench.report import write_report
from xaibench.report.charts import Frame, curve_chart
from xaibench.report.command import command, python_call

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """A parsed page: its elements with their attributes, its visible text, and whether its tags balance."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, Mapping[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.texts.append(data)

    def all(self, tag: str) -> list[Mapping[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page_of(evaluation: Evaluation, folder: Path) -> tuple[str, Page]:
    text = write_report(evaluation, folder).read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture(scope="module")
def image_run() -> Evaluation:
    return run(Plan(model="factories:digits", data="digits", n=40, samples=2))


@pytest.fixture(scope="module")
def pages(image_run: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Page]]:
    home = tmp_path_factory.mktemp("pages")
    table = factories.words_table(str(home / "texts.csv"))
    runs = {
        "image": image_run,
        "tabular": run(Plan(model="factories:cancer", data="breast-cancer", n=40, samples=2)),
        "text": run(Plan(model="factories:words", data=table, split="all", samples=2)),
    }
    return {task: page_of(evaluation, home / task) for task, evaluation in runs.items()}


@pytest.mark.parametrize("task", ["image", "tabular", "text"])
def test_a_page_is_one_balanced_file_that_loads_nothing(pages: dict[str, tuple[str, Page]], task: str) -> None:
    text, page = pages[task]
    assert len(text.encode()) < 5_000_000
    assert page.open == []
    for tag, attributes in page.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))
    own = re.sub(r'<script type="application/octet-stream".*?</script>', "", text, flags=re.DOTALL)
    assert not re.search(r"https?://|@import|url\(", own)
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


@pytest.mark.parametrize("task", ["image", "tabular", "text"])
def test_every_picture_is_described(pages: dict[str, tuple[str, Page]], task: str) -> None:
    page = pages[task][1]
    assert all(image.get("alt") for image in page.all("img"))
    for tag, attributes in page.elements:
        if attributes.get("role") == "img":
            assert attributes.get("aria-label"), tag
    assert len(page.all("img")) == (14 if task == "image" else 0)


def test_every_link_leads_to_a_place_on_the_page(pages: dict[str, tuple[str, Page]]) -> None:
    page = pages["image"][1]
    places = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {(link["href"] or "")[1:] for link in page.all("a")} <= places


def test_names_and_texts_of_the_data_are_never_markup(pages: dict[str, tuple[str, Page]]) -> None:
    text, page = pages["text"]
    assert factories.SCRIPT not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert factories.SCRIPT in page.text
    assert "<b>bad</b>" not in text
    assert "<b>bad</b>" in page.text


def test_a_page_says_what_was_not_measured(tmp_path: Path) -> None:
    page = page_of(run(Plan(model="factories:digits", data="digits", n=10, attacks=(), explainers=())), tmp_path)[1]
    assert "Not measured: robustness. The plan has no attacks." in page.text
    assert not any(attributes.get("id") == "plotly" for attributes in page.all("script"))


def test_a_page_says_why_its_numbers_are_doubtful(image_run: Evaluation, tmp_path: Path) -> None:
    caveat = Caveat(what="The model is not deterministic: <it tosses coins>", meaning="An upper bound at best")
    results = image_run.results.model_copy(update={"caveats": (caveat,)})
    page = Page(write_report(replace(image_run, results=results), tmp_path).read_text(encoding="utf-8"))
    assert f"{caveat.what}. An upper bound at best." in page.text


def test_classes_without_names_are_pointed_out(pages: dict[str, tuple[str, Page]]) -> None:
    note = "The classes of the model have no names: classes are matched by their position."
    assert note in pages["tabular"][1].text
    assert note not in pages["image"][1].text


def test_the_chart_library_travels_inside_the_page(pages: dict[str, tuple[str, Page]]) -> None:
    from plotly.offline import get_plotlyjs

    found = re.search(r'id="plotly">([^<]*)</script>', pages["image"][0])
    assert found is not None
    assert gzip.decompress(base64.b64decode(found.group(1))).decode() == get_plotlyjs()


def test_the_static_chart_shows_the_measured_accuracies(image_run: Evaluation) -> None:
    robustness = image_run.results.robustness
    assert robustness is not None
    chart = curve_chart(robustness)
    frame = chart.frame
    for line, curve in zip(chart.lines, (robustness.worst_case, *robustness.curves), strict=True):
        assert line.name == curve.attack
        for (x, y), radius, accuracy in zip(line.dots, robustness.radii, curve.accuracy, strict=True):
            share = (frame.height - frame.bottom - y) / (frame.height - frame.top - frame.bottom)
            place = (x - frame.left) / (frame.width - frame.left - frame.margin) * frame.right
            assert (share, place) == (pytest.approx(accuracy, abs=1e-3), pytest.approx(radius, abs=1e-3))
    assert chart.ticks[0] == 0
    assert robustness.eps in chart.ticks


def test_a_frame_puts_zero_at_the_lower_left() -> None:
    frame = Frame(100, 50, right=2.0, left=10, top=5, bottom=15, margin=10)
    assert (frame.x(0), frame.y(0), frame.x(2), frame.y(1)) == (10, 35, 90, 5)


def test_the_tables_on_the_page_hold_the_numbers(image_run: Evaluation, pages: dict[str, tuple[str, Page]]) -> None:
    text = pages["image"][1].text.replace("\N{NO-BREAK SPACE}", " ")
    assert image_run.digest in text
    worst = image_run.curves[-1]
    for count in worst.robust:
        assert f"{count} of 40" in text


def test_the_command_makes_the_same_plan(image_run: Evaluation) -> None:
    line = command(image_run.plan)
    assert line is not None
    assert line.startswith("xaibench report factories:digits --data digits --split test --norm linf --eps 0.1 --n 40")
    odd = image_run.plan.model_copy(update={"curve": (0.0, 0.03, 0.1)})
    assert command(odd) is None
    call = python_call(odd).removeprefix("xaibench.run(xaibench.").removesuffix(")")
    assert eval(call, {"Plan": Plan}) == odd


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))))


def test_a_photo_is_the_image_itself() -> None:
    grey = torch.arange(12).reshape(1, 3, 4) / 11
    colour = torch.rand(3, 5, 6, generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(pixels(photo(grey)), np.rint(grey[0].numpy() * 255))
    np.testing.assert_array_equal(pixels(photo(colour)), np.rint(colour.permute(1, 2, 0).numpy() * 255))
    np.testing.assert_array_equal(pixels(photo(grey * 255, (0.0, 255.0))), np.rint(grey[0].numpy() * 255))


def test_large_pictures_are_shrunk_to_what_is_shown() -> None:
    noise = torch.rand(3, 500, 400, generator=torch.Generator().manual_seed(0))
    uri = photo(noise)
    assert uri.startswith("data:image/jpeg;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size == (166, 208)
    assert len(uri) < 60_000


def test_a_map_of_zeros_says_so(image_run: Evaluation, tmp_path: Path) -> None:
    first = image_run.explanations[0].clean.maps[0].key
    dead = {**image_run.attributions, first: torch.zeros(1, 8, 8)}
    note = "all zero: the logit of this class does not depend on the input"
    assert page_of(replace(image_run, attributions=dead), tmp_path)[1].text.count(note) == 1


def test_maps_are_blue_for_orange_against_and_white_at_zero() -> None:
    drawn = pixels(map_picture(torch.tensor([[2.0, 0.0, -2.0, 1.0]]), signed=True)).astype(int)
    ((up, zero, down, half),) = drawn
    assert up[2] > up[0]
    assert down[0] > down[2]
    assert zero.min() > 240
    assert np.abs(half - (up + zero) / 2).max() <= 1
    unsigned = pixels(map_picture(torch.tensor([[1.0, 0.0]]), signed=False)).astype(int)
    assert unsigned[0, 0].sum() < unsigned[0, 1].sum()
    assert pixels(map_picture(torch.zeros(2, 2), signed=True)).min() > 240


def test_a_perturbation_is_magnified_to_full_colour() -> None:
    delta = torch.zeros(3, 1, 2)
    delta[0, 0, 0], delta[2, 0, 1] = 1e-3, -1e-3
    ((left, right),) = pixels(perturbation_picture(delta)).astype(int)
    assert left.tolist() == [255, 128, 128]
    assert right.tolist() == [128, 128, 0]
    assert pixels(perturbation_picture(torch.tensor([[[0.1, -0.1]]]))).shape == (1, 2, 3)


def test_channels_add_up_for_signed_maps_and_the_largest_counts_for_others() -> None:
    values = torch.tensor([[[1.0]], [[-3.0]], [[1.0]]])
    assert collapse(values, signed=True).tolist() == [[-1.0]]
    assert collapse(values.abs(), signed=False).tolist() == [[3.0]]
