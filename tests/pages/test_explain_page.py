"""The page of one sample, driven as a reader drives it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest

import xaibench.data
import xaibench.explainers
import xaibench.pages.explain.parts
import xaibench.zoo
from xaibench import explain, load_data, load_model
from xaibench.counterfactuals import counterfactual
from xaibench.drawing.labels import method_label
from xaibench.examples import nearest_neighbours
from xaibench.explainers import DEFAULT_PANEL, compare_explainers
from xaibench.pages.explain.parts import parts_of
from xaibench.reading import percent

Opened = Callable[..., AppTest]


def shown(app: AppTest) -> str:
    """Everything that the page says, as one text."""
    assert not app.exception, app.exception
    assert not app.error, app.error
    htmls = [element.proto.body for element in app.get("html")]
    return "\n".join([*(one.value for one in app.markdown), *(one.value for one in app.caption), *htmls])


def press(app: AppTest, key: str) -> AppTest:
    """The page after a button."""
    return app.button(key=key).click().run()


@pytest.fixture(autouse=True)
def known() -> None:
    """Each test begins without what another computed."""
    st.cache_data.clear()


@pytest.mark.parametrize(
    ("model", "data"), [("toy-image", "digits"), ("toy-table", "breast-cancer"), ("toy-text", None)]
)
def test_page_says_what_the_model_says_and_explains_by_the_usual_methods(
    opened: Opened, model: str, data: str | None
) -> None:
    app = opened("explain", model=model)
    text, classifier = shown(app), load_model(model)
    rows = load_data(data or classifier.card.data.name)  # type: ignore[union-attr]
    row = app.sidebar.selectbox(key="sample").value
    x = rows.inputs[row : row + 1]
    x = x if isinstance(x, torch.Tensor) else classifier.encode(x)
    probabilities = classifier.logits(x)[0].double().softmax(dim=0)
    name = classifier.class_names[int(probabilities.argmax())]
    assert f"It says **{name}** with {percent(float(probabilities.max()))}" in text
    found = compare_explainers(classifier, x, methods=DEFAULT_PANEL[classifier.task])
    assert found.attributions
    for method, attribution in found.attributions.items():
        assert f"<b>{method_label(method)}</b>" in text
        assert attribution.trust.verdict in text
    assert app.sidebar.multiselect(key="method").value == list(found.attributions), "none that refuses the model"
    assert "Left out" not in text


def test_the_features_of_a_table_stand_with_their_values(opened: Opened) -> None:
    app = opened("explain", model="toy-table", sample="4", method="input_x_gradient")
    data = load_data("breast-cancer")
    assert isinstance(data.inputs, torch.Tensor)
    charts = [json.loads(chart.proto.spec)["data"][0] for chart in app.get("plotly_chart")]
    bars = next(chart for chart in charts if " = " in str(chart["y"][0]))
    values = dict(zip(data.feature_names or (), data.inputs[data.ids.tolist().index(4)].tolist(), strict=True))
    for label, size, colour in zip(bars["y"], bars["x"], bars["marker"]["color"], strict=True):
        name, _, value = label.partition(" = ")
        assert value == f"{values[name]:.4g}"
        assert (colour == bars["marker"]["color"][0]) == ((size < 0) == (bars["x"][0] < 0))


def test_explanations_are_those_of_the_library_with_their_trust(opened: Opened) -> None:
    app = opened("explain", model="toy-image", method="integrated_gradients", sample="5")
    model, x = load_model("toy-image"), digit(5)
    found = explain(model, x, method="integrated_gradients")
    text = shown(app)
    assert found.completeness_gap is not None
    assert f"completeness gap {abs(float(found.completeness_gap[0])):.2g}" in text
    assert found.trust.reason.split(":")[0] in text
    assert f">✓ {found.trust.verdict}<" in text or f"> {found.trust.verdict}<" in text


def test_another_class_is_explained_when_it_is_asked_for(opened: Opened) -> None:
    app = opened("explain", model="toy-image", method="saliency", why="4")
    assert "for 4, " in shown(app)
    app.sidebar.selectbox(key="why").set_value(-1).run()
    assert "why" not in app.query_params


def test_opacity_and_signs_compute_nothing(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened("explain", model="toy-image")
    calls = count_calls(monkeypatch)
    app.slider(key="opacity").set_value(30).run()
    assert "opacity:0.30" in shown(app)
    app.button_group(key="values").set_value("sizes").run()
    text = shown(app)
    assert "Violet is strength without a sign" in text
    assert "Blue speaks for" not in text
    assert calls == []


def test_another_sample_explains_that_one_alone(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened("explain", model="toy-image", method="saliency")
    calls = count_calls(monkeypatch)
    app.sidebar.selectbox(key="sample").set_value(7).run()
    assert set(calls) == {"explain"}
    calls.clear()
    app.sidebar.selectbox(key="sample").set_value(0).run()
    assert calls == []


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the costly functions that are called from now on."""
    calls: list[str] = []

    def count(name: str, function: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return function(*args, **kwargs)

        return counted

    for module, name in ((xaibench.zoo, "load_model"), (xaibench.data, "load_data"), (xaibench.explainers, "explain")):
        monkeypatch.setattr(module, name, count(name, getattr(module, name)))
    return calls


def test_every_explainer_is_offered_and_the_refused_say_why(opened: Opened) -> None:
    app = opened("explain", model="toy-table", method="grad_cam,saliency")
    assert len(app.sidebar.multiselect(key="method").options) == len(xaibench.explainers.explainers.names())
    text = shown(app)
    assert "Left out: grad" in text.replace("\\", "")
    assert "<b>Saliency</b>" in text


def test_settings_follow_the_fields_and_reach_the_method(opened: Opened) -> None:
    app = opened("explain", model="toy-image", method="smoothgrad")
    app.sidebar.number_input(key="explainer.smoothgrad.samples").set_value(8).run()
    assert "SmoothGrad (samples=8)" in shown(app)
    app.sidebar.number_input(key="explainer.smoothgrad.samples").set_value(7).run()
    assert "Left out: expected `samples` as an even number" in shown(app).replace("\\", "")


def test_parts_go_by_importance_until_the_mind_changes(opened: Opened) -> None:
    app = opened("explain", model="toy-image", sample="3", method="occlusion", cut="grid", parts="16")
    model, x = load_model("toy-image"), digit(3)
    parts = parts_of(model, x, cut="grid", segments=16, fill="min")
    values = explain(model, x, method="occlusion", trust="quick").values
    order = parts.by_importance(values)
    press(app, "removal.one")
    assert removed(app) == order[:1]
    text = shown(app)
    now = model.logits(parts.without(order[:1]))[0].double().softmax(dim=0)
    assert "Without the region it " in text
    assert f"**{int(now.argmax())}** ({percent(float(now.max()))})" in text
    press(app, "removal.until")
    gone = removed(app)
    assert gone == order[: len(gone)]
    before = int(model.predict(x))
    assert int(model.predict(parts.without(gone))) != before
    assert all(int(model.predict(parts.without(gone[:count]))) == before for count in range(1, len(gone)))
    assert f"Without the {len(gone)} regions it says" in shown(app) or len(gone) == 1
    press(app, "removal.restore")
    assert "removed" not in app.query_params


def test_parts_are_chosen_by_name_and_forgotten_with_the_sample(opened: Opened) -> None:
    app = opened("explain", model="toy-text", method="saliency")
    (pills,) = [group for group in app.button_group if str(group.key).startswith("removal.parts")]
    words = [word for word in load_model("toy-text").tokens(load_model("toy-text").encode([text_of(0)]))[0] if word]
    assert [option.rstrip("\u200b") for option in pills.options] == words
    pills.set_value([1, 2]).run()
    assert f"Without {words[1]}, {words[2]} it " in shown(app)
    app.sidebar.selectbox(key="sample").set_value(1).run()
    assert "removed" not in app.query_params
    assert "Take a word away" in shown(app)
    assert not app.info, "nothing was asked for in vain"


def removed(app: AppTest) -> list[int]:
    """The parts that were taken away, by the address."""
    return [int(number) for number in str(app.query_params["removed"]).split("-")[1:]]


def digit(row: int) -> torch.Tensor:
    """One row of the digits (1, 1, 8, 8)."""
    inputs = load_data("digits").inputs[row : row + 1]
    assert isinstance(inputs, torch.Tensor)
    return inputs


def text_of(row: int) -> str:
    """One text of the data of `toy-text`."""
    model = load_model("toy-text")
    assert model.card is not None
    return str(load_data(model.card.data.name, n=None).inputs[row])


def test_a_feature_takes_its_mean(opened: Opened) -> None:
    app = opened("explain", model="toy-table", sample="4", method="saliency")
    (pills,) = [group for group in app.button_group if str(group.key).startswith("removal.parts")]
    pills.set_value([2]).run()
    model, data = load_model("toy-table"), load_data("breast-cancer")
    assert model.card is not None
    assert model.card.mean is not None
    assert data.feature_names is not None
    assert isinstance(data.inputs, torch.Tensor)
    x = data.inputs[4:5].clone()
    x[0, 2] = model.card.mean[2]
    now = model.logits(x)[0].double().softmax(dim=0)
    text = shown(app)
    assert f"With {data.feature_names[2]} replaced it " in text
    assert f"**{model.class_names[int(now.argmax())]}** ({percent(float(now.max()))})" in text


@pytest.mark.parametrize("removed", ["zzz", "-", "3eaae8x14-1", "x-99999", "0-<script>", "3eaae7x14-" + "9" * 400])
def test_nonsense_in_the_address_is_no_error(opened: Opened, removed: str) -> None:
    app = opened("explain", model="toy-image", removed=removed, method="saliency")
    assert "Take a region away" in shown(app)
    assert "removed" not in app.query_params
    assert "names what is not here\\: Parts taken away " in app.info[0].value
    pills = next(group for group in app.button_group if str(group.key).startswith("removal.parts"))
    pills.set_value([1]).run()
    app.selectbox(key="parts").set_value(64).run()
    assert "removed" not in app.query_params, "they were of another cut"


def test_what_changes_its_mind_is_the_librarys_counterfactual(opened: Opened) -> None:
    app = opened("explain", model="toy-table", closer="change", sample="4", method="saliency")
    model, x = load_model("toy-table"), load_data("breast-cancer").inputs[4:5]
    found = counterfactual(model, x)
    assert bool(found.found[0])
    text = shown(app)
    assert f"A change of {int(found.distance[0])} feature" in text
    assert str(found.edits[0][0]) in text.replace("\\", "")


def test_another_goal_is_reached(opened: Opened) -> None:
    app = opened("explain", model="toy-image", closer="change", goal="8", sample="0", method="saliency")
    model, x = load_model("toy-image"), digit(0)
    found = counterfactual(model, x, 8)
    assert bool(found.found[0])
    text = shown(app)
    assert f"A change of {float(found.distance[0]):.3g} in L2 is enough: it says **8**" in text


def test_words_that_change_its_mind_are_marked(opened: Opened) -> None:
    text = shown(opened("explain", model="toy-text", closer="change", method="saliency"))
    assert "<del" in text or "<ins" in text or "No small change was found" in text


def test_alike_samples_are_the_nearest_neighbours(opened: Opened) -> None:
    app = opened("explain", model="toy-image", closer="alike", sample="2", method="saliency")
    model, x = load_model("toy-image"), digit(2)
    train = load_data("digits", "train", n=500, seed=0)
    found = nearest_neighbours(model, x, train, k=8)
    text = shown(app)
    for place, distance in zip(found.index[0].tolist(), found.distance[0].tolist(), strict=True):
        assert f"{int(train.labels[place])}, distance {distance:.2g} (row {int(train.ids[place])})" in text
    assert f"Of the 8 nearest of {len(train)}" in text


@pytest.mark.parametrize("model", ["toy-table", "toy-text"])
def test_alike_rows_and_texts_are_listed(opened: Opened, model: str) -> None:
    assert "nearest of" in shown(opened("explain", model=model, closer="alike", method="saliency"))


def test_the_sample_goes_along_to_the_attack(opened: Opened) -> None:
    app = opened("explain", model="toy-image", sample="6", method="saliency")
    press(app, "explain.attack")
    assert "6" in app.query_params["sample"]
    assert app.header[0].value != "Why did it say that?"


def test_no_models_is_said(opened: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(tmp_path / "nowhere"))
    app = opened("explain")
    assert not app.exception
    assert "xaibench train" in app.info[0].value


def test_parts_cover_the_input_and_come_back() -> None:
    model, x = load_model("toy-image"), digit(3)
    parts = parts_of(model, x, cut="superpixels", segments=9, fill="max")
    assert torch.equal(parts.without([]), x)
    assert torch.equal(parts.without(range(len(parts.names))), torch.ones_like(x))
    values = torch.rand_like(x)
    assert sum(parts.sums(values)) == pytest.approx(float(values.sum()), rel=1e-5)
