"""The page that compares: verdicts and figures are those of the library, and what does not compare is not ranked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from xaibench import load_data, load_model
from xaibench.card import Card, CompressionConfig
from xaibench.comparison import Comparison
from xaibench.comparison.verdict import points
from xaibench.evaluate import Judgement, Plan
from xaibench.jobs import jobs, stop
from xaibench.pages.compare.pair import headline, in_plain_words
from xaibench.pages.compare.sources import Source, pairs, sources
from xaibench.pages.compare.standings import Question, Standing, groups, in_words
from xaibench.report import run

Opened = Callable[..., AppTest]


@pytest.fixture
def shipped(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped models and reports."""
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(root / "models"))
    monkeypatch.setenv("XAIBENCH_REPORTS_HOME", str(root / "reports"))
    return root


def shown(app: AppTest) -> str:
    """Everything that the page says, without the escapes of Markdown."""
    assert not app.exception, app.exception
    return "\n".join([*(one.value for one in app.markdown), *(one.value for one in app.caption)]).replace("\\", "")


def chart(app: AppTest, place: int = 0) -> Any:
    return json.loads(app.get("plotly_chart")[place].proto.spec)


def test_a_finished_comparison_stands_there_at_once(opened: Opened, shipped: Path) -> None:
    app = opened("compare")
    kept = (shipped / "reports" / "digits-cnn-hardened" / "compare.json").read_text(encoding="utf-8")
    found = Comparison.model_validate_json(kept)
    text = shown(app)
    assert found.verdict in text
    top = app.markdown[0].value.replace("\\", "")
    assert top == f"#### {headline(found)}\n{in_plain_words(found)}".replace("\\", "")
    assert "p =" not in top
    assert "p <" not in top
    tests = next(table.value for table in app.dataframe if "McNemar, corrected" in table.value)
    assert [f"{found.names[0]} alone right" in tests, list(tests["Points"])] == [
        True,
        [points(test.difference) for test in found.tests],
    ]
    bars = chart(app)["data"]
    assert [bar["y"] for bar in bars] == [[test.accuracy[side] for test in found.tests] for side in (0, 1)]
    assert found.within is not None
    assert [line["y"] for line in chart(app, 1)["data"]] == [list(curve) for curve in found.within.curves]
    shown_figures = [one for one in found.figures if one.found]
    assert len(chart(app, 2)["data"][0]["y"]) == len(shown_figures)


def test_a_comparison_is_told_in_plain_words(shipped: Path) -> None:
    kept = (shipped / "reports" / "digits-cnn-hardened" / "compare.json").read_text(encoding="utf-8")
    found = Comparison.model_validate_json(kept)
    said = in_plain_words(found)
    assert "Under attack digits-cnn-robust gets" in said
    assert "more than chance explains" in said
    outcomes = [one.outcome for one in found.figures if one.p_value is not None]
    assert f"{outcomes.count('better')} better" in said
    level = found.model_copy(
        update={"tests": tuple(one.model_copy(update={"adjusted": 1.0, "p_value": 1.0}) for one in found.tests)}
    )
    assert headline(level) == "No difference is shown, neither under attack nor on unchanged samples"
    assert "more than chance explains" not in in_plain_words(level)


def test_two_without_a_comparison_are_judged_by_what_is_kept(opened: Opened, shipped: Path) -> None:
    app = opened("compare", a="cancer-mlp", b="cancer-mlp-robust")
    kept = [
        Judgement.read(shipped / "reports" / "robust" / f"{name}.json") for name in ("cancer-mlp", "cancer-mlp-robust")
    ]
    bars = chart(app)["data"]
    for bar, one in zip(bars, kept, strict=True):
        assert bar["y"] == pytest.approx([one.clean_accuracy, one.robust_accuracy])
    assert "+49.6 points under attack" in shown(app)


def test_one_sample_goes_through_both(opened: Opened, shipped: Path) -> None:
    app = opened("compare", a="cancer-mlp", b="cancer-mlp-robust")
    models, data = (load_model("cancer-mlp"), load_model("cancer-mlp-robust")), load_data("breast-cancer")
    said = [model.predict(data.inputs) for model in models]
    differ = (said[0] != said[1]).nonzero().flatten()
    first = app.selectbox(key="sample").value
    assert first == int(data.ids[differ[0]])
    assert f"the {len(differ)} of {len(data)} on which they differ" in app.selectbox(key="sample").label
    for model, name in zip(models, ("cancer-mlp", "cancer-mlp-robust"), strict=True):
        label = data.class_names[int(model.predict(data.inputs[first : first + 1]))]
        assert f"**{name}** says {label}" in shown(app)
    next(button for button in app.button if button.label == "Explain it").click().run()
    assert app.query_params["sample"] == str(first)
    assert app.query_params["model"] == "cancer-mlp"


def test_what_does_not_compare_is_said(opened: Opened, shipped: Path) -> None:
    app = opened("compare", a="digits-cnn", b="cancer-mlp")
    assert not app.exception
    assert "the same task" in app.info[0].value
    assert "no sample goes through both" in app.info[1].value
    assert "Choose two that differ" in opened("compare", a="digits-cnn", b="digits-cnn").info[0].value


