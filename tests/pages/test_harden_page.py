"""The Harden page: its results, the plan of a training, and trainings in processes of their own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest
from tiny_jobs import ended, until

from xaibench.card import Card
from xaibench.errors import InputError
from xaibench.files import file_digest
from xaibench.jobs import Job, jobs, resume, start, stop
from xaibench.pages.harden import launch
from xaibench.pages.harden.curves import Log, alarms, held_out, loss_chart
from xaibench.pages.harden.plan import Plan
from xaibench.pages.harden.results import Outcome, outcome_of, published
from xaibench.reading import percent
from xaibench.registry import Spec
from xaibench.training.hardening import default_objective
from xaibench.training.objectives import objectives, objectives_for

Opened = Callable[..., AppTest]


@pytest.fixture
def own_models(toy_models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A models home that a test may add to."""
    home = tmp_path / "models"
    shutil.copytree(toy_models, home)
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(home))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return home


def said(app: AppTest) -> str:
    """Everything that the page says, as one text."""
    assert not app.exception, app.exception
    return "\n".join(element.value for element in (*app.markdown, *app.caption, *app.subheader)).replace("\\", "")


def plan(**changes: object) -> Plan:
    """A training of seconds."""
    values = {"model": "toy-image", "objective": Spec("pgd_at", {"steps": 2}), "norm": "linf", "eps": 0.1}
    return Plan(**{**values, "epochs": 2, "rows": 500, "from_scratch": False, **changes})  # type: ignore[arg-type]


def test_shipped_results_are_there_before_any_training(
    opened: Opened, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(root / "models"))
    app = opened("harden", model="digits-cnn")
    text = said(app)
    before, after = (
        json.loads((root / f"reports/robust/{name}.json").read_text()) for name in ("digits-cnn", "digits-cnn-robust")
    )
    assert f"rose from {100 * before['robust_accuracy']:.1f} % to {100 * after['robust_accuracy']:.1f} %" in text
    assert "#### digits-cnn-robust: accuracy under attack rose" in text
    assert "**Show**" not in text, "no other copy was trained"
    assert f"({100 * before['clean_accuracy']:.1f} % to {100 * after['clean_accuracy']:.1f} %)" in text
    accuracies, _, overview = (json.loads(chart.proto.spec)["data"] for chart in app.get("plotly_chart"))
    history = Card.read(root / "models/digits-cnn-robust/config.json").history
    robust = next(line for line in accuracies if line["name"] == "under attack")
    assert len(history) == 60
    assert robust["name"] == "under attack"
    assert {line["name"] for line in overview if line.get("name")} == {
        "under attack, before",
        "under attack, hardened",
        "clean, hardened",
    }
    assert not jobs()


def test_every_published_pair_was_measured_alike() -> None:
    outcomes = published()
    assert len(outcomes) >= 9
    assert all(one.after == f"{one.before}-robust" and one.robust[1] > one.robust[0] for one in outcomes)


def test_copies_that_were_trained_since_are_named(
    opened: Opened, root: Path, own_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = own_models.parent / "all"
    home.mkdir()
    for name in ("digits-cnn", "digits-cnn-robust"):
        (home / name).symlink_to(root / "models" / name)
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(home))

    def job(name: str, model: str, state: str = "finished") -> SimpleNamespace:
        title = f"{name}, from {model}"
        return SimpleNamespace(
            id=name, title=title, out=home / name, arguments=("harden", model), state=state, is_alive=False
        )

    known = [job("digits-cnn-robust-2", "digits-cnn"), job("digits-cnn-robust", "digits-cnn")]
    known += [job("gone", "digits-cnn"), job("failed", "digits-cnn", "failed"), job("other", "digits-mlp")]
    for name in ("digits-cnn-robust-2", "failed", "other"):
        (home / name).mkdir()
    monkeypatch.setattr("xaibench.jobs.jobs", lambda *_: tuple(known))
    text = said(opened("harden", model="digits-cnn"))
    assert "#### digits-cnn-robust: accuracy under attack rose" in text
    assert "copies of digits-cnn besides it: 1 (digits-cnn-robust-2). Choose a training under **Show**" in text
    known[:0] = [job(f"copy-{place}", "digits-cnn") for place in range(4)]
    for place in range(4):
        (home / f"copy-{place}").mkdir()
    text = said(opened("harden", model="digits-cnn-robust"))
    assert "copies of digits-cnn besides it: 5 (copy-0, copy-1, copy-2 and 2 more)." in text
    known[:] = [job("other", "toy-image")]
    assert "copies of" not in said(opened("harden", model="digits-cnn"))


