"""Figures of one model side by side: each is the library's own, and what is said to explain them follows from rows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from xaibench.card import Card
from xaibench.data import load_data
from xaibench.evaluate import Judgement, Plan, judge
from xaibench.metrics import wilson_interval
from xaibench.pages.shared.figures import Figure, figures, told
from xaibench.places import reports_home
from xaibench.report import Report, run
from xaibench.zoo import load_model

Opened = Callable[..., AppTest]
EPS = 0.1


@pytest.fixture(scope="module")
def measured(
    toy_models: Path, tmp_path_factory: pytest.TempPathFactory, plan_of: Callable[..., Plan]
) -> tuple[Path, Judgement]:
    """A report on drawn rows of `toy-image`, and a judgement of all rows by the same attack."""
    out = tmp_path_factory.mktemp("figures") / "toy"
    folder = toy_models / "toy-image"
    run(plan_of(folder, eps=EPS, curve=(0.05,), attacks=("pgd",)), out=out)
    card = Card.read(folder / "config.json")
    data = load_data(card.data.name, card.data.test_split)
    return out, judge(load_model(folder), data, name="toy-image", attack="pgd", eps=EPS, rows="all")


@pytest.fixture
def kept(measured: tuple[Path, Judgement]) -> tuple[Report, Judgement]:
    """Both where the pages look for them."""
    shutil.copytree(measured[0], reports_home() / "toy")
    (reports_home() / "robust").mkdir()
    (reports_home() / "robust" / "toy-image.json").write_text(measured[1].model_dump_json(), encoding="utf-8")
    return Report.read(measured[0]), measured[1]


def figure(outcomes: str, *, weights: str = "now", attack: str = "pgd", known: bool = True) -> Figure:
    robust, n = outcomes.count("r"), len(outcomes)
    return Figure(
        accuracy=robust / n,
        interval=wilson_interval(robust, n),
        attacks=(attack,),
        data="toy",
        split="test",
        n=n,
        rows="all" if known else "drawn",
        weights=weights,
        outcomes=dict(enumerate(outcomes)) if known else {},
    )


def test_figures_are_those_of_report_and_judgement(kept: tuple[Report, Judgement], toy_models: Path) -> None:
    report, judgement = kept
    card = Card.read(toy_models / "toy-image" / "config.json")
    first, second = figures("toy-image", card, "linf", EPS)
    robustness = report.results.robustness
    assert robustness is not None
    assert (first.accuracy, first.interval, first.n) == (judgement.robust_accuracy, judgement.interval, judgement.n)
    assert (second.accuracy, second.report) == (robustness.worst_case.accuracy[robustness.index], "toy")
    assert [one.weights for one in (first, second)] == [card.weights_digest] * 2
    assert len(second.outcomes) == report.data.n
    assert sum(kept == "r" for kept in second.outcomes.values()) == robustness.worst_case.robust[robustness.index]
    assert {row: first.outcomes[row] == "w" for row in second.outcomes} == {
        row: letter == "w" for row, letter in second.outcomes.items()
    }
    (inner,) = figures("toy-image", card, "linf", 0.05)
    place = robustness.radii.index(0.05)
    assert inner.accuracy == robustness.worst_case.accuracy[place]
    assert inner.interval == robustness.worst_case.interval[place] != robustness.worst_case.interval[0]
    assert figures("toy-image", card, "l2", EPS) == ()


@pytest.mark.parametrize(
    ("one", "other", "attack", "says"),
    [
        ("rrbw" * 30, "rrbw" * 20 + "r", "pgd", "On the 81 rows that both attacked, both leave the same 41 right"),
        ("rrbw" * 30, "rrbw" * 30, "pgd", "The figures agree."),
        ("rrbw" * 30, "rbbw" * 30, "fgsm", "leaves 30 right, and PGD (120) 60: the attack explains the 25.0 points"),
        ("rrbw" * 30, "rbbw" * 20, "fgsm", "leaves 20 right, and PGD (120) 40: the attack explains the 25.0 points"),
        ("bbbbrrrr" + "r" * 20, "rrrrbbbb" + "b" * 20, "pgd", "not overlap. On the 28 rows"),
    ],
)
def test_rows_that_both_attacked_tell_what_explains_a_difference(one: str, other: str, attack: str, says: str) -> None:
    assert says in told([figure(one), figure(other, attack=attack)], "now")


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        ((10, 35), (40, 10), "these 60.0 points, and the other rows narrow them to 5.0 points"),
        ((10, 0), (20, 40), "these 20.0 points, and the other rows widen them to 50.0 points"),
    ],
)
def test_what_the_shared_rows_make_is_held_against_the_whole(
    low: tuple[int, int], high: tuple[int, int], says: str
) -> None:
    """Each attacks 50 shared rows and 50 of its own; the numbers are those left right."""
    weak, strong = (figure("".join("r" * kept + "b" * (50 - kept) for kept in pair)) for pair in (low, high))
    moved = {row if row < 50 else row + 50: letter for row, letter in strong.outcomes.items()}
    said = told([weak, replace(strong, attacks=("fgsm",), outcomes=moved)], "now")
    assert "On the 50 rows that both attacked" in said
    assert f"the attack explains {says}." in said


def test_the_same_attack_on_the_same_rows_is_not_what_explains_a_difference() -> None:
    said = told([figure("rrrrbbbbbb"), figure("rrrrrbbbbb")], "now")
    assert "settings of the attack or chance explain the 10.0 points" in said
    assert "the attack explains" not in said


def test_rows_that_the_same_weights_judge_differently_are_not_the_same_rows() -> None:
    assert "both attacked" not in told([figure("rrrr" * 9), figure("wrrb" * 9)], "now")


@pytest.mark.parametrize(
    ("one", "other", "says", "says_not"),
    [
        (figure("rrrb" * 9, known=False), figure("rrbb" * 9, known=False), "which samples were drawn", "the attack"),
        (
            figure("rrrb" * 9, known=False),
            figure("rrbb" * 9, known=False, attack="fgsm"),
            "overlap. What may explain the difference: which samples were drawn, and the attack (FGSM or PGD)",
            "both attacked",
        ),
        (
            figure("r" * 99 + "b", known=False),
            figure("b" * 99 + "r", known=False, attack="fgsm"),
            "do not overlap. What may explain the difference: the attack",
            "drawn",
        ),
        (figure("rb" * 9), figure("rr" * 9, weights="then"), "Left aside: 1 figure of other weights", "overlap"),
    ],
)
def test_without_common_rows_only_what_numbers_allow_is_said(
    one: Figure, other: Figure, says: str, says_not: str
) -> None:
    said = told([one, other], "now")
    assert says in said
    assert says_not not in said


def test_other_data_of_the_same_name_is_not_the_same_rows() -> None:
    one, other = replace(figure("rrbw" * 30), digest="x"), replace(figure("rbbw" * 30), digest="y")
    assert "both attacked" not in told([one, other], "now")
    assert "both attacked" in told([one, replace(other, digest="x")], "now")


def test_equal_figures_of_different_attacks_are_not_said_to_agree() -> None:
    said = told([figure("rb" * 9), figure("br" * 9, attack="fgsm")], "now")
    assert "agree" not in said
    assert "different attacks made them, by PGD and FGSM" in said


def test_first_rows_are_said_to_be_no_selection() -> None:
    one, other = figure("rrrb" * 9), figure("rrbb" * 9, known=False)
    assert "no random selection" in told([replace(one, rows="first"), other], "now")


@pytest.mark.parametrize(
    ("page", "place"), [("robustness", {"model": "toy-image"}), ("models", {"details": "toy-image"})]
)
def test_pages_set_them_side_by_side(
    opened: Opened, kept: tuple[Report, Judgement], page: str, place: dict[str, str]
) -> None:
    app = opened(page, **place)
    assert not app.exception
    (table,) = [
        one.proto.body for one in app.get("html") if "xb-figures" in one.proto.body and "<tbody>" in one.proto.body
    ]
    rows = table.split("<tbody>")[1].split("</tr>")[:-1]
    robustness = kept[0].results.robustness
    assert robustness is not None
    for row, share in zip(
        rows, (kept[1].robust_accuracy, robustness.worst_case.accuracy[robustness.index]), strict=True
    ):
        assert f"{100 * share:.1f} %".replace(".0 %", " %") in row
    assert ("shown here" in rows[1]) == (page == "robustness")
    assert "other weights" not in table
    (said,) = [one.value for one in app.markdown if "both attacked" in one.value]
    assert "On the 40 rows" in said
    links = [button for button in app.button if button.key.startswith("figure-")]
    assert len(links) == (page == "models")
    for link in links:
        link.click().run()
        assert not app.exception


def test_figures_of_other_weights_are_marked_and_left_aside(opened: Opened, kept: tuple[Report, Judgement]) -> None:
    path = reports_home() / "robust" / "toy-image.json"
    path.write_text(kept[1].model_copy(update={"weights_digest": "0" * 64}).model_dump_json(), encoding="utf-8")
    app = opened("robustness", model="toy-image")
    (table,) = [one.proto.body for one in app.get("html") if "<tbody>" in one.proto.body]
    assert ["other weights" in row for row in table.split("<tbody>")[1].split("</tr>")[:-1]] == [True, False]
    assert any("1 figure of other weights" in one.value for one in app.markdown)


def test_of_many_figures_it_is_said_which_are_shown(opened: Opened, kept: tuple[Report, Judgement]) -> None:
    for name in "abcdefgh":
        shutil.copytree(reports_home() / "toy", reports_home() / name)
    app = opened("robustness", model="toy-image")
    (said,) = [one.value for one in app.caption if one.value.startswith("8 of 10")]
    assert said == "8 of 10: those of its card and the latest reports."
    year = str(datetime.fromisoformat(kept[0].timings.finished).year)
    links = [button.label for button in app.button if button.key.startswith("figure-")]
    assert len(links) == 6
    assert all(f" {year}, " in label for label in links)


def test_one_figure_alone_gets_no_table(opened: Opened, kept: tuple[Report, Judgement]) -> None:
    (reports_home() / "robust" / "toy-image.json").unlink()
    assert not any("xb-figures" in one.proto.body for one in opened("robustness", model="toy-image").get("html"))


def test_hostile_names_are_text(opened: Opened, kept: tuple[Report, Judgement]) -> None:
    path = reports_home() / "toy" / "report.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    told["data"]["name"] = '<img src=x onerror="alert(1)">'
    path.write_text(json.dumps(told), encoding="utf-8")
    app = opened("robustness", model="toy-image")
    assert not app.exception
    assert not any("<img src=x" in one.proto.body for one in app.get("html"))


def test_as_many_rows_left_right_are_no_work_of_the_attack() -> None:
    said = told([figure("rb" * 10 + "b" * 20), figure("br" * 10, attack="fgsm")], "now")
    assert "leaves 10 right" in said
    assert "the other rows explain" in said
