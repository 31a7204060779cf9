"""The Attack page, driven as a reader drives it, and compared to what the library says."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest

from xaibench import load_data, load_model, robustness
from xaibench.attacks import PGD, attacks
from xaibench.attacks.base import attacks_for
from xaibench.evaluate.settle import customary_eps, customary_threat
from xaibench.metrics.agreement import rank_correlation
from xaibench.pages.attack import edges
from xaibench.pages.attack.choices import Plan, reach
from xaibench.pages.attack.downloads import as_npz
from xaibench.pages.attack.notice import agreement
from xaibench.pages.shared.pictures import changed_words
from xaibench.registry import Spec
from xaibench.robustness import strike

if TYPE_CHECKING:
    from xaibench.pages.shared.subject import Subject
    from xaibench.robustness import Strike

Opened = Callable[..., AppTest]


def text_of(app: AppTest) -> str:
    """Everything that the page says, as one text."""
    assert not app.exception, app.exception
    htmls = [element.proto.body for element in app.get("html")]
    lines = [*(item.value for item in app.markdown), *(item.value for item in app.caption), *htmls]
    return re.sub(r"\\(.)", r"\1", "\n".join(lines))


def address(app: AppTest, key: str) -> str:
    """A choice as the address has it."""
    value = app.query_params[key]
    return value if isinstance(value, str) else value[0]


def right_row(name: str, position: int = 0) -> int:
    model = load_model(name)
    data = load_data(model.card.data.name, model.card.data.test_split)  # type: ignore[union-attr]
    return int(data.ids[(model.predict(data.inputs) == data.labels).nonzero()[position]])


def digit(row: int) -> tuple[torch.Tensor, int]:
    """A row of the digits, and its label."""
    data = load_data("digits")
    assert isinstance(data.inputs, torch.Tensor)
    place = data.ids.tolist().index(row)
    return data.inputs[place : place + 1], int(data.labels[place])


def test_it_opens_with_a_broken_prediction_and_says_what_the_library_says(opened: Opened) -> None:
    app = opened("attack", model="toy-image")
    text = text_of(app)
    assert not app.error
    model = load_model("toy-image")
    row = int(app.sidebar.selectbox(key="sample").value)
    x, label = digit(row)
    assert int(model.predict(x)) == label
    eps = customary_eps("linf", "image", (1, 8, 8), model.bounds)
    found = strike(model, x, label, customary_threat("linf", eps, model), PGD(), sample_id=row)
    assert found.broken
    assert f"It says **{label}** with" in text
    assert "which is right" in text
    assert f"makes it say **{int(found.after.argmax())}** with {100 * float(found.after.max()):.1f} %" in text
    for what in ("Before: ", "magnified", "After: ", "L2 distance", "looks at the model", "random changes"):
        assert what in text
    looks, passes = found.trajectory.looks, len(found.trajectory)
    assert f"looks at the model {looks}" + (f" in {passes} passes" if passes != looks else " ·") in text
    assert "Saliency before" in text
    assert "Saliency after" in text
    assert "rank correlation" in text
    assert app.slider(key="eps").value == pytest.approx(eps)


def test_epsilon_is_in_the_address_and_decides(opened: Opened) -> None:
    row = right_row("toy-image")
    app = opened("attack", model="toy-image", sample=str(row), eps="0.005")
    assert app.slider(key="eps").value == 0.005
    assert "finds no change of at most 0.005 in any pixel" in text_of(app)
    app.slider(key="eps").set_value(0.4).run()
    assert "makes it say" in text_of(app)
    assert address(app, "eps") == "0.4"


@pytest.mark.parametrize(
    ("before", "lowest", "said"),
    [
        (0.99999, 0.9998, ", and hardly moves the model's confidence."),
        (1.0, 0.99999, ", and hardly moves the model's confidence."),
        (0.5, 0.4996, ", and hardly moves the model's confidence."),
        (0.9999, 0.95, "; it brings it down to 95 %."),
        (0.991, 0.988, "; it brings it down to 98.8 %."),
    ],
)
def test_no_confidence_is_brought_down_to_itself(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, before: float, lowest: float, said: str
) -> None:
    from xaibench.pages.attack import page
    from xaibench.robustness.strike import Trajectory

    row = right_row("toy-image")
    say = page._say

    def confident(subject: Subject, plan: Plan, strike: Strike) -> None:
        say(subject, plan, dataclasses.replace(strike, before=torch.tensor([before, 1 - before])))

    monkeypatch.setattr(page, "_say", confident)
    monkeypatch.setattr(Trajectory, "lowest", lambda *_: lowest)
    text = text_of(opened("attack", model="toy-image", sample=str(row), eps="0.005"))
    assert f"that alters what it says{said}" in text


def test_a_new_norm_begins_at_its_own_customary_radius(opened: Opened) -> None:
    app = opened("attack", model="toy-image", eps="0.3")
    app.selectbox(key="norm").set_value("l2").run()
    model = load_model("toy-image")
    assert app.slider(key="eps").value == pytest.approx(customary_eps("l2", "image", (1, 8, 8), model.bounds))
    assert len(app.selectbox(key="attack").options) == len(set(attacks_for("image", "l2")) - {"transfer"})
    text_of(app)


@pytest.mark.parametrize("norm", ["l1", "l0", "spatial"])
def test_every_norm_of_images_works(opened: Opened, norm: str) -> None:
    app = opened("attack", model="toy-image", norm=norm)
    assert "It says" in text_of(app)
    assert not app.error


def test_an_attack_aimed_at_a_class_ends_there_or_says_that_it_does_not(opened: Opened) -> None:
    row = right_row("toy-image")
    label = digit(row)[1]
    for target in {0, 1, 2} - {label}:
        text = text_of(opened("attack", model="toy-image", sample=str(row), eps="0.4", aim=str(target)))
        assert f"makes it say **{target}** with" in text or re.search(f"that makes it say {target}[;,]", text)
    small = text_of(opened("attack", model="toy-image", sample=str(row), eps="0.005", aim=str((label + 1) % 10)))
    assert re.search(f"that makes it say {(label + 1) % 10}[;,]", small)


def test_the_breaking_point_is_where_the_attack_begins_to_succeed(opened: Opened) -> None:
    row = right_row("toy-image")
    app = opened("attack", model="toy-image", sample=str(row))
    for button in [button for button in app.button if button.key == "find edge"]:
        button.click().run()
    text = text_of(app)
    match = re.search(r"first breaks \*\*\d\*\* at \*\*(.+?) in any pixel", text)
    assert match is not None
    app.button(key="to edge").click().run()
    assert "makes it say" in text_of(app)
    at = float(address(app, "eps"))
    model = load_model("toy-image")
    x, label = digit(row)
    assert strike(model, x, label, customary_threat("linf", at, model), PGD(), sample_id=row).broken
    below = at - 0.4 / 2**8
    assert not strike(model, x, label, customary_threat("linf", below, model), PGD(), sample_id=row).broken
    proved = re.search(r"No change of at most \*\*(.+?) in any pixel", text)
    if proved is not None:
        assert float(proved[1]) < at


def test_tables_name_what_moved_and_keep_what_must_stay(opened: Opened) -> None:
    row = right_row("toy-table")
    app = opened("attack", model="toy-table", sample=str(row), eps="0.4", stay="0,1")
    text = text_of(app)
    names = load_data("breast-cancer").feature_names
    assert names is not None
    assert "of its range in any feature" in text
    moved = re.findall(r"<tr><td[^>]*>([^<]+)</td>", text)
    assert moved
    assert names[0] not in moved
    assert names[1] not in moved
    assert set(moved) <= set(names)


def test_words_that_were_exchanged_are_marked(opened: Opened) -> None:
    app = opened("attack", model="toy-text")
    text = text_of(app)
    assert "edited word" in text
    assert "makes it say" in text
    assert "<del" in text
    assert "<ins" in text
    assert "No attack knows what words mean to a reader" in text


def test_a_radius_reads_the_same_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(model=load_model("toy-image"), norm="linf", eps=0.1, largest=0.4, attack=Spec("pgd"))
    monkeypatch.setattr(robustness, "edge", lambda *_, **__: robustness.Edge(no=0.1, yes=0.18125000001))
    monkeypatch.setattr(edges, "strike_at", lambda *_: SimpleNamespace(broken=True))
    monkeypatch.setattr(edges, "_key", lambda *_: "a test")
    found = edges._search(cast("Subject", None), plan)
    assert found.edge.yes == 0.18125
    assert reach(plan, found.edge.yes) == "0.1812 in any pixel"


def test_hostile_words_stay_text() -> None:
    marked = changed_words(["<script>alert(1)</script>", "b"], ["<img onerror=x>", "b"])
    assert "<script" not in marked
    assert "<img" not in marked
    assert "&lt;script&gt;" in marked
    assert re.sub(r"<[^>]+>", "", marked).split()[-1] == "b"


def test_own_text_is_attacked_from_what_the_model_says_of_it(opened: Opened) -> None:
    text = text_of(opened("attack", model="toy-text", input="own", text="a lovely story with wonderful actors"))
    assert "It says" in text
    assert "which is right" not in text


def test_a_wrong_sample_says_so_and_leads_to_a_right_one(opened: Opened) -> None:
    app = opened("attack", model="toy-image", show="wrong")
    if not app.sidebar.selectbox or "no such sample" in " ".join(item.value for item in app.info):
        pytest.skip("the toy model makes no mistake")
    assert "wrong without any attack" in text_of(app)
    app.button(key="right one").click().run()
    assert "which is right" in text_of(app)


def test_what_does_not_fit_is_one_calm_line(opened: Opened) -> None:
    app = opened("attack", model="toy-image", **{"attack.pgd.steps": "0"})
    assert [error.value.replace("\\", "") for error in app.error] == ["expected `steps` >= 1, got 0"]
    app = opened("attack", model="toy-image", attack="nonsense", norm="l7", eps="nan", aim="nobody")
    assert not app.error
    assert "It says" in text_of(app)


def test_a_sample_that_stands_says_what_it_takes_and_shows_it(opened: Opened) -> None:
    row = right_row("toy-image")
    app = opened("attack", model="toy-image", sample=str(row), eps="0.005")
    text = text_of(app)
    needed = re.search(r"It takes \*\*(.+?) in any pixel\*\* to make it say \*\*(\d)\*\*", text)
    assert needed is not None
    assert "After: " in text, "the change is shown although it is larger than what was chosen"
    label = digit(row)[1]
    assert f"what speaks for **{label}** and against it" in text
    assert f"random changes of at most {needed[1]} in any pixel" in text
    assert f"Within {needed[1]} in any pixel, as all above" in text
    assert f"first breaks **{label}** at **{needed[1]} in any pixel**" in text
    app.button(key="to least").click().run()
    assert f"makes it say **{needed[2]}** with" in text_of(app)
    assert float(address(app, "eps")) > 0.005


def test_an_easier_sample_is_a_click_away(opened: Opened) -> None:
    first = opened("attack", model="toy-image").sidebar.selectbox(key="sample").value
    row = next(row for row in (right_row("toy-image", place) for place in range(5)) if row != first)
    app = opened("attack", model="toy-image", sample=str(row), eps="0.005")
    app.button(key="easier").click().run()
    assert app.sidebar.selectbox(key="sample").value == first


def test_a_model_without_gradients_is_searched_instead(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    from xaibench.errors import UnsupportedError

    def refuse(*_: object, **__: object) -> None:
        raise UnsupportedError("pgd needs gradients of the model: it has none")

    st.cache_resource.clear()
    monkeypatch.setattr(PGD, "__call__", refuse)
    app = opened("attack", model="toy-image", **{"attack.square.queries": "50"})
    assert not app.exception
    assert "cannot be made here" in app.info[0].value
    app.button(key="instead square").click().run()
    assert app.selectbox(key="attack").value == "square"
    assert "It says" in text_of(app)


def test_another_epsilon_attacks_anew_and_the_same_one_does_not(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    import xaibench.explainers
    import xaibench.zoo

    app = opened("attack", model="toy-image", sample=str(right_row("toy-image")), eps="0.4")
    calls: list[str] = []
    original = PGD.__call__

    def counted(self: PGD, *args: object, **kwargs: object) -> torch.Tensor:
        calls.append("attack")
        return original(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(PGD, "__call__", counted)
    monkeypatch.setattr(xaibench.zoo, "load_model", lambda *_: calls.append("load"))
    app.run()
    assert calls == []
    app.slider(key="eps").set_value(0.395).run()
    assert "load" not in calls
    assert calls


def test_downloads_hold_the_example() -> None:
    model = load_model("toy-image")
    x, label = digit(right_row("toy-image"))
    found = strike(model, x, label, customary_threat("linf", 0.4, model), attacks.create("pgd"))
    kept = np.load(io.BytesIO(as_npz(found)))
    assert torch.equal(torch.from_numpy(kept["adversarial"]), found.found)
    assert int(model.predict(torch.from_numpy(kept["adversarial"]))) != label


def test_agreement_is_that_of_sizes_where_words_stayed() -> None:
    before, after = torch.tensor([[1.0, -2.0, 3.0, 9.0]]), torch.tensor([[2.0, 4.0, -6.0, 0.0]])
    where = torch.tensor([[True, True, True, False]])
    assert agreement(before, after, where) == pytest.approx(1.0)
    assert agreement(before, after, None) == pytest.approx(float(rank_correlation(before.abs(), after.abs())))


def test_reach_is_said_in_the_units_of_the_task() -> None:
    model, table = load_model("toy-image"), load_model("toy-table")
    spec = Spec("pgd")
    said = [
        reach(Plan(model=model, norm=norm, eps=eps, largest=1, attack=spec))
        for norm, eps in (("linf", 8 / 255), ("l2", 0.5), ("l0", 1), ("l0", 3))
    ]
    assert said == ["8/255 in any pixel", "0.5 in L2", "1 value", "3 values"]
    assert "10 % of its range" in reach(Plan(model=table, norm="linf", eps=0.1, largest=1, attack=spec))
