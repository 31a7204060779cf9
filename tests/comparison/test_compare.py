"""Two classifiers side by side: what is paired, what is refused, what is said, and the page."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import factories
import pytest
import torch

from xaibench.attacks import attacks
from xaibench.cli import run as command
from xaibench.comparison import Comparison, Sizes, View, compare_names, measures, write_comparison
from xaibench.comparison.explained import choose
from xaibench.comparison.sides import check_alike
from xaibench.comparison.usual import trained_threat
from xaibench.comparison.verdict import points, verdict
from xaibench.corruptions import corruptions
from xaibench.data import load_data
from xaibench.errors import InputError
from xaibench.evaluate import Plan
from xaibench.metrics.alignment import edge_correlation
from xaibench.threats import Linf
from xaibench.zoo import load_model

SIZES = Sizes(assessed=6, manipulated=3, corruptions=2, samples=2)


def plan(**values: Any) -> Plan:
    given = {"attacks": ("fgsm",), "explainers": (), "samples": 0, "proofs": 0, "checks": False, "corruptions": 0}
    return Plan(**{"model": "?", "n": 30, "minimal": 6, "curve": (0.05,), "eps": 0.12, **given, **values})


@pytest.fixture(scope="module")
def view() -> View:
    """A linear classifier and a convolutional net."""
    return compare_names("factories:digits", "digits-cnn", plan(data="digits"), sizes=SIZES)


@pytest.fixture(scope="module")
def found(view: View) -> Comparison:
    return view.comparison


def test_accuracies_are_those_of_the_models(found: Comparison) -> None:
    data = load_data("digits", n=30)
    right = [load_model(name).predict(data.inputs) == data.labels for name in ("factories:digits", "digits-cnn")]
    clean = found.tests[0]
    assert clean.accuracy == pytest.approx(tuple(float(one.double().mean()) for one in right))
    assert clean.only_second == int((right[1] & ~right[0]).sum())
    assert found.within is not None
    assert found.tests[1].accuracy == (found.within.curves[0][2], found.within.curves[1][2])
    assert found.tests[1].accuracy[1] > found.tests[1].accuracy[0]


def test_figures_are_of_samples_that_both_get_right(view: View, found: Comparison) -> None:
    both = int((view.sides[0].correct & view.sides[1].correct).sum())
    transfer = found.figure("fooled_by_the_other")
    assert transfer is not None
    assert transfer.n == both
    assert {figure.n for figure in found.figures if figure.group == "movement"} == {3}
    assert {figure.n for figure in found.figures if figure.group == "explanations"} <= {5, 6}
    names = {figure.name for figure in found.figures}
    assert {"minimal_distance", "corrupted_accuracy", "calibration_error", "input_alignment"} <= names
    assert {"cascading_randomisation", "top_places_kept_under_search"} <= names
    assert len(found.corruptions) == 15
    mean = [sum(row.accuracy[side] for row in found.corruptions) / 15 for side in (0, 1)]
    corrupted = found.figure("corrupted_accuracy")
    assert corrupted is not None
    assert corrupted.mean == pytest.approx(tuple(mean))


def test_figures_of_a_linear_model_are_those_of_its_weights(found: Comparison) -> None:
    """Its gradient does not move, and its alignment is that of its weights."""
    data, model = load_data("digits", n=30), factories.digits()
    left = found.figure("ranks_kept_under_search", "saliency")
    assert left is not None
    assert left.mean[0] == 1.0
    aligned, edges = (found.figure(name, "saliency:absolute=false") for name in ("input_alignment", "edge_correlation"))
    assert aligned is not None
    assert edges is not None
    weight = model.module[1].weight.detach()[data.labels]  # type: ignore[attr-defined]
    assert isinstance(data.inputs, torch.Tensor)
    each = (weight * data.inputs.flatten(1)).sum(dim=1).abs() / weight.norm(dim=1)
    assert each.min() <= aligned.mean[0] <= each.max()
    correlation = edge_correlation(weight.view(-1, 1, 8, 8), data.inputs)
    assert correlation.min() <= edges.mean[0] <= correlation.max()


def test_transfer_is_of_the_other_models_examples(view: View, found: Comparison) -> None:
    """The cnn is attacked for the column of the linear model, and the other way round."""
    models, data = [load_model(name) for name in ("factories:digits", "digits-cnn")], load_data("digits", n=30)
    assert isinstance(data.inputs, torch.Tensor)
    rows = (view.sides[0].correct & view.sides[1].correct).nonzero().flatten()
    x, y, ids = data.inputs[rows], data.labels[rows], data.ids[rows]
    figure = found.figure("fooled_by_the_other")
    assert figure is not None
    for place in (0, 1):
        examples = attacks.create("pgd")(models[1 - place], x, y, Linf(0.12), ids=ids)
        fooled = float((models[place].predict(examples) != y).double().mean())
        assert figure.mean[place] == pytest.approx(fooled)
    assert figure.mean[0] != figure.mean[1]


def test_the_verdict_says_what_the_numbers_say(found: Comparison) -> None:
    robust = found.tests[1]
    assert found.verdict.startswith(f"From {found.names[0]} to {found.names[1]}")
    if robust.found:
        assert f"{points(robust.difference)} points of robust accuracy" in found.verdict
    quiet = found.model_copy(
        update={
            "tests": tuple(test.model_copy(update={"adjusted": 1.0}) for test in found.tests),
            "figures": tuple(one.model_copy(update={"p_value": 1.0, "adjusted": 1.0}) for one in found.figures),
        }
    )
    said = verdict(quiet)
    assert "no difference in accuracy is shown" in said
    assert said.count("none shows a difference") == 2


def test_a_model_beside_itself_differs_in_nothing(tmp_path: Path) -> None:
    view = compare_names("digits-cnn", "digits-cnn", plan(n=8, minimal=2), sizes=SIZES, folder=tmp_path)
    found = view.comparison
    assert found.same_model
    assert "the same model" in found.verdict
    assert found.names == ("digits-cnn (1)", "digits-cnn (2)")
    assert all(
        figure.difference == 0 and not figure.found for figure in found.figures if figure.name != "fooled_by_the_other"
    )
    assert all(test.p_value == 1 for test in found.tests)


def test_samples_that_one_model_alone_loses_come_first() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    broken = (
        torch.tensor([False, True, True, False, False, False]),
        torch.tensor([False, True, False, False, True, True]),
    )
    shared = torch.tensor([5, 4, 3, 2, 1, 0])
    assert choose(shared, labels, broken, 2).tolist() == [2, 5]
    assert choose(shared, labels, broken, 3).tolist() == [2, 4, 5]
    assert choose(shared, labels, None, 2).tolist() == [2, 5]
    assert choose(shared, labels, None, 99).tolist() == [0, 1, 2, 3, 4, 5]


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag == "img":
            assert given.get("alt")


def test_the_page_is_one_file_with_all_sections(view: View, tmp_path: Path) -> None:
    page = write_comparison(view, tmp_path)
    text = page.read_text(encoding="utf-8")
    parsed = _Page(text)
    assert all(link.startswith(("#", "data:")) for link in parsed.links)
    assert {link[1:] for link in parsed.links if link.startswith("#")} <= set(parsed.ids)
    assert {"accuracy", "strain", "calibration", "side", "explanations", "cost", "method"} <= set(parsed.ids)
    assert parsed.tags.count("img") == 2 * 2 * 5
    assert len(text) < 5e6
    stated = Comparison.model_validate_json((tmp_path / "compare.json").read_bytes())
    assert stated == view.comparison
    assert not (tmp_path / ".run").exists()


def test_names_are_escaped(view: View, tmp_path: Path) -> None:
    evil = view.comparison.model_copy(update={"names": (factories.SCRIPT, "b"), "verdict": factories.SCRIPT})
    text = write_comparison(replace(view, comparison=evil), tmp_path).read_text(encoding="utf-8")
    assert factories.SCRIPT not in text


def test_texts_and_tables_are_compared(tmp_path: Path) -> None:
    table = factories.words_table(str(tmp_path / "texts.csv"))
    texts = plan(data=table, split="all", n=8, eps=None, curve=None, attacks=("verdict",), minimal=0, norm="linf")
    view = compare_names("factories:words", "factories:words", texts, sizes=SIZES, folder=tmp_path / "texts")
    assert {"corruptions", "attacks on explanations"} <= {item.what for item in view.comparison.not_measured}
    assert "<script>alert" not in write_comparison(view, tmp_path / "texts").read_text(encoding="utf-8")
    rows = plan(data="breast-cancer", n=16)
    view = compare_names("factories:cancer", "cancer-mlp", rows, sizes=SIZES)
    assert view.comparison.figure("input_alignment", "saliency:absolute=false")
    assert view.comparison.figure("edge_correlation", "saliency:absolute=false") is None
    assert 'class="axis-bars' in write_comparison(view, tmp_path / "table").read_text(encoding="utf-8")


def test_classes_are_the_same_by_name_or_have_none() -> None:
    check_alike(("a", "b"), ("image", "image"), (("0", "1"), ("cat", "dog")))
    for classes in ((("cat", "dog"), ("dog", "cat")), (("0", "1", "2"), ("cat", "dog"))):
        with pytest.raises(InputError, match="the same classes, got"):
            check_alike(("a", "b"), ("image", "image"), classes)


def test_without_a_radius_it_is_the_one_that_a_model_was_hardened_within() -> None:
    plain, hardened = (load_model(name) for name in ("mnist-cnn", "mnist-cnn-robust"))
    pair, back, neither = (plain, hardened), (hardened, plain), (plain, plain)
    usual = Plan(model="?")
    for models in (pair, back):
        found, name = trained_threat(usual, models)
        assert (found.norm, found.eps, name) == ("linf", 0.3, "mnist-cnn-robust")
    other = load_model("digits-cnn-robust")
    assert trained_threat(usual, (hardened, other))[0].eps == 0.1
    assert trained_threat(Plan(model="?", norm="linf"), pair)[0].eps == 0.3
    assert trained_threat(usual, neither) == (usual, None)
    for asked in (Plan(model="?", eps=0.05), Plan(model="?", norm="l2"), Plan(model="?", attacks=())):
        assert trained_threat(asked, pair) == (asked, None)


def test_the_command_says_whose_threat_it_took(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pair = ("compare", "digits-cnn", "digits-cnn-robust", "--quick", "--n", "8", "--attack", "fgsm")
    assert command([*pair, "--out", str(tmp_path)]) == 0
    assert "the one that digits-cnn-robust was trained against" in capfd.readouterr().out
    assert "threat as digits-cnn-robust was trained against" in (tmp_path / "compare.html").read_text()
    assert json.loads((tmp_path / "compare.json").read_text())["within"]["trained_by"] == "digits-cnn-robust"
    assert command([*pair, "--eps", "0.1", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["within"]["trained_by"] is None


def test_a_comparison_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    measured = measures._corrupted

    def counted(pair: Any, name: str, n: int) -> Any:
        made.append(name)
        return measured(pair, name, n)

    def cut_off(stage: str, done: int, total: int, info: Any) -> None:
        if stage.endswith("corruptions") and done == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(measures, "_corrupted", counted)
    names, given = ("factories:digits", "digits-cnn"), plan(data="digits", n=4, minimal=0)
    sizes = Sizes(assessed=0, manipulated=0, corruptions=1, samples=0)
    with pytest.raises(KeyboardInterrupt):
        compare_names(*names, given, sizes=sizes, folder=tmp_path, progress=cut_off)
    assert len(made) == 3
    found = compare_names(*names, given, sizes=sizes, folder=tmp_path).comparison
    assert sorted(made) == sorted(corruptions.names())
    whole = compare_names(*names, given, sizes=sizes).comparison
    timed = {"models": {"__all__": {"images_per_second"}}}
    assert found.model_dump(exclude=timed) == whole.model_dump(exclude=timed)


@pytest.mark.parametrize(
    ("names", "options", "reason"),
    [
        (("digits-cnn", "cancer-mlp"), (), "the same task"),
        (("digits-cnn", "cifar10-lenet"), (), "the same data"),
        (("digits-cnn", "mnist-cnn"), (), "the same data"),
        (("digits-cnn", "nothing-here"), (), "nothing-here"),
        (("digits-cnn", "digits-cnn"), ("--assessed", "-1"), "`assessed` >= 0"),
    ],
)
def test_bad_pairs_are_refused_in_one_line(
    names: tuple[str, str], options: tuple[str, ...], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(["compare", *names, *options]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert reason in err


def test_the_command_writes_both_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sizes = ("--n", "12", "--minimal", "2", "--assessed", "2", "--manipulated", "2", "--corruptions", "2")
    pair = ("compare", "factories:digits", "digits-cnn", "--data", "digits", "--attack", "fgsm")
    assert command([*pair, *sizes, "--samples", "1", "--eps", "0.05", "--out", str(tmp_path), "--json"]) == 0
    out, _ = capfd.readouterr()
    found = json.loads(out)
    assert found == json.loads((tmp_path / "compare.json").read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compare.html", "compare.json"]
    assert [model["parameters"] for model in found["models"]] == [650, 85066]
    assert [model["file_bytes"] for model in found["models"]] == [None, 340864]
