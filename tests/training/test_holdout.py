"""Held-out rows: nested in those of the model that a training starts from, else said to have been seen before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from xaibench.card import Card
from xaibench.data import Data, load_data
from xaibench.reading import percent
from xaibench.rng import permutation
from xaibench.training import Recipe, harden, train
from xaibench.training.holdout import holdout, seen_by

ROWS = 400


@pytest.fixture(scope="module")
def rows() -> Data:
    return load_data("digits", "train", ROWS)


def plan(**changes: Any) -> Recipe:
    values: dict[str, Any] = {"name": "tiny", "data": "digits", "n": ROWS, "epochs": 1, "batch_size": 128}
    net = {} if "init" in changes else {"architecture": {"name": "small_cnn", "params": {"width": 4, "hidden": 16}}}
    return Recipe.of(values | net | changes)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(plan(), out=tmp_path_factory.mktemp("source") / "m")


@pytest.fixture(scope="module")
def greedy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(plan(validation=0), out=tmp_path_factory.mktemp("greedy") / "m")


def test_without_an_initial_model_the_rows_are_the_first_of_a_permutation(rows: Data) -> None:
    found, order = holdout(plan(validation=0.2), rows), permutation(ROWS, 0, "validation")
    assert torch.equal(found.held, order[:80])
    assert torch.equal(found.trained, order[80:])


@pytest.mark.parametrize(
    ("changes", "count"),
    [({}, 40), ({"seed": 1}, 40), ({"validation": 0.2}, 40), ({"seed": 2, "validation": 0.05}, 20)],
)
def test_rows_that_the_initial_model_was_trained_on_are_not_held_out(
    changes: dict[str, Any], count: int, rows: Data, source: Path
) -> None:
    apart = set(permutation(ROWS, 0, "validation")[:40].tolist())
    found = holdout(plan(init=str(source), **changes), rows)
    assert len(found.held) == count
    assert set(found.held.tolist()) <= apart
    assert found.seen == 0
    assert sorted([*found.held.tolist(), *found.trained.tolist()]) == list(range(ROWS))


def test_the_same_seed_and_share_hold_out_the_same_rows_in_the_same_order(rows: Data, source: Path) -> None:
    assert torch.equal(holdout(plan(init=str(source)), rows).held, holdout(plan(), rows).held)


def test_rows_are_known_by_their_ids_in_other_selections(source: Path) -> None:
    other = load_data("digits", "train")
    trained = load_data("digits", "train", ROWS).ids[permutation(ROWS, 0, "validation")[40:]]
    assert torch.equal(seen_by(source, other), torch.isin(other.ids, trained))
    assert not seen_by(source, load_data("digits", "test")).any()


def test_a_chain_of_models_leaves_out_what_any_of_them_was_trained_on(rows: Data, source: Path, tmp_path: Path) -> None:
    second = train(plan(init=str(source), seed=5, validation=0.05), rows, out=tmp_path / "second")
    assert int((~seen_by(second, rows)).sum()) == 20
    found = holdout(plan(init=str(second), seed=6), rows)
    assert found.seen == 0
    assert not (seen_by(source, rows) | seen_by(second, rows))[found.held].any()


def test_a_model_of_rows_that_are_not_at_hand_may_have_seen_everything(rows: Data, tmp_path: Path) -> None:
    out = train(plan(n=None), rows.take(range(50, 200)), out=tmp_path / "m")
    assert bool(seen_by(out, rows).all())


def test_epochs_that_are_judged_on_rows_seen_before_say_so(
    rows: Data, source: Path, greedy: Path, tmp_path: Path
) -> None:
    for start, seen in ((greedy, 40), (source, None)):
        out = train(plan(init=str(start)), out=tmp_path / f"{seen}")
        assert [line.get("validation_seen") for line in Card.read(out / "config.json").history] == [seen]


def test_a_model_that_began_with_itself_or_with_one_that_is_gone_may_have_seen_everything(
    rows: Data, source: Path, tmp_path: Path
) -> None:
    out = train(plan(init=str(source)), out=tmp_path / "again")
    text = (out / "config.json").read_text()
    for origin in (out, tmp_path / "gone"):
        (out / "config.json").write_text(text.replace(str(source), str(origin)))
        assert bool(seen_by(out, rows).all())


def test_what_hardening_says_of_given_data_is_true(rows: Data, source: Path, greedy: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 1, "objective": "fgsm_rs", "probe": {"attack": "fgsm"}, "n": None}
    clean = harden(source, rows, out=tmp_path / "a", seed=1, **options)
    assert str(clean.before) == (
        f"clean {percent(clean.before.clean)}, under attack {percent(clean.before.robust)}, of 40 rows"
    )
    assert (clean.before.n, clean.before.seen, clean.after.seen, clean.validation_seen) == (40, 0, 0, 0)
    assert "trained on" not in str(clean)
    biased = harden(greedy, rows, out=tmp_path / "b", **options)
    assert (biased.before.seen, biased.after.seen, biased.validation_seen) == (40, 40, 40)
    assert str(biased).count("trained on") == 3
    anew = harden(source, rows, out=tmp_path / "c", seed=1, from_scratch=True, **options)
    assert (anew.before.seen > 20, anew.after.seen, anew.validation_seen) == (True, 0, 0)
    only = harden(source, rows, out=tmp_path / "d", validation=0, **options)
    assert (only.before.seen, only.after.seen, only.after.n) == (360, 400, 400)
