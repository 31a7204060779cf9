"""Choosing a sample: its order, its kind, and inputs of the reader's own."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from xaibench import load_data, load_model
from xaibench.pages.shared import cached, own
from xaibench.types import Capability, Classifier

Opened = Callable[..., AppTest]


def rows_of(app: AppTest) -> list[int]:
    """The rows to choose from, in order."""
    assert not app.exception, app.exception
    return [int(row) for row in app.sidebar.selectbox(key="sample").options]


def digits() -> tuple[Classifier, torch.Tensor, torch.Tensor]:
    """The toy model, and the inputs and labels that it is tested on."""
    data = load_data("digits")
    assert isinstance(data.inputs, torch.Tensor)
    return load_model("toy-image"), data.inputs, data.labels


def test_right_and_wrong_ones_of_a_class_are_just_these(opened: Opened) -> None:
    app = opened("explain", model="toy-image", method="saliency", show="wrong")
    model, x, labels = digits()
    wrong = model.predict(x) != labels
    assert sorted(rows_of(app)) == wrong.nonzero().flatten().tolist()
    app.sidebar.selectbox(key="show").set_value("right").run()
    assert sorted(rows_of(app)) == (~wrong).nonzero().flatten().tolist()
    app.sidebar.selectbox(key="class").set_value(7).run()
    assert sorted(rows_of(app)) == (~wrong & (labels == 7)).nonzero().flatten().tolist()
    assert "7" in app.query_params["class"]


def test_most_confident_mistakes_come_first(opened: Opened) -> None:
    rows = rows_of(opened("explain", model="toy-image", method="saliency", show="mistakes"))
    model, x, labels = digits()
    probabilities = model.logits(x).softmax(dim=1).detach()
    assert rows
    assert all(int(probabilities[row].argmax()) != int(labels[row]) for row in rows)
    confidence = [float(probabilities[row].max()) for row in rows]
    assert confidence == sorted(confidence, reverse=True)


def test_most_easily_fooled_come_first_by_the_linear_estimate(opened: Opened) -> None:
    rows = rows_of(opened("explain", model="toy-image", method="saliency", show="fooled"))
    model, x, labels = digits()
    distances = []
    for row in rows[:6]:
        one = x[row : row + 1].clone().requires_grad_()
        first, second = model.logits(one)[0].topk(2).values
        (slope,) = torch.autograd.grad(first - second, one)
        assert int(model.predict(one.detach())) == int(labels[row])
        distances.append(float((first - second).detach() / slope.abs().sum()))
    assert distances == sorted(distances)
    everywhere = cached.boundary_distances(model, load_data("digits"), ("test", "fooled"))
    assert everywhere[rows[:6]].tolist() == pytest.approx(distances, rel=1e-4)
    assert float(everywhere[rows].min()) == pytest.approx(distances[0], rel=1e-4)


def test_distances_of_tables_count_in_shares_of_ranges_and_need_no_gradients() -> None:
    model, data = load_model("toy-table"), load_data("breast-cancer")
    x = data.inputs[:1].clone().requires_grad_()  # type: ignore[union-attr]
    logits = model.logits(x)[0]
    gap = logits.max() - logits.min()
    (slope,) = torch.autograd.grad(gap, x)
    gap = gap.detach()
    expected = float(gap / (slope * x.new_tensor(model.bounds.span)).abs().sum())
    assert float(cached.boundary_distances(model, data, ("test", "table"))[0]) == pytest.approx(expected, rel=1e-4)

    class Blind:
        """The same without gradients."""

        task, bounds, capabilities = model.task, model.bounds, model.capabilities - {Capability.GRADIENTS}
        logits = staticmethod(model.logits)

    found = cached.boundary_distances(Blind(), data, ("test", "blind"))  # type: ignore[arg-type]
    assert float(found[0]) == pytest.approx(float(gap), rel=1e-4)


def test_previous_next_random_and_neighbours_move_the_sample(opened: Opened) -> None:
    app = opened("explain", model="toy-image", method="saliency")
    rows = rows_of(app)
    press(app, "→")
    assert app.sidebar.selectbox(key="sample").value == rows[1]
    press(app, "←")
    assert app.sidebar.selectbox(key="sample").value == rows[0]
    press(app, "Random")
    assert app.sidebar.selectbox(key="sample").value in rows
    app.sidebar.selectbox(key="sample").set_value(rows[0]).run()
    app.button(key=f"neighbour {rows[4]}").click().run()
    assert app.sidebar.selectbox(key="sample").value == rows[4]


def press(app: AppTest, label: str) -> None:
    next(button for button in app.sidebar.button if button.label == label).click().run()
    assert not app.exception


def test_nothing_of_a_kind_is_said(opened: Opened) -> None:
    app = opened("explain", model="toy-text", method="saliency", show="mistakes")
    assert not app.exception
    assert app.info or rows_of(app)


def test_a_typed_text_is_classified_and_stays_in_the_address(opened: Opened) -> None:
    app = opened("explain", model="toy-text", method="saliency", input="own")
    app.sidebar.text_area(key="text").set_value("a warm <b>film</b> *indeed*").run()
    assert not app.exception
    model = load_model("toy-text")
    name = model.class_names[int(model.predict(["a warm <b>film</b> *indeed*"]))]
    assert f"It says **{name}** with" in app.markdown[0].value
    assert "right" not in app.markdown[0].value
    assert "a warm <b>film</b> *indeed*" in app.query_params["text"]
    assert not any("<b>film" in element.proto.body for element in app.get("html"))
    app.sidebar.text_area(key="text").set_value(" ").run()
    assert "Type a text" in app.info[0].value


def test_a_long_text_stays_out_of_the_address_and_too_long_a_one_is_not_read(opened: Opened) -> None:
    app = opened("explain", model="toy-text", method="saliency", input="own")
    app.sidebar.text_area(key="text").set_value("good " * 100).run()
    assert not app.exception
    assert "text" not in app.query_params
    app = opened("explain", model="toy-text", method="saliency", input="own", text="x" * 10_000)
    assert not app.exception
    assert len(app.sidebar.text_area(key="text").value) < 1000


def test_too_long_a_text_is_cut_and_that_is_said(opened: Opened) -> None:
    app = opened("explain", model="toy-text", method="saliency", input="own")
    area = app.sidebar.text_area(key="text")
    assert not area.max_chars, "or the browser drops a longer text without a word"
    area.set_value("good " * 1200).run()
    assert app.sidebar.text_area(key="text").value == "good " * 1000
    told = "Cut to its first 5,000 characters: it had 6,000."
    assert told in [caption.value for caption in app.sidebar.caption]
    app.sidebar.text_area(key="text").set_value("good").run()
    assert told not in [caption.value for caption in app.sidebar.caption]


def test_values_of_ones_own_are_bounded_and_belong_to_their_row(opened: Opened) -> None:
    app = opened("explain", model="toy-table", method="saliency", input="own", sample="4", edits="4:1=1e9")
    assert not app.exception
    model, data = load_model("toy-table"), load_data("breast-cancer")
    assert isinstance(data.inputs, torch.Tensor)
    x = data.inputs[4:5].clone()
    high = torch.as_tensor(model.bounds.upper).expand(x.shape[1])
    x[0, 1] = high[1]
    assert app.sidebar.number_input[1].value == pytest.approx(float(high[1]))
    confidence = float(model.logits(x)[0].softmax(dim=0).max())
    assert f"{100 * confidence:.1f} %" in app.markdown[0].value or "over 99.9 %" in app.markdown[0].value
    low = float(torch.as_tensor(model.bounds.lower).expand(x.shape[1])[0])
    app.sidebar.number_input[0].set_value(low).run()
    assert app.sidebar.number_input[0].value == pytest.approx(low, rel=1e-4)
    assert "4:0=" in str(app.query_params["edits"])
    app.sidebar.selectbox(key="sample").set_value(5).run()
    assert app.sidebar.number_input[0].value == pytest.approx(float(data.inputs[5, 0]))
    assert "edits" not in app.query_params
    app.sidebar.selectbox(key="sample").set_value(4).run()
    assert app.sidebar.number_input[0].value == pytest.approx(low, rel=1e-4), "they wait for the reader"


@pytest.mark.parametrize(
    "edits", ["3:99=1;x;3:0=nan", "3:1=1,2=oops", "3:1=1,99=3", "3:-1=1", "3:0=nan", "3:", "x", "4:1=1"]
)
def test_values_that_cannot_be_read_are_said_and_dropped(opened: Opened, edits: str) -> None:
    app = opened("explain", model="toy-table", method="saliency", input="own", sample="3", edits=edits)
    assert not app.exception
    assert f"names what is not here\\: Values of your own {edits[0]}" in app.info[0].value
    assert "edits" not in app.query_params
    inputs = load_data("breast-cancer").inputs
    assert isinstance(inputs, torch.Tensor)
    assert [box.value for box in app.sidebar.number_input[:4]] == pytest.approx(inputs[3, :4].tolist())


def test_a_row_is_that_of_the_data_until_something_is_edited(opened: Opened) -> None:
    app = opened("explain", model="toy-table", method="saliency", sample="3")
    finding = app.markdown[0].value
    assert "right" in finding or "wrong" in finding
    app.sidebar.button_group(key="input").set_value("own").run()
    assert not app.exception
    assert app.markdown[0].value == finding
    assert "The input: row 3 of breast\\-cancer, 30 features." in [one.value for one in app.caption]
    box = app.sidebar.number_input[0]
    value = box.value
    box.set_value(value / 2).run()
    assert "right" not in app.markdown[0].value
    assert "wrong" not in app.markdown[0].value
    assert "The input: your own values, 30 features." in [one.value for one in app.caption]
    app.sidebar.number_input[0].set_value(value).run()
    assert app.markdown[0].value == finding, "it is the row again"


def test_an_uploaded_picture_is_fitted_and_classified(opened: Opened) -> None:
    app = opened("explain", model="toy-image", method="saliency", input="own")
    assert "Upload a picture" in app.info[0].value
    file = io.BytesIO()
    Image.new("RGB", (40, 20), (200, 30, 30)).save(file, "png")
    app.session_state[own._PICTURE] = file.getvalue()
    app.run()
    assert not app.exception
    fitted = cached.picture(file.getvalue(), (1, 8, 8)).x
    assert f"It says **{int(load_model('toy-image').predict(fitted))}** with" in app.markdown[0].value
    assert any("cut to its middle" in caption.value for caption in app.sidebar.caption)
    app.session_state[own._PICTURE] = b"GIF89a<script>"
    app.run()
    assert not app.exception
    assert app.error[0].value.startswith("expected a")


def test_a_row_that_is_not_at_hand_is_fetched(monkeypatch: pytest.MonkeyPatch, opened: Opened) -> None:
    monkeypatch.setattr(cached, "SHOWN", 20)
    cached.rows.clear()
    cached.samples.clear()
    asked = next(row for row in range(300) if row not in load_data("digits", n=20, seed=0).ids.tolist())
    app = opened("explain", model="toy-image", method="saliency", sample=str(asked))
    assert asked in rows_of(app)
    assert app.sidebar.selectbox(key="sample").value == asked
    app = opened("explain", model="toy-image", method="saliency", sample="999999999")
    assert len(rows_of(app)) == 20
    cached.rows.clear()
    cached.samples.clear()
