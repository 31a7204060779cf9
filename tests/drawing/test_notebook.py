"""Results draw themselves in a notebook: by their own numbers, for every kind of data, and safely."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from xaibench import Evaluation, Linf, Plan, evaluate_robustness, explain, load_data, load_model, run
from xaibench.evaluate.headline import headline
from xaibench.explainers import Attribution
from xaibench.explainers.comparison import compare_explainers
from xaibench.reading import percent
from xaibench.robustness import RobustnessResult

HOSTILE = '<script>alert("x")</script>"><img src=x onerror=alert(1)>'
ALLOWED = frozenset(
    [
        "div",
        "p",
        "b",
        "del",
        "ins",
        "span",
        "ul",
        "li",
        "figure",
        "figcaption",
        "img",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    ]
)
DATA = {"toy-image": "digits", "toy-table": "breast-cancer"}


class Page(HTMLParser):
    """Collects tags and text of a page, and refuses what can act or reach out."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED, tag
        for name, value in attrs:
            assert not name.startswith("on")
            assert name != "src" or (value or "").startswith("data:image/")
        assert tag != "img" or dict(attrs)["alt"]
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def drawn(result: object) -> Page:
    """What a notebook shows for the value of a cell."""
    return Page(result._repr_html_())  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def models(toy_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(toy_models))


@pytest.fixture
def texts() -> Attribution:
    model = load_model("toy-text")
    return explain(model, ["a fine film", "dull"], method="saliency")


def attribution(name: str, n: int, method: str = "integrated_gradients") -> Attribution:
    return explain(load_model(name), load_data(DATA[name], n=n).inputs, method=method)


def test_images_are_drawn_as_maps_up_to_a_limit() -> None:
    found = attribution("toy-image", 11)
    page = drawn(found)
    assert page.tags.count("img") == 8
    assert "first 8 of 11 samples" in page.text
    assert found.trust.verdict in page.text
    assert f"class {int(found.target[0])}" in page.text
    assert repr(found) == f"Attribution(integrated_gradients, n=11 of 1 x 8 x 8, {found.trust.verdict})"


def test_rows_are_drawn_as_bars_of_the_largest_features() -> None:
    found = attribution("toy-table", 1)
    page = drawn(found)
    order = found.values[0].abs().argsort(descending=True)[:10].tolist()
    assert re.findall(r"feature (\d+)", page.text) == [str(place) for place in order]
    assert f"{float(found.values[0, order[0]]):+.3g}".replace("-", "−") in page.text


def test_words_are_escaped(texts: Attribution) -> None:
    assert texts.words is not None
    hostile = tuple((HOSTILE, *text[1:]) for text in texts.words)
    page = drawn(replace(texts, words=hostile, method=HOSTILE))
    assert HOSTILE in page.text
    assert "img" not in page.tags


def test_explainers_side_by_side_name_what_was_refused() -> None:
    x = load_data("digits", n=3).inputs
    found = compare_explainers(load_model("toy-image"), x, methods=["saliency", "occlusion"])
    page = drawn(replace(found, refused={"lrp": HOSTILE}))
    assert page.tags.count("img") == 2
    assert "Saliency" in page.text
    assert HOSTILE in page.text
    nothing = drawn(replace(found, attributions={}, refused={"lrp": HOSTILE}))
    assert "No method could explain" in nothing.text


@pytest.fixture(scope="module")
def result(toy_models: Path) -> RobustnessResult:
    data = load_data("digits", n=24)
    model = load_model(toy_models / "toy-image")
    return evaluate_robustness(model, data.inputs, data.labels, threat=Linf(0.15), attack=["fgsm", "pgd:steps=5"])


def test_a_robustness_result_shows_its_bracket_and_examples(result: RobustnessResult) -> None:
    page = drawn(result)
    for share in (result.clean_accuracy, *result.bracket, *result.interval):
        assert percent(share) in page.text
    broken = [name for name in result.broken_by if name not in ("", "clean")]
    assert page.tags.count("img") == min(8, len(broken)) > 0
    assert percent(result.robust_accuracy) in repr(result)
    assert "tensor" not in repr(result)


def test_a_hostile_attack_and_a_check_are_escaped(result: RobustnessResult) -> None:
    stages = tuple(replace(stage, attack=HOSTILE, note=HOSTILE) for stage in result.stages)
    names = tuple(HOSTILE if name else name for name in result.broken_by)
    assert HOSTILE in drawn(replace(result, stages=stages, broken_by=names, unproved=HOSTILE)).text


def test_tokens_and_rows_have_no_pictures(result: RobustnessResult) -> None:
    flat = replace(result, adversarials=result.adversarials.flatten(1), checks=None)
    page = drawn(flat)
    assert "img" not in page.tags
    assert "No self-checks were made" in page.text
    nothing = replace(result, broken_by=("",) * len(result), robust=torch.ones(len(result), dtype=torch.bool))
    assert "img" not in drawn(nothing).tags


@pytest.fixture(scope="module")
def evaluation(toy_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    plan = Plan(
        model=str(toy_models / "toy-image"), n=12, samples=1, proofs=2, assessed=0, compared=1, manipulated=0,
        corruptions=0, minimal=0, attacks=("fgsm",), explainers=("saliency",), checks=False,
    )  # fmt: skip
    return run(plan, out=tmp_path_factory.mktemp("evaluation"))


def test_an_evaluation_shows_the_sentences_of_its_report_and_the_curve(evaluation: Evaluation) -> None:
    page = drawn(evaluation)
    for sentence in headline(evaluation).sentences:
        assert sentence in page.text
    assert evaluation.digest[:12] in page.text
    robustness = evaluation.results.robustness
    assert robustness is not None
    for share in robustness.worst_case.accuracy:
        assert percent(share) in page.text
    assert repr(evaluation).startswith("Evaluation(toy-image on 12 samples of digits: ")


def test_an_evaluation_without_robustness_and_with_a_hostile_name(evaluation: Evaluation) -> None:
    named = evaluation.model.model_copy(update={"name": HOSTILE})
    bare = evaluation.results.model_copy(update={"robustness": None})
    page = drawn(replace(evaluation, model=named, results=bare))
    assert page.text.count(HOSTILE) == 2
    assert "robustness not measured" in repr(replace(evaluation, results=bare))