def test_many_are_ranked_among_their_like(opened: Opened, shipped: Path) -> None:
    app = opened("compare", a="digits-cnn", b="digits-cnn-robust", more="digits-mlp,cancer-mlp,evidence-cnn")
    tables = [table.value for table in app.dataframe]
    assert list(tables[0]["Model or report"]) == ["digits-cnn-robust", "digits-cnn", "digits-mlp"]
    kept = Judgement.read(shipped / "reports" / "robust" / "digits-mlp.json")
    assert list(tables[0]["Under attack"])[2] == kept.robust_accuracy
    assert list(tables[1]["Model or report"]) == ["cancer-mlp"]
    assert list(tables[1][""]) == ["–"]
    assert "Proved" not in tables[0]
    assert chart(app)["data"][1]["y"] == list(tables[0]["Model or report"])
    assert chart(app)["data"][1]["x"] == list(tables[0]["Under attack"])
    assert "evidence-cnn: nothing is kept" in app.info[0].value.replace("\\", "")
    assert "stand apart, and are not ranked" in shown(app)


def test_reports_of_ones_own_compare(opened: Opened, tmp_path: Path) -> None:
    small = {"attacks": ("fgsm",), "n": 20, "explainers": (), "samples": 0, "proofs": 0, "checks": False}
    small |= {"minimal": 0, "corruptions": 0}
    for seed in (0, 1):
        run(Plan(model="toy-image", eps=0.1 + 0.1 * seed, **small), out=tmp_path / "reports" / f"r{seed}")
    run(Plan(model="toy-image", eps=0.1, **small), out=tmp_path / "reports" / "again")
    assert "report:r0" in sources()
    same = opened("compare", a="report:r0", b="report:again")
    assert "Both sides are the same model" in shown(same)
    other = opened("compare", a="report:r0", b="report:r1")
    assert "expected one threat model" in other.info[0].value.replace("\\", "")
    three = opened("compare", a="report:r0", b="report:r1", more="report:again")
    tables = [list(table.value["Model or report"]) for table in three.dataframe]
    assert tables == [["again (report)", "r0 (report)"], ["r1 (report)"]]


def test_a_comparison_starts_as_a_job(opened: Opened) -> None:
    app = opened("compare", a="toy-image", b="toy-table")
    next(button for button in app.button if button.label == "Compare them").click().run()
    assert not app.exception
    (job,) = jobs("compare")
    assert job.arguments[:5] == ("compare", "toy-image", "toy-table", "--n", "200")
    assert app.query_params["comparison"] == job.id
    stop(job)


def test_pairs_are_drawn_from_cards(shipped: Path) -> None:
    cards = {
        name: Card.read(shipped / "models" / name / "config.json")
        for name in ("digits-cnn", "digits-cnn-robust", "cifar10-cnn", "cifar10-cnn-robust", "imdb-gru")
    }
    assert pairs(cards) == [("digits-cnn", "digits-cnn-robust"), ("cifar10-cnn", "cifar10-cnn-robust")]
    step = CompressionConfig(source="digits-cnn", source_digest="", method="quantize")
    small = cards["digits-cnn"].model_copy(update={"name": "small", "compression": (step,)})
    assert ("digits-cnn", "small") in pairs({**cards, "small": small})


def test_only_answers_to_one_question_are_ranked() -> None:
    question = Question(data="d", split="test", n=9, digest="x", norm="linf", eps=0.1, attacks=("pgd",))

    def of(name: str, robust: float, **change: Any) -> Standing:
        return Standing(
            source=Source("model", name),
            question=Question(**{**vars(question), **change}),
            clean=0.9,
            clean_interval=(0.8, 1.0),
            robust=robust,
            interval=(robust - 0.1, robust + 0.1),
        )

    ordered = groups([of("a", 0.2), of("b", 0.8), of("c", 0.9, eps=0.2), of("d", 0.9, digest="y")])
    assert [[one.source.name for one in own] for _, own in ordered] == [["b", "a"], ["c"], ["d"]]
    assert "b withstands most: 80 %" in in_words(ordered).replace("\\", "")
    assert "overlap" not in in_words(ordered)
    close = in_words(groups([of("a", 0.75), of("b", 0.8)]))
    assert "b and a cannot be told apart" in close
    assert "overlap" in close
    assert "withstands most" not in close
    assert "None withstands the attacks" in in_words(groups([of("a", 0.0), of("b", 0.0)]))
    assert "None of these can be ranked" in in_words(groups([of("a", 0.2), of("c", 0.9, eps=0.2)]))


def test_hostile_names_count_as_the_defaults(opened: Opened) -> None:
    app = opened("compare", a="report:../../etc", b="<script>", more="../x,..")
    assert not app.exception
    assert app.selectbox(key="a").value == "toy-image"


def test_too_few_to_compare_is_said(opened: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(tmp_path / "nowhere"))
    assert "no two models or reports" in opened("compare").info[0].value
