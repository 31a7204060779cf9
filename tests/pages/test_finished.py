"""Finished documents: links out of the folders, too large and damaged ones harm no page that reads them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load, save_file
from streamlit.testing.v1 import AppTest
from torch import Tensor

from xaibench.errors import InputError
from xaibench.pages.compare.sources import comparisons, sources
from xaibench.pages.explanations.rankings import find_rankings
from xaibench.pages.harden.results import published
from xaibench.pages.reports.shelf import LEADERBOARD, read_items
from xaibench.pages.shared import finished

Opened = Callable[..., AppTest]


@pytest.fixture
def reports(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Some of the sample reports, in the folder that the app reads, and no others."""
    home = tmp_path / "reports"
    for name in ("digits-cnn", "digits-cnn-hardened", "explainers", "robust"):
        shutil.copytree(root / "reports" / name, home / name)
    for name in ("index.html", "leaderboard.json"):
        shutil.copy(root / "reports" / name, home / name)
    monkeypatch.setattr(finished, "reports_homes", lambda: (home,))
    return home


def test_links_out_of_the_folders_are_followed_by_no_page(reports: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    linked = (
        *("digits-cnn/report.json", "digits-cnn/adversarials.safetensors", "digits-cnn-hardened/compare.json"),
        *("explainers/evidence-cnn/ranking.json", "robust/digits-cnn.json", "index.html"),
    )
    for index, name in enumerate(linked):
        path = reports / name
        shutil.move(path, elsewhere / str(index))
        path.symlink_to(elsewhere / str(index))
    assert finished.report_names() == ()
    with pytest.raises(InputError, match="lies in"):
        finished.report("digits-cnn")
    assert finished.adversarials("digits-cnn") is None
    assert "report:digits-cnn" not in sources()
    assert not comparisons()
    assert "evidence-cnn" not in find_rankings()
    assert "digits-cnn" not in finished.judgements()
    (board,) = (item for item in read_items() if item.name == LEADERBOARD)
    assert (board.kind, board.page, board.files) == (None, None, ())


def test_too_large_files_are_not_read(reports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert finished.adversarials("digits-cnn") is not None
    assert {"digits-cnn-hardened"} <= set(comparisons())
    monkeypatch.setattr(finished, "_LARGEST_DOCUMENT", 1000)
    monkeypatch.setattr(finished, "_LARGEST_TENSORS", 1000)
    assert finished.report_names() == ()
    assert finished.adversarials("digits-cnn") is None
    assert not comparisons()
    assert not find_rankings()


def test_one_damaged_judgement_harms_no_other(opened: Opened, reports: Path) -> None:
    whole = published()
    for name, text in (("cifar10-cnn", "{"), ("mnist-cnn-robust", "[" * 100_000), ("digits-mlp", '{"n": "x"}')):
        (reports / "robust" / f"{name}.json").write_text(text, encoding="utf-8")
    assert {one.before for one in whole} - {one.before for one in published()} == {
        "cifar10-cnn",
        "mnist-cnn",
        "digits-mlp",
    }
    app = opened("harden", model="toy-image")
    assert not app.exception
    assert not app.error


def test_own_judgements_come_before_those_that_are_shipped(
    reports: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (reports / "robust").iterdir():
        if path.stem != "digits-cnn":
            path.unlink()
    monkeypatch.setattr(finished, "reports_homes", lambda: (reports, root / "reports"))
    assert len(finished.judgements()["digits-cnn"]) == 2
    assert len(finished.judgements()["digits-mlp"]) == 1


def replaced(place: Path, tensors: dict[str, Tensor]) -> None:
    place.unlink()
    save_file(tensors, place)


def test_tensors_of_another_report_are_not_shown(reports: Path, root: Path) -> None:
    place = reports / "digits-cnn" / "adversarials.safetensors"
    whole = load(place.read_bytes())
    assert finished.adversarials("digits-cnn") is not None
    place.unlink()  # what is mapped into memory is replaced, not written over
    shutil.copy(root / "tests" / "report" / "old" / "v3" / place.name, place)
    assert finished.adversarials("digits-cnn") is None
    place.unlink()
    shutil.copy(root / "reports" / "digits-cnn-robust" / place.name, place)  # of the same samples and attacks
    assert finished.adversarials("digits-cnn") is None
    assert finished.outcomes("digits-cnn", 4) == {}
    replaced(place, {key: value for key, value in whole.items() if key != "broken_at/pgd"})
    assert finished.adversarials("digits-cnn") is None
    replaced(place, {**whole, "labels": whole["labels"] + 1})
    assert finished.adversarials("digits-cnn") is None
    replaced(place, whole)
    assert finished.adversarials("digits-cnn") is not None


def test_outcomes_of_tensors_that_do_not_fit_are_none(reports: Path) -> None:
    place = reports / "digits-cnn" / "adversarials.safetensors"
    whole = load(place.read_bytes())
    assert len(finished.outcomes("digits-cnn", 4)) == len(whole["ids"])
    replaced(place, {**whole, "broken_at/pgd": whole["broken_at/pgd"][:3].clone()})
    assert finished.outcomes("digits-cnn", 4) == {}
    replaced(place, {**whole, "broken_at/pgd": whole["broken_at/pgd"][:, None].clone()})
    assert finished.outcomes("digits-cnn", 4) == {}
    replaced(place, {key: tensor[:, None] if key == "ids" else tensor for key, tensor in whole.items()})
    assert finished.outcomes("digits-cnn", 4) == {}


def test_a_report_of_the_first_version_is_shown_without_its_samples(opened: Opened, reports: Path, root: Path) -> None:
    shutil.rmtree(reports / "digits-cnn")
    shutil.copytree(root / "tests" / "report" / "old" / "v1", reports / "digits-cnn")
    told = reports / "digits-cnn" / "report.json"
    told.write_text(told.read_text().replace("factories:digits", "toy-image"), encoding="utf-8")
    app = opened("robustness", model="toy-image", section="samples")
    assert not app.exception
    assert any("without adversarial examples" in one.value for one in app.caption)
