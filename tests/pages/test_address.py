"""Choices in the address: which follow the reader, which follow their default, and what a link sets."""

from __future__ import annotations

import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.testing.v1 import AppTest

from xaibench.pages.shared import address


def two_pages() -> None:
    """Two pages of two widgets each; the model's name decides the customary epsilon."""
    import streamlit as st

    from xaibench.pages.shared.address import address, choose, put

    def show() -> None:
        page = st.session_state.get("page", "one")
        models = ["small", "large"]
        model = choose(
            st.selectbox, "Model", models, key="model", default="small", valid=models.__contains__, sticks=True
        )
        usual = {"small": 0.1, "large": 0.2}[model] + (0.5 if page == "two" else 0.0)
        choose(st.number_input, "Epsilon", key="eps", default=usual, read=float, valid=lambda eps: 0 < eps < 1)
        row = 1 if page == "one" else 2
        choose(st.number_input, "Sample", key="sample", default=row, read=int, write="{:g}".format, sticks=True)
        st.button("Link", on_click=put, kwargs={"model": "large", "eps": "0.7"})

    with address(st.session_state.get("page", "one")):
        show()


def opened(**told: str) -> AppTest:
    app = AppTest.from_function(two_pages, default_timeout=60)
    for key, value in told.items():
        app.query_params[key] = value
    return app.run()


def state(app: AppTest) -> tuple[str, float, int]:
    assert not app.exception
    return app.selectbox(key="model").value, app.number_input(key="eps").value, app.number_input(key="sample").value


def turned(app: AppTest, page: str) -> AppTest:
    """As the reader goes to another page by the menu, which empties the address."""
    app.session_state["page"] = page
    app.query_params.clear()
    return app.run()


def test_the_address_is_read_and_holds_what_makes_a_finding_and_what_is_not_a_default() -> None:
    app = opened(model="large", eps="0.3")
    assert state(app) == ("large", 0.3, 1)
    assert app.query_params == {"model": "large", "eps": "0.3", "sample": "1"}
    app.number_input(key="eps").set_value(0.2).run()
    assert app.query_params == {"model": "large", "sample": "1"}, "0.2 is customary for the large one"


def test_what_is_stated_is_in_the_address_though_it_is_the_default_which_it_goes_along_with() -> None:
    def page() -> None:
        import streamlit as st

        from xaibench.pages.shared.address import address, choose

        with address("one"):
            large = st.toggle("Large", key="large")
            choose(st.number_input, "Epsilon", key="eps", default=0.2 if large else 0.1, read=float, stated=True)

    app = AppTest.from_function(page, default_timeout=60).run()
    assert app.query_params == {"eps": "0.1"}
    app.toggle(key="large").set_value(True).run()
    assert app.query_params == {"eps": "0.2"}
    again = AppTest.from_function(page, default_timeout=60)
    again.query_params["eps"], again.session_state["large"] = "0.1", True
    assert again.run().number_input(key="eps").value == 0.1, "the finding is what it was, whatever is customary now"


def test_a_way_back_to_the_page_without_choices_is_not_barred() -> None:
    app = opened()
    assert app.query_params["model"] == "small"
    app.query_params.clear()
    assert not app.run().query_params, "written again, it would be one more step forward"
    app.number_input(key="eps").set_value(0.3).run()
    assert app.query_params == {"model": "small", "eps": "0.3", "sample": "1"}


def test_nonsense_in_the_address_counts_as_the_default() -> None:
    assert state(opened(model="../x", eps="nan", sample="one")) == ("small", 0.1, 1)


def test_an_unmoved_widget_goes_along_with_its_default_and_a_moved_one_stays() -> None:
    app = opened()
    app.selectbox(key="model").set_value("large").run()
    assert state(app) == ("large", 0.2, 1)
    app.number_input(key="eps").set_value(0.4).run()
    app.selectbox(key="model").set_value("small").run()
    assert state(app) == ("small", 0.4, 1)


def test_a_choice_holds_however_late_the_run_that_was_cut_short_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def page() -> None:
        import streamlit as st

        from xaibench.pages.shared.address import address, choose

        with address("one"):
            eps = choose(st.number_input, "Epsilon", key="eps", default=0.1, read=float)
            if st.session_state.get("seen") != eps:
                st.session_state["seen"] = eps
                st.rerun()
            choose(st.text_input, "Name", key="name", default="")

    monkeypatch.setattr(address, "_STALE", -1.0)
    app = AppTest.from_function(page, default_timeout=60)
    app.query_params["eps"], app.query_params["name"] = "0.3", "x"
    app.run().number_input(key="eps").set_value(0.4).run()
    assert app.number_input(key="eps").value == 0.4
    assert app.query_params == {"eps": "0.4", "name": "x"}


def test_choices_follow_to_another_page_but_defaults_only_where_they_stick() -> None:
    app = turned(opened(), "two")
    model, eps, sample = state(app)
    assert (model, sample) == ("small", 1), "the sample that was seen is seen again"
    assert eps == 0.6, "the customary epsilon of the other page"
    app.number_input(key="eps").set_value(0.3).run()
    assert state(turned(app, "one")) == ("small", 0.3, 1)


def test_a_link_sets_choices_over_what_was_there() -> None:
    app = opened(eps="0.3")
    app.button[0].click().run()
    assert state(app) == ("large", 0.7, 1)


def test_a_browser_that_lost_what_it_was_told_is_told_again() -> None:
    app = opened(eps="0.3")
    app.run()
    assert not app.number_input(key="eps").proto.set_value, "it knows"
    app._run(WidgetStates())  # as after a connection that broke off before the page had come
    widget = app.number_input(key="eps").proto
    assert (widget.set_value, widget.value) == (True, 0.3)
    assert state(app) == ("small", 0.3, 1)


def test_what_a_part_of_a_page_cannot_do_is_one_plain_line() -> None:
    def page() -> None:
        from xaibench.errors import InputError
        from xaibench.pages.shared.address import part

        @part
        def draw() -> None:
            raise InputError("expected *less*")

        draw()

    app = AppTest.from_function(page, default_timeout=60).run()
    assert not app.exception
    assert [error.value for error in app.error] == [r"expected \*less\*"]


def test_what_an_address_names_that_is_not_here_is_said_until_it_is_chosen() -> None:
    app = opened(model="![no](such)")
    assert state(app)[0] == "small"
    assert app.info[0].value.replace("\\", "").startswith("The address names what is not here: Model ![no](such).")
    assert app.run().info, "a rerun of the page's own does not wipe it away"
    app.selectbox(key="model").set_value("large").run()
    assert not app.info
    assert not opened(model="large").info
