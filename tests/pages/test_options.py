"""Widgets for one of several, some of several, a class and a number: what the address says, and what it cannot."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest


def page() -> None:
    import streamlit as st

    from xaibench.pages.shared.address import address
    from xaibench.pages.shared.options import choose_class, choose_number, choose_one, choose_several, choose_view

    with address("one"):
        st.session_state["found"] = (
            choose_one(st.selectbox, "Norm", {"l2": "Euclidean", "linf": "Largest"}, key="norm", default="linf"),
            choose_one(st.selectbox, "Row", [7, 3, 12], key="row"),
            choose_view("View", {"near": "Near", "far": "Far"}, key="view"),
            choose_class(st.selectbox, "Class", ["cat", "dog", "cow"], key="class", none="Any", but=1),
            choose_several(st.multiselect, "Columns", {0: "age", 1: "height", 2: "weight"}, key="columns", most=2),
            choose_number(st.slider, "Steps", 1, 9, key="steps", default=4),
            choose_number(st.slider, "Epsilon", 0.1, 0.9, key="eps", default=0.5),
        )


def opened(**choices: str) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60)
    for key, value in choices.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception
    return app


DEFAULTS = ("linf", 7, "near", None, [], 4, 0.5)


def test_without_an_address_each_is_at_its_default_or_its_first_option() -> None:
    app = opened()
    assert app.session_state["found"] == DEFAULTS
    assert not app.query_params
    assert app.selectbox(key="norm").options == ["Euclidean", "Largest"]
    assert app.selectbox(key="class").options == ["Any", "cat", "cow"]


def test_the_address_sets_each_and_holds_it() -> None:
    choices = {
        "norm": "l2",
        "row": "12",
        "view": "far",
        "class": "cow",
        "columns": "2,0",
        "steps": "9",
        "eps": "0.25",
    }
    app = opened(**choices)
    assert app.session_state["found"] == ("l2", 12, "far", 2, [2, 0], 9, 0.25)
    assert app.query_params == choices


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("norm", "Euclidean"),
        ("row", "4"),
        ("view", ""),
        ("class", "dog"),
        ("class", "horse"),
        ("columns", "0,1,2"),
        ("columns", "3"),
        ("steps", "10"),
        ("steps", "4.5"),
        ("eps", "nan"),
    ],
)
def test_what_is_no_option_counts_as_the_default_and_is_said(key: str, text: str) -> None:
    app = opened(**{key: text})
    assert app.session_state["found"] == DEFAULTS
    assert "names what is not here" in app.info[0].value


def test_a_choice_goes_to_the_address_and_back_out_with_the_default() -> None:
    app = opened()
    app.selectbox(key="class").select("cat").run()
    assert app.session_state["found"][3] == 0
    assert app.query_params == {"class": "cat"}
    app.selectbox(key="class").select("Any").run()
    assert app.session_state["found"] == DEFAULTS
    assert not app.query_params


def test_the_ends_of_a_range_and_empty_places_of_a_list_are_read() -> None:
    found = opened(steps="1", columns="0,,2").session_state["found"]
    assert found[4:6] == ([0, 2], 1)
