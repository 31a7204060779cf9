"""A report in a model card: results that the Hub reads, and text of data that is never markup."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import factories
import pytest
import yaml
from markdown_it import MarkdownIt

from xaibench.card import Card
from xaibench.cards import card_text
from xaibench.report import Report
from xaibench.report.card import card_results, card_section, plain, standalone_card

OLD = Path(__file__).parent / "old"
HOSTILE = [
    factories.SCRIPT,
    "# heading",
    "1. list",
    "- list",
    "[link](javascript:alert(1))",
    "a | b",
    "*x* _y_ `z` ~~s~~",
    "![p](x)",
    "two\n\n# lines",
    "&lt;b&gt;",
    "\\[x](y)",
]


def rendered(markdown: str) -> Any:
    return MarkdownIt("gfm-like", {"linkify": False, "html": True}).parse(markdown)


def kinds(tokens: Any) -> set[str]:
    return {token.type for top in tokens for token in (top, *(top.children or ()))}


@pytest.mark.parametrize("text", HOSTILE)
def test_plain_text_is_read_as_it_was_written(text: str) -> None:
    tokens = rendered(plain(text))
    assert kinds(tokens) <= {"paragraph_open", "paragraph_close", "inline", "text", "text_special"}
    shown = "".join(child.content for top in tokens for child in top.children or ())
    assert shown == " ".join(text.split())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_changes_nothing_of_the_card(text: str, tmp_path: Path) -> None:
    document = json.loads((OLD / "v3" / "report.json").read_text())
    document["model"]["name"] = document["data"]["name"] = document["data"]["split"] = text
    (tmp_path / "report.json").write_text(json.dumps(document))
    own, hostile = Report.read(OLD / "v3"), Report.read(tmp_path)
    bodies = [rendered(standalone_card(one).split("---\n", 2)[2]) for one in (own, hostile)]
    shapes = [[token.type for token in body] for body in bodies]
    assert shapes[1] == shapes[0]
    assert kinds(bodies[1]) - {"text_special"} == kinds(bodies[0]) - {"text_special"}
    head = yaml.safe_load(standalone_card(hostile).split("---\n", 2)[1])
    assert head["model-index"][0]["name"] == text
    assert head["datasets"] == [text]


def test_the_metadata_holds_the_numbers() -> None:
    report = Report.read(OLD / "v3")
    robustness = report.results.robustness
    assert robustness is not None
    clean, attacked = card_results(report)
    assert clean["metrics"][0] == {"type": "accuracy", "value": round(report.results.clean.accuracy, 4)}
    proved, left = robustness.bracket
    assert [metric["value"] for metric in attacked["metrics"]] == [round(left, 4), round(proved, 4)]
    assert clean["task"] == {"type": "image-classification"}


def test_names_of_rare_characters_come_back_from_the_metadata() -> None:
    text = "naïve ∞ \U0001f600 \x85 \u2028 \" ' \\ : # end"
    document = json.loads((OLD / "v3" / "report.json").read_text())
    document["model"]["name"] = text
    card = standalone_card(Report.model_validate(document))
    assert yaml.safe_load(card.split("---\n", 2)[1])["model-index"][0]["name"] == text
    assert card.split("---\n", 2)[1].isascii()


def test_a_models_own_card_gets_the_section_and_the_results(root: Path) -> None:
    card = Card.read(root / "models" / "digits-cnn" / "config.json")
    report = Report.read(OLD / "v3")
    before = yaml.safe_load(card_text(card).split("---\n", 2)[1])
    text = card_text(card, section=card_section(report), results=card_results(report))
    after = yaml.safe_load(text.split("---\n", 2)[1])
    assert text.endswith(card_section(report))
    assert after["model-index"][0]["results"] == before["model-index"][0]["results"] + card_results(report)
    after["model-index"] = before["model-index"]
    assert after == before


def test_a_name_with_backticks_does_not_end_the_command() -> None:
    report = Report.read(OLD / "v3")
    named = report.model_copy(update={"plan": report.plan.model_copy(update={"model": "a````b"})})
    fences = [line for line in card_section(named).splitlines() if line and not line.strip("`")]
    assert fences == ["`````"] * 2
