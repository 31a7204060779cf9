"""Runs as pages show them: one that another session took away is a calm line, and so is what hinders a start."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from xaibench.files import write_json
from xaibench.jobs.locks import try_lock
from xaibench.places import runs_home

Opened = Callable[..., AppTest]
GONE = "That run is not here any more"


@pytest.fixture
def stopped() -> Path:
    """The folder of a run of the Robustness page that was stopped."""
    folder = runs_home() / "stopped"
    folder.mkdir(parents=True)
    told = {"kind": "report", "title": "One", "arguments": ["report", "none"], "out": None, "created": 1, "queued": 1}
    write_json(folder / "job.json", told)
    write_json(folder / "ended.json", {"code": 130, "ended": 2.0})
    return folder


@pytest.mark.parametrize("button", ["resume-stopped", "remove-stopped"])
def test_a_run_that_another_session_removed(opened: Opened, stopped: Path, button: str) -> None:
    app = opened("robustness", model="toy-image", run="stopped")
    shutil.rmtree(stopped)
    app.button(key=button).click().run()
    assert not app.exception
    assert not app.error


@pytest.mark.parametrize("page", ["compare", "explanations", "robustness", "harden"])
@pytest.mark.parametrize("name", ["![x](http://evil/p.png)", "../..", "gone"])
def test_an_address_that_names_no_run(opened: Opened, page: str, name: str) -> None:
    app = opened(page, model="toy-image", run=name, comparison=name, ranking_run=name, view="ranking")
    assert not app.exception
    assert not app.error
    assert not any("evil" in one.value for one in (*app.info, *app.warning, *app.markdown))


def test_damaged_records_of_a_run_harm_no_page(opened: Opened, stopped: Path) -> None:
    (stopped / "running.json").write_text('{"started": "x"}', encoding="utf-8")
    (stopped / "progress.json").write_text("[" * 100_000, encoding="utf-8")
    for page in ("robustness", "harden"):
        app = opened(page, model="toy-image", run="stopped")
        assert not app.exception
        assert not app.error


def test_a_home_that_cannot_be_written_is_said_in_a_line(
    opened: Opened, toy_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XAIBENCH_RUNS_HOME", str(tmp_path / "file" / "runs"))
    app = opened("compare", a="toy-image", b="toy-table")
    next(button for button in app.button if button.label == "Compare them").click().run()
    assert not app.exception
    assert any("cannot be written" in error.value for error in app.error)


def alive(kind: str, *arguments: str) -> Path:
    """The folder of a run that seems to run for as long as the test does."""
    folder = runs_home() / kind
    told = {"kind": kind, "title": f"The {kind}", "arguments": arguments, "out": None, "created": 1, "queued": 1}
    write_json(folder / "job.json", told)
    write_json(folder / "running.json", {"started": 1.0})
    assert try_lock(folder / "lock") is not None
    return folder


PLACES = {
    ("report", "report", "toy-image"): ("robustness", "run"),
    ("harden", "harden", "toy-image"): ("harden", "run"),
    ("compare", "compare", "toy-image", "toy-table"): ("compare", "comparison"),
    ("rank", "rank-explainers", "toy-image"): ("explanations", "ranking_run"),
    ("verify", "verify", "somewhere/digits-cnn"): ("reports", "verified"),
}


def test_runs_of_all_kinds_are_listed_on_reports_and_stopped_there(opened: Opened) -> None:
    folders = [alive(*told) for told in PLACES]
    app = opened("reports")
    assert not app.exception
    for folder in folders:
        app.button(key=f"end-{folder.name}").click().run()
        assert (folder / "stop").exists()
        assert app.button(key=f"end-{folder.name}").label == "Stopping"
        assert app.button(key=f"end-{folder.name}").disabled


@pytest.mark.parametrize("told", PLACES)
def test_a_run_in_the_list_leads_to_its_page(opened: Opened, told: tuple[str, ...]) -> None:
    folder, (page, key) = alive(*told), PLACES[told]
    app = opened("reports")
    app.button(key=f"open-{folder.name}").click().run()
    assert not app.exception
    assert app.session_state["_address.page"] == page
    assert app.session_state["_address.kept"][key] == folder.name


def test_a_training_that_goes_on_is_shown_unless_the_reader_chooses_another_view(opened: Opened) -> None:
    folder = alive("harden", "harden", "toy-image")
    assert opened("harden", model="toy-table").selectbox(key="run").value == "new"
    app = opened("harden", model="toy-image")
    assert not app.exception
    assert app.selectbox(key="run").value == folder.name
    assert folder.name in app.query_params["run"], "so that its end is said, too"
    app.selectbox(key="run").set_value("new").run()
    assert app.run().selectbox(key="run").value == "new"
    assert not app.exception


def test_a_waiting_run_names_what_it_waits_for(opened: Opened, stopped: Path) -> None:
    (stopped / "ended.json").unlink()
    assert try_lock(stopped / "lock") is not None
    alive("verify", "verify", "somewhere/digits-cnn")
    app = opened("robustness", model="toy-image", run="stopped")
    assert any("Waits for another run" in one.value for one in app.caption)
    assert app.button(key="ahead-verify").label == "The verify"


def test_a_link_in_a_part_of_a_page_is_followed_also_when_it_is_gone(stopped: Path) -> None:
    def part() -> None:
        import streamlit as st

        from xaibench.pages.shared.links import TARGET
        from xaibench.pages.shared.running import show_job

        if st.session_state.get("runs", 0) == 0:
            st.session_state["runs"] = 1
            st.session_state[TARGET] = "reports"
            show_job("stopped")
        st.session_state.pop(TARGET, None)
        st.markdown("gone on")

    app = AppTest.from_function(part, default_timeout=60).run()
    assert not app.exception
    assert [one.value for one in app.markdown] == ["gone on"], "the run was not drawn: all began again"


def test_a_full_queue_is_said_in_a_line(opened: Opened, toy_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xaibench.jobs.queue.MOST_WAITING", 0)
    app = opened("compare", a="toy-image", b="toy-table")
    next(button for button in app.button if button.label == "Compare them").click().run()
    assert not app.exception
    assert any("wait for their turn already" in error.value for error in app.error)


def test_a_folder_of_a_models_name_in_the_working_directory_is_not_taken(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy-image").mkdir()
    (tmp_path / "toy-image" / "config.json").write_text("{}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    import streamlit as st

    st.cache_resource.clear()
    app = opened("explain", model="toy-image", method="saliency")
    assert not app.exception
    assert not app.error
