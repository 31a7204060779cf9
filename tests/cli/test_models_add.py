"""``xaibench models add``: from a name on a Hub to a model that every command takes, or one line and nothing left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pretend_hub import REVISION, served, write_checkpoint

from xaibench.cli import run
from xaibench.intake import missing_package

NAME = "owner/tiny"
pytestmark = pytest.mark.skipif(
    missing_package("hf") is not None, reason="transformers is not installed: pip install 'xaibench[hub]'"
)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home of models, in reach of a Hub that holds one."""
    write_checkpoint(tmp_path / "hub" / NAME)
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(tmp_path / "models"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with served(tmp_path / "hub") as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield tmp_path / "models"


def asked(capfd: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run([*arguments, "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def test_a_name_becomes_a_model_of_every_command(models: Path, capfd: pytest.CaptureFixture[str]) -> None:
    added = asked(capfd, "models", "add", f"hf:{NAME}", "--data", "digits", "--title", "Tiny <b>")
    folder = Path(added["folder"])
    assert (folder.parent, folder.name) == (models, added["name"])
    shown = asked(capfd, "models", "show", added["name"])
    assert shown["summary"] == f"Tiny <b>: hf:{NAME} at revision {REVISION[:12]}"
    measured = asked(capfd, "evaluate", added["name"])
    assert measured["metrics"]["accuracy"] == pytest.approx(shown["metrics"]["test"]["accuracy"])
    attacked = asked(capfd, "attack", added["name"], "--attack", "fgsm", "--n", "2")
    assert [sample["prediction"] in shown["class_names"] for sample in attacked["samples"]] == [True, True]


def test_what_goes_on_is_told_and_the_name_alone_is_the_result(models: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "add", f"hf:{NAME}", "--data", "digits"]) == 0
    out, err = capfd.readouterr()
    assert [folder.name for folder in models.iterdir()] == [out.strip()]
    assert err.splitlines()[0] == "Asking the Hub for it"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((f"hf:{NAME}x", "--data", "digits"), "expected a public model of the Hugging Face Hub"),
        ((f"hf:{NAME}", "--data", "breast-cancer"), "expected data of images"),
        (("/etc/passwd", "--data", "digits"), "expected a name such as"),
        ((f"hf:{NAME}", "--data", "digit"), "expected data that are at hand here"),
        ((f"hf:{NAME}", "--data", "digits", "--title", "t" * 500), "title"),
    ],
)
def test_what_cannot_be_had_is_one_line(
    arguments: tuple[str, ...], message: str, models: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", "add", *arguments]) == 2
    out, err = capfd.readouterr()
    last = err.splitlines()[-1]
    assert last.startswith("xaibench: error: ")
    assert message in last
    assert not out
    assert not list(models.glob("*")), "nothing is left"


def test_downloads_that_are_off_stay_off(
    models: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XAIBENCH_DOWNLOADS", "off")
    assert run(["models", "add", f"hf:{NAME}", "--data", "digits"]) == 2
    assert "switched off" in capfd.readouterr().err
    assert not models.exists()
