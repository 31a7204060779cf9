"""``xaibench explain``, through the real command line on small trained models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from xaibench import explain, load_data, load_model
from xaibench.cli import run


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, toy_models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(toy_models))
    return tmp_path


def answer(capfd: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code = run(["explain", *arguments])
    out, err = capfd.readouterr()
    assert code == 0, err
    return json.loads(out) if "--json" in arguments else out


def refusal(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["explain", *arguments]) == 2
    *progress, error = capfd.readouterr().err.strip().splitlines()
    assert all(line.startswith("explain: ") for line in progress)
    return error


def test_what_is_printed_is_what_explain_gives(capfd: pytest.CaptureFixture[str]) -> None:
    chosen = ("--methods", "saliency,integrated_gradients", "--methods", "integrated_gradients:steps=4,max_steps=4")
    found = answer(capfd, "toy-image", "--index", "3", *chosen, "--json")
    (sample,) = found["samples"]
    model, data = load_model("toy-image"), load_data("digits")
    assert sample["label"] == data.class_names[int(data.labels[3])]
    assert [fact["method"] for fact in sample["methods"]] == [
        "saliency",
        "integrated_gradients",
        "integrated_gradients:steps=4,max_steps=4",
    ]
    expected = explain(model, data.inputs[3:4], method="integrated_gradients").trust.figures()
    for name in ("verdict", "reason", "completeness_gap", "stability", "randomisation"):
        assert sample["methods"][1][name] == pytest.approx(expected[name])
    agreement = torch.tensor(list(sample["agreement"].values()))
    torch.testing.assert_close(agreement, agreement.T)
    assert agreement.diagonal().tolist() == [1.0] * 3
    assert sample["methods"][0]["agreement"] == pytest.approx(float(agreement[0, 1:].mean()))
    with Image.open(sample["picture"]) as picture:
        assert picture.size[0] > 160 * 4


@pytest.mark.parametrize(("name", "index"), [("toy-image", "0"), ("toy-table", "2"), ("toy-text", "1")])
def test_the_table_and_the_picture_are_made_for_every_task(
    name: str, index: str, capfd: pytest.CaptureFixture[str], workplace: Path
) -> None:
    shown = answer(capfd, name, "--index", index, "--quick")
    assert "integrated_gradients" in shown
    assert "rank agreement" in shown
    with Image.open(workplace / "explanations" / name / f"{index}.png") as picture:
        colours = picture.getcolors(maxcolors=1 << 24)
    assert sum(count for count, colour in colours or () if colour != (255, 255, 255)) > 1000


def test_a_text_of_ones_own(capfd: pytest.CaptureFixture[str]) -> None:
    found = answer(capfd, "toy-text", "--text", "a lovely film", "--methods", "saliency", "--json")
    assert found["samples"][0]["label"] is None
    assert found["samples"][0]["id"] == "text"


def test_all_methods_are_tried_and_those_left_out_say_why(capfd: pytest.CaptureFixture[str]) -> None:
    from xaibench.explainers import explainers

    found = answer(capfd, "toy-table", "--methods", "all", "--quick", "--json")
    tried = {fact["method"] for fact in found["samples"][0]["methods"]}
    assert tried | set(found["refused"]) == set(explainers.names())
    assert "saliency" in tried
    assert all("\n" not in reason for reason in found["refused"].values())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("toy-image", "--methods", "salience"), "did you mean 'saliency'"),
        (("toy-image", "--methods", "saliency:steps=3"), "unknown parameter of explainer saliency 'steps'"),
        (("toy-image", "--target", "cat"), "expected a class of the model (0, 1, "),
        (("toy-image", "--target", "10"), "or its index, got '10'"),
        (("toy-image", "--index", "100000"), "expected rows of the test split (0 to "),
        (("toy-image", "--text", "hello"), "got a model of task image"),
        (("toy-text", "--text", "hello", "--index", "1"), "got an index as well"),
        (("toy-table", "--methods", "attention_rollout"), "needs attention of the model"),
        (("toy-text", "--text", "", "--methods", "feature_ablation", "--quick"), "expected texts with words"),
        (("toy-text", "--text", "   ", "--methods", "saliency"), "expected texts with words"),
        (("toy-image", "--methods", ","), "expected names, got ','"),
        (("toy-image", "--methods", "lrp:rule=gamma,rule=epsilon"), "expected 'rule' once"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], expected: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert expected in refusal(capfd, *arguments)