@pytest.mark.parametrize(
    ("clean", "robust", "expected"),
    [
        ((0.9, 0.85), (0.1, 0.6), "rose from 10 % to 60 %, at a cost of 5.0 points of clean accuracy"),
        ((0.8, 0.85), (0.6, 0.5), "fell from 60 % to 50 %, with 5.0 points more clean accuracy"),
        ((0.8, 0.8), (0.6, 0.6), "is still 60 %; clean accuracy is still 80 %"),
        ((0.8, 0.8), (0.60001, 0.60004), "Accuracy under attack is still 60 %;"),
        ((0.8, 0.8), (0.6, 0.61), "is 61 %, before 60 %: 1000 rows show no difference; clean"),
        ((0.8, 0.8), (0.0, 0.0), "is still 0 %;"),
    ],
)
def test_sentences_say_what_happened(clean: tuple[float, float], robust: tuple[float, float], expected: str) -> None:
    outcome = Outcome(before="a", after="b", clean=clean, robust=robust, norm="linf", eps=0.1, attack="pgd", n=1000)
    assert expected in outcome.sentence


def test_one_row_shows_no_gain() -> None:
    both = {"clean": (1.0, 1.0), "robust": (0.0, 1.0)}
    one, ten = (Outcome(before="a", after="b", **both, norm="linf", eps=0.1, attack="pgd", n=n) for n in (1, 10))
    assert (one.gain_is_shown, ten.gain_is_shown) == (False, True)
    assert "1 row shows no difference" in one.sentence


def test_no_outcome_of_what_is_not_finished() -> None:
    side = {"clean": 0.5, "robust": 7.0, "n": 9}
    for text in (
        json.dumps({"before": side, "after": side}),
        "",
        "{",
        "[]",
        '{"before": 1, "after": 2}',
        '{"before": {"clean": 1}, "after": {}}',
    ):
        assert outcome_of(text, before="a", after="b", norm="linf", eps=0.1) is None


def test_widgets_come_from_the_objective_and_its_limits_are_said(opened: Opened) -> None:
    app = opened("harden", model="toy-image", rows="500")
    assert "About" in said(app)
    assert [option.lower() for option in app.selectbox(key="objective").options][-1] == "trades"
    (steps,) = (widget for widget in app.number_input if widget.label == "Steps")
    steps.set_value(1000).run()
    assert "steps" in app.info[0].value
    assert not [button for button in app.button if button.label == "Start hardening"]


@pytest.mark.parametrize(("model", "task"), [("toy-image", "image"), ("toy-table", "tabular"), ("toy-text", "text")])
def test_every_objective_offered_makes_a_recipe(opened: Opened, model: str, task: str) -> None:
    app = opened("harden", model=model, rows="500", epochs="1")
    offered = app.selectbox(key="objective")
    names = [name for name in objectives_for(task) if name not in ("standard", "reconstruction")]  # type: ignore[arg-type]
    assert len(offered.options) == len([name for name in names if "distillation" not in name])
    assert offered.value == default_objective(task)  # type: ignore[arg-type]
    norm, eps = ("words", 2.0) if task == "text" else ("l2", 0.5)
    for name in (name for name in names if "distillation" not in name):
        recipe = plan(model=model, objective=Spec(name, {}), norm=norm, eps=eps).recipe()
        assert objectives.create(Spec(recipe.objective.name, recipe.objective.params)) == objectives.create(name)


def test_another_norm_begins_at_its_customary_radius(opened: Opened) -> None:
    app = opened("harden", model="toy-image", rows="500", eps="0.05")
    assert app.number_input(key="eps").value == 0.05
    app.selectbox(key="norm").set_value("l2").run()
    assert app.number_input(key="eps").value == pytest.approx(0.2)
    assert "About" in said(app)


def test_time_is_measured_and_too_long_a_training_refused(opened: Opened) -> None:
    short, long = launch.seconds_of(plan(epochs=1)), launch.seconds_of(plan(epochs=100))
    pace = (long - short) / 99
    assert 0 < pace < 10
    with pytest.raises(InputError, match="at most 8 hours"):
        launch.start(plan(), seconds=8.1 * 3600)
    assert not jobs()


