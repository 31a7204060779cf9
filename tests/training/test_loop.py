"""The loop's log, its checkpoints under trouble, and what it does about an alarm."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from xaibench.card import Card
from xaibench.data import load_data
from xaibench.errors import InputError
from xaibench.threats import L2, Constrained, Linf
from xaibench.training import Recipe, train
from xaibench.training.log import TrainingLog
from xaibench.training.loop import _Run
from xaibench.training.threat import threat_config, training_threat
from xaibench.training.validation import scores
from xaibench.zoo import load_model


def small(**changes: Any) -> Recipe:
    return Recipe.of(
        {
            "name": "tiny",
            "data": "digits",
            "architecture": {"name": "small_cnn", "params": {"width": 4, "hidden": 16}},
            "epochs": 3,
            "batch_size": 256,
            "optimizer": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9},
            "checkpoint_seconds": 0,
        }
        | changes
    )


ATTACKED = {"objective": {"name": "fgsm_rs"}, "threat": {"norm": "linf", "eps": 0.05}}
PROBED = {**ATTACKED, "probe": {"attack": "fgsm", "samples": 40}}


class _KilledError(Exception):
    pass


def killer(at: int) -> Any:
    def progress(stage: str, done: int, total: int, info: dict[str, Any]) -> None:
        if stage == "train" and done == at:
            raise _KilledError

    return progress


def lines(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in found]


def test_the_log_has_a_line_for_each_step_and_epoch_and_a_resumed_one_is_the_same(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(small(**PROBED), out=whole)
    for at in (3, 6, 9):
        with pytest.raises(_KilledError):
            train(small(**PROBED), out=broken, resume=at > 3, progress=killer(at))
    train(small(**PROBED), out=broken, resume=True)
    logged = lines(whole)
    assert lines(broken) == logged
    assert [line["step"] for line in logged if line["kind"] == "step"] == list(range(1, 16))
    epochs = [line for line in logged if line["kind"] == "epoch"]
    history = Card.read(whole / "config.json").history
    assert Card.read(broken / "config.json").history == history
    assert [line["epoch"] for line in epochs] == [1, 2, 3]
    for line, kept in zip(epochs, history, strict=True):
        assert {key: value for key, value in line.items() if key != "kind"} == pytest.approx(kept, rel=1e-5)
        steps = [step for step in logged if step["kind"] == "step" and step["epoch"] == line["epoch"]]
        assert line["loss"] == pytest.approx(sum(step["loss"] for step in steps) / len(steps), rel=1e-4)
    assert "held out, attacked" in (whole / "README.md").read_text()


def test_a_log_is_cut_to_what_the_checkpoint_knows(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with TrainingLog(path) as log:
        log.write({"step": 1})
        size = log.flush()
        log.write({"step": 2})
    with path.open("a") as file:
        file.write('{"ste')  # torn
    with TrainingLog(path, keep=size) as log:
        log.write({"step": 2, "loss": 1 / 3})
    assert path.read_text() == '{"step": 1}\n{"step": 2, "loss": 0.333333}\n'


@pytest.mark.parametrize("place", ["checkpoint", "log", "model"])
def test_a_full_disk_loses_nothing(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, out = train(small(), out=tmp_path / "whole"), tmp_path / "m"
    full = OSError(errno.ENOSPC, "No space left on device")

    def fail(*_: Any, **__: Any) -> None:
        raise full

    def breaking(at: int) -> Any:
        def progress(stage: str, done: int, total: int, info: dict[str, Any]) -> None:
            if stage == "train" and done == at:
                target = {
                    "checkpoint": "safetensors.torch.save_file",
                    "log": "xaibench.training.log.os.fstat",
                    "model": "xaibench.training.session.shutil.copyfile",
                }[place]
                monkeypatch.setattr(target, fail)

        return progress

    with pytest.raises(InputError, match=r"No space left on device; the last checkpoint is whole: --resume") as caught:
        train(small(), out=out, progress=breaking(7))
    assert "\n" not in str(caught.value)
    assert not (out / "config.json").exists()
    monkeypatch.undo()
    train(small(), out=out, resume=True)
    assert load_model(out).digest == load_model(whole).digest
    assert lines(out) == lines(whole)


def test_a_loss_that_is_not_finite_leaves_the_best_model_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(stage: str, done: int, total: int, info: Mapping[str, Any]) -> None:
        if stage == "epoch" and done == 2:
            monkeypatch.setattr("xaibench.training.loop.rate", lambda *_: 1e30)

    with pytest.raises(InputError, match=r"got (nan|inf) in epoch 3, step 2 of 5.*model of epoch [12].*best") as caught:
        train(small(checkpoint_seconds=100), out=tmp_path / "m", progress=explode)
    assert not (tmp_path / "m" / "config.json").exists()
    best = load_model(tmp_path / "m" / ".training" / "best")
    test = load_data("digits", "test")
    assert float((best.predict(test.inputs) == test.labels).double().mean()) > 0.2
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_not_finite_leaves_the_last_checkpoint_where_no_epoch_is_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(stage: str, done: int, total: int, info: Mapping[str, Any]) -> None:
        if stage == "epoch" and done == 2:
            monkeypatch.setattr("xaibench.training.loop.rate", lambda *_: 1e30)

    plan = small(checkpoint_seconds=100, validation=0)
    with pytest.raises(InputError, match=r"in epoch 3, step 2 of 5; the model of epoch 2, the last that was") as caught:
        train(plan, out=tmp_path / "m", progress=explode)
    last = tmp_path / "m" / ".training" / "last"
    for part in (str(last), "a smaller learning rate", "in another folder (--out)", "`init`"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    whole = train(plan, out=tmp_path / "whole", keep_checkpoints=True)
    assert load_model(last).digest == load_model(whole / "checkpoints" / "epoch-0002").digest
    # What the message advises works.
    train(small(optimizer={"learning_rate": 1e-3}), out=tmp_path / "anew")
    train(str(last), "digits", out=tmp_path / "from-it", epochs=1, optimizer={"learning_rate": 1e-3})


def test_a_validation_loss_that_overflows_is_divergence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def huge(self: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([3e38, -3e38]).repeat(len(x), 5)

    def epoch_two(stage: str, done: int, total: int, info: Mapping[str, Any]) -> None:
        if stage == "epoch":
            monkeypatch.setattr("xaibench.training.torch_learner.TorchLearner.logits", huge)

    with pytest.raises(InputError, match=r"got a loss of inf in epoch 2.*model of epoch 1, the best") as caught:
        train(small(), out=tmp_path / "m", progress=epoch_two)
    assert "\n" not in str(caught.value)


def test_what_fails_before_the_first_step_leaves_nothing(tmp_path: Path) -> None:
    rows = load_data("digits", "train")
    one = rows.take(torch.nonzero(rows.labels == 3).flatten())
    cases: list[tuple[str, Any, Recipe]] = [
        ("at least two classes, got .* of 3", one, small()),
        ("0 < eps <= 1, the size of the box", rows, small(**{**PROBED, "threat": {"norm": "linf", "eps": 1.5}})),
        ("a threat to train against", rows, small(objective={"name": "fgsm_rs"})),
        ("unknown attack 'pgdd'", rows, small(**{**PROBED, "probe": {"attack": "pgdd"}})),
        ("a probe for image", rows, small(**{**PROBED, "probe": {"attack": "hotflip"}})),
        ("at least 20 held-out rows", rows, small(**PROBED, validation=0.01)),
        ("a probe or an adversarial objective", rows, small(threat=ATTACKED["threat"], validation=0)),
        ("linf, l2 or l1 for image data", rows, small(**{**ATTACKED, "threat": {"norm": "words", "eps": 2}})),
    ]
    for message, data, plan in cases:
        with pytest.raises(InputError, match=message) as caught:
            train(plan, data, out=tmp_path / "out")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists(), message

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small(checkpoint_seconds=100), out=tmp_path / "out", progress=stop)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"monitor": "robust_accuracy"}, "with `monitor`"),
        ({**ATTACKED, "patience": 2, "probe": {"samples": 0}}, "with `patience`"),
        ({**ATTACKED, "validation": 0, "probe": {"on_overfitting": "stop"}}, "on_overfitting"),
        ({**ATTACKED, "monitor": "accuracy", "probe": {"on_overfitting": "rewind"}}, "'rewind'"),
        ({"schedule": {"name": "cyclic", "warmup": 0.1}}, "no `warmup` with cyclic"),
    ],
)
def test_recipes_that_need_scores_nobody_measures_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(**changes)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    other = {"name": "small_cnn", "params": {"width": 8, "hidden": 16}}
    for name, plan in (("a", small()), ("b", small(architecture=other))):
        with pytest.raises(_KilledError):
            train(plan, out=tmp_path / name, progress=killer(3))
    file = Path(".training") / "checkpoint.safetensors"
    (tmp_path / "a" / file).write_bytes((tmp_path / "b" / file).read_bytes())
    with pytest.raises(InputError, match="expected a checkpoint of this network") as caught:
        train(small(), out=tmp_path / "a", resume=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("action", ["report", "stop", "rewind"])
def test_what_an_alarm_does(action: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raised = iter([None, None, "robust_overfitting", None, None])
    monkeypatch.setattr("xaibench.training.loop.overfitting", lambda _: next(raised))
    robust = iter([0.5, 0.6, 0.4, 0.55, 0.3])
    monkeypatch.setattr("xaibench.training.validation.robust_accuracy", lambda *_, **__: next(robust))
    plan = small(**{**PROBED, "epochs": 5, "probe": {"samples": 40, "on_overfitting": action}})
    out = train(plan, out=tmp_path / "m", keep_checkpoints=True)
    history = Card.read(out / "config.json").history
    assert [line["epoch"] for line in history if "alarm" in line] == [3]
    assert len(history) == (3 if action == "stop" else 5)
    rates = [line["rate"] for line in history]
    assert rates[3:] == ([0.05, 0.05] if action == "rewind" else [0.1, 0.1] if action == "report" else [])
    assert [line.get("rewound_to") for line in history][2] == (2 if action == "rewind" else None)
    assert load_model(out).digest == load_model(out / "checkpoints" / "epoch-0002").digest


def alarm_in_the_second(monkeypatch: pytest.MonkeyPatch, robust: tuple[float, ...] = (0.9, 0.1, 0.8)) -> None:
    """An alarm after the second epoch, with probes of which the first is the best."""

    def alarm(scores: list[Any]) -> str | None:
        return "robust_overfitting" if scores and scores[-1].epoch == 2 else None

    def probed(learner: Any, data: Any, recipe: Any, threat: Any, epoch: int) -> dict[str, Any]:
        return scores(learner, data, recipe, threat, epoch) | {"validation_robust_accuracy": robust[epoch]}

    monkeypatch.setattr("xaibench.training.loop.overfitting", alarm)
    monkeypatch.setattr("xaibench.training.loop.scores", probed)


@pytest.mark.parametrize("robust", [(0.0, 0.0, 0.0), (0.4, 0.38, 0.4)])
def test_a_run_does_not_go_back_to_an_epoch_that_is_no_better(
    robust: tuple[float, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarm_in_the_second(monkeypatch, robust)
    plan = small(**{**PROBED, "probe": {"attack": "fgsm", "samples": 40, "on_overfitting": "rewind"}})
    history = Card.read(train(plan, out=tmp_path / "m") / "config.json").history
    assert len(history) == 2
    assert "alarm" in history[-1]
    assert "rewound_to" not in history[-1]


def test_a_rewind_brings_back_the_whole_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alarm_in_the_second(monkeypatch)
    states: list[dict[str, torch.Tensor]] = []
    conclude = _Run.conclude

    def watched(run: _Run) -> None:
        before = run.learner.state()
        conclude(run)
        states.extend([before, run.learner.state()])

    monkeypatch.setattr("xaibench.training.loop._Run.conclude", watched)
    plan = small(**{**PROBED, "ema": 0.9, "probe": {"attack": "fgsm", "samples": 40, "on_overfitting": "rewind"}})
    train(plan, out=tmp_path / "m")
    first, _, second, rewound, *_ = states
    assert {key.split(".")[0] for key in first} >= {"weights", "average", "optimizer", "updates"}
    assert not torch.equal(first["optimizer.0.momentum_buffer"], second["optimizer.0.momentum_buffer"])
    assert first.keys() == rewound.keys()
    assert all(torch.equal(value, rewound[key]) for key, value in first.items())


def test_a_run_that_was_rewound_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alarm_in_the_second(monkeypatch)
    plan = small(**{**PROBED, "ema": 0.9, "probe": {"attack": "fgsm", "samples": 40, "on_overfitting": "rewind"}})
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(plan, out=whole)
    for at in (9, 12):
        with pytest.raises(_KilledError):
            train(plan, out=broken, resume=at > 9, progress=killer(at))
    train(plan, out=broken, resume=True)
    assert load_model(broken).digest == load_model(whole).digest
    assert lines(broken) == lines(whole)


def test_a_threat_given_in_python_keeps_its_scale_and_rules() -> None:
    rows = load_data("breast-cancer", "train")
    names = rows.feature_names
    assert names is not None
    spans = torch.tensor(rows.bounds.upper) - torch.tensor(rows.bounds.lower)
    own = Linf(0.1, scale=tuple(spans.tolist()))
    ruled = Constrained(own, immutable=(2, 5), integer=(1,), upper=(*[None] * 29, 0.1))
    for threat in (own, ruled, Linf(0.1), L2(3.0, scale=(2.0,))):
        config = threat_config(threat, rows)
        made = training_threat(config, rows, None)  # type: ignore[arg-type]  # only texts need the model
        assert made is not None
        one = rows.inputs[:2].double()  # type: ignore[union-attr]  # a table
        assert made.full.distance(one, one + 0.01) == pytest.approx(threat.distance(one, one + 0.01))
    config = threat_config(ruled, rows)
    assert config.immutable == (names[2], names[5])
    assert config.upper == {names[29]: 0.1}
