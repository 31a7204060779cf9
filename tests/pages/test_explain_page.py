"""The page of one sample, driven as a reader drives it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import xaibench.data
import xaibench.explainers
import xaibench.zoo
from xaibench import load_data, load_model
from xaibench.pages.shared import cached

Opened = Callable[..., AppTest]


def shown(app: AppTest) -> str:
    """Everything that the page says, as one text."""
    assert not app.exception, app.exception
    htmls = [element.proto.body for element in app.main if element.type == "html"] + html_bodies(app)
    return "\n".join(
        [*(element.value for element in app.markdown), *(element.value for element in app.caption), *htmls]
    )


def html_bodies(app: AppTest) -> list[str]:
    """The bodies of all st.html elements, wherever they stand."""
    return [element.proto.body for element in app.get("html")]


def test_page_shows_prediction_explanations_and_attack(opened: Opened) -> None:
    app = opened("explain", model="toy-image")
    text = shown(app)
    assert not app.error
    model, data = load_model("toy-image"), load_data("digits")
    row = app.sidebar.selectbox(key="sample").value
    prediction = int(model.predict(data.inputs[row : row + 1]))
    assert f"It says **{model.class_names[prediction]}** with" in text
    for method in ("Saliency before", "Integrated gradients before"):
        assert f"{method}, for {prediction}" in text
    (chart,) = app.get("plotly_chart")
    assert "before" in chart.proto.spec


def test_a_larger_epsilon_fools_it_and_zero_does_nothing(opened: Opened) -> None:
    app = opened("explain", model="toy-image")
    app.sidebar.slider(key="eps").set_value(0.5).run()
    text = shown(app)
    assert "makes it say" in text
    assert "What was added, magnified" in text
    assert "Saliency after" in text
    after = re.search(r"makes it say \*\*(\w)\*\*", text)
    before = re.search(r"It says \*\*(\w)\*\*", text)
    assert after is not None
    assert before is not None
    assert after[1] != before[1]
    app.sidebar.slider(key="eps").set_value(0.0).run()
    assert "makes it say" not in shown(app)
    assert "Raise epsilon" in shown(app)


def test_wrong_ones_are_wrong_and_a_class_is_that_class(opened: Opened) -> None:
    app = opened("explain", model="toy-image")
    model, data = load_model("toy-image"), load_data("digits")
    app.sidebar.selectbox(key="show").set_value("Wrong ones").run()
    wrong = [int(row) for row in app.sidebar.selectbox(key="sample").options]
    expected = (model.predict(data.inputs) != data.labels).nonzero().flatten().tolist()
    assert sorted(wrong) == expected
    assert "and is wrong: it is" in shown(app)
    app.sidebar.selectbox(key="show").set_value("7").run()
    rows = [int(row) for row in app.sidebar.selectbox(key="sample").options]
    assert sorted(rows) == (data.labels == 7).nonzero().flatten().tolist()


def test_next_previous_and_random_move_the_sample(opened: Opened) -> None:
    app = opened("explain", model="toy-image")
    rows = [int(row) for row in app.sidebar.selectbox(key="sample").options]
    next(button for button in app.sidebar.button if button.label == "→").click().run()
    assert app.sidebar.selectbox(key="sample").value == rows[1]
    next(button for button in app.sidebar.button if button.label == "←").click().run()
    assert app.sidebar.selectbox(key="sample").value == rows[0]
    next(button for button in app.sidebar.button if button.label == "Random").click().run()
    assert app.sidebar.selectbox(key="sample").value in rows


def test_address_holds_the_choices(opened: Opened) -> None:
    app = opened("explain", model="toy-table", sample="5", eps="0.2")
    assert app.sidebar.selectbox(key="model").value == "toy-table"
    assert app.sidebar.selectbox(key="sample").value == 5
    assert app.sidebar.slider(key="eps").value == 0.2
    assert not app.exception


def test_table_shows_bars_and_features(opened: Opened) -> None:
    text = shown(opened("explain", model="toy-table", eps="0.5"))
    assert "of its range in any feature" in text
    assert "What was changed" in text


def test_epsilon_of_a_table_is_a_share_of_each_features_range() -> None:
    model, data = load_model("toy-table"), load_data("breast-cancer")
    row = int((model.predict(data.inputs) == data.labels).nonzero()[0])
    x = data.inputs[row : row + 1]
    found = cached.attacked(model, x, int(data.labels[row]), "pgd", 0.4, row, ("test", "table"))
    share = ((found - x) / x.new_tensor(model.bounds.span)).abs()
    assert 0.3 < float(share.max()) <= 0.4 + 1e-6
    assert int(model.predict(found)) != int(data.labels[row])


def test_text_is_shaded_and_not_attacked(opened: Opened) -> None:
    app = opened("explain", model="toy-text")
    text = shown(app)
    assert "stands in their reports" in text
    assert "film" in text or "story" in text or "actors" in text
    assert "background:rgba(" in text
    assert not app.sidebar.slider


def test_every_attack_and_explainer_is_offered(opened: Opened) -> None:
    from xaibench.attacks.base import attacks_for
    from xaibench.explainers import explainers

    app = opened("explain", model="toy-image")
    assert len(app.sidebar.multiselect(key="method").options) == len(explainers.names())
    assert len(app.sidebar.selectbox(key="attack").options) == len(attacks_for("image"))


def test_settings_follow_the_fields_and_bad_ones_are_one_line(opened: Opened) -> None:
    app = opened("explain", model="toy-image")
    app.sidebar.number_input(key="attack.pgd.steps").set_value(0).run()
    assert [error.value for error in app.error] == ["expected `steps` >= 1, got 0"]
    app.sidebar.number_input(key="attack.pgd.steps").set_value(5).run()
    assert not app.error


def test_another_epsilon_computes_nothing_again_but_the_attack(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    st.cache_data.clear()
    app = opened("explain", model="toy-image")
    calls: list[str] = []

    def count(name: str, function: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return function(*args, **kwargs)

        return counted

    for module, name in ((xaibench.zoo, "load_model"), (xaibench.data, "load_data"), (xaibench.explainers, "explain")):
        monkeypatch.setattr(module, name, count(name, getattr(module, name)))
    app.sidebar.slider(key="eps").set_value(0.0).run()
    assert not app.exception
    assert calls == []


def test_no_models_is_said(opened: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(tmp_path / "nowhere"))
    app = opened("explain")
    assert not app.exception
    assert "xaibench train" in app.info[0].value


def test_first_paint_needs_no_framework() -> None:
    code = "import xaibench.pages.router, sys; print({'torch', 'tensorflow', 'sklearn'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