def test_folder_of_a_copy_is_always_new(own_models: Path) -> None:
    assert launch.free_folder("toy-image") == own_models / "toy-image-robust"
    (own_models / "toy-image-robust").mkdir()
    assert launch.free_folder("toy-image") == own_models / "toy-image-robust-2"
    assert launch.free_folder("toy-image-robust") == own_models / "toy-image-robust-2"
    assert launch.free_folder("../Ä b" + "x" * 200).name.removesuffix("-robust") == "b" + "x" * 59


def test_training_becomes_a_model_and_the_page_shows_it(opened: Opened, own_models: Path) -> None:
    app = opened("harden", model="toy-table", epochs="2", eps="0.1")
    app.button(key="harden-start").click().run()
    (job,) = jobs("harden")
    assert job.id in app.query_params["run"]
    ended(job)
    app = opened("harden", run=job.id, model="toy-image")
    told = json.loads(jobs()[0].result)
    assert all(percent(told[side]["robust"]) in said(app) for side in ("before", "after"))
    assert "toy-table-robust is among the models" in said(app)
    assert "toy-table-robust" in app.sidebar.selectbox(key="model").options
    history = Card.read(own_models / "toy-table-robust" / "config.json").history
    charts = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    log = Log(own_models / "toy-table-robust" / "log.jsonl")
    log.look()
    assert len(charts) == 2
    shown = held_out(log.epochs)["under attack"][1]
    assert shown == pytest.approx([line["validation_robust_accuracy"] for line in history], rel=1e-5)
    next(button for button in app.button if button.label == "Compare the two").click().run()
    assert app.selectbox(key="a").value == "toy-table"
    assert app.selectbox(key="b").value == "toy-table-robust"


def test_stopped_and_resumed_training_ends_with_the_same_weights(own_models: Path) -> None:
    def begun(name: str) -> Job:
        out = own_models / name
        arguments = (*plan(epochs=6, rows=None).arguments, "--out", str(out), "--json")
        return start(arguments, kind="harden", title=name, out=out)

    undisturbed, disturbed = begun("one"), begun("two")
    work = own_models / "two" / ".training"
    until(disturbed, lambda job: (work / "checkpoint.safetensors").exists())
    stop(disturbed)
    assert ended(disturbed).state == "stopped"
    assert work.is_dir()
    assert ended(resume(disturbed)).state == "finished"
    assert ended(undisturbed).state == "finished"
    one, two = (file_digest(own_models / name / "model.safetensors") for name in ("one", "two"))
    assert one == two


def test_log_is_read_on_and_again_after_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = Log(path)
    log.look()
    assert (log.steps, log.epochs) == ([], [])
    lines = [json.dumps({"kind": "step", "step": step, "loss": 1 / step, "seconds": step}) for step in range(1, 6)]
    path.write_text("\n".join(lines[:3]) + "\n" + lines[3][:10])
    log.look()
    assert [line["step"] for line in log.steps] == [1, 2, 3]
    path.write_text("\n".join(lines[:4]) + "\n" + json.dumps({"kind": "epoch", "epoch": 1}) + "\nnot json\n")
    log.look()
    log.look()
    assert [line["step"] for line in log.steps] == [1, 2, 3, 4]
    assert log.epochs == [{"kind": "epoch", "epoch": 1}]
    again = json.dumps({"kind": "step", "step": 2, "loss": 0.1, "seconds": 9})
    path.write_text(lines[0] + "\n" + again + "\n")
    log.look()
    assert [line["seconds"] for line in log.steps] == [1, 9]


def test_long_losses_are_averaged_and_alarms_said_once() -> None:
    lines = [{"step": step, "loss": step % 2} for step in range(1, 5001)]
    curve = loss_chart(lines, unit="step").data[0]
    assert len(curve.x) == 200
    assert curve.x[-1] == 5000
    assert all(0.4 < loss < 0.6 for loss in curve.y)
    epochs = [{"epoch": 3, "alarm": "robust_overfitting"}, {"epoch": 4, "alarm": "robust_overfitting"}]
    (alarm,) = alarms(epochs)
    assert alarm.startswith("Robust overfitting since epoch 3: on held-out rows")
