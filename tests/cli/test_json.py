"""What `--json` prints is what the documentation says, and nothing else is on standard output."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from xaibench.cli import run

ROOT = Path(__file__).resolve().parents[2]
RECIPE = 'name = "quick"\ndata = "breast-cancer"\nepochs = 1\n[architecture]\nname = "mlp"\n'
LEFT_OUT = ("--samples", "--assessed", "--proofs", "--minimal", "--manipulated")
REPORT = ("report", "toy-table", "--n", "8", "--attack", "fgsm", "--no-checks", *(f"{what}=0" for what in LEFT_OUT))
ASKED = {
    "models": ("models",),
    "data": ("data",),
    "data show": ("data", "show", "digits", "--n", "9"),
    "evaluate": ("evaluate", "toy-table"),
    "evaluate --attack": ("evaluate", "toy-table", "--attack", "fgsm", "--n", "4"),
    "explain": ("explain", "toy-table", "--methods", "saliency", "--quick"),
    "attack": ("attack", "toy-table", "--attack", "fgsm", "--n", "3"),
    "check": ("check", "reports/toy-table", "--min-clean", "0"),
    "verify": ("verify", "reports/toy-table"),
    "rank-explainers": ("rank-explainers", "toy-table", "--methods", "saliency,occlusion", "--n", "4"),
    "train": ("train", "quick.toml"),
    "harden": ("harden", "toy-table", "--objective", "fgsm_rs", "--epochs", "1", "--recipe", "few.toml"),
    "compress": ("compress", "toy-table", "--prune", "0.5"),
    "search": ("search", "quick.toml", "--trials", "1"),
}


def documented() -> dict[str, set[str]]:
    """Keys by command, from the table in the documentation."""
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    table = text.partition("| command | keys |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([a-z -]+)` \| (.*) \|$", table, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", keys)) for name, keys in rows}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, toy_models: Path) -> Path:
    """A folder with a recipe and a report."""
    folder = tmp_path_factory.mktemp("json")
    (folder / "quick.toml").write_text(RECIPE)
    (folder / "few.toml").write_text('batch_size = 256\n[probe]\nattack = "fgsm"\nsamples = 40\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XAIBENCH_MODELS_HOME", str(toy_models))
        assert run(REPORT) == 0
    return folder


def test_all_that_is_documented_is_asked() -> None:
    assert set(documented()) - {"models add"} == set(ASKED), "models add needs a Hub: it is asked among its own tests"


@pytest.mark.parametrize("name", ASKED)
def test_json_has_the_documented_keys(
    name: str,
    workplace: Path,
    toy_models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(toy_models))
    assert run([*ASKED[name], "--json"]) == 0
    found: Any = json.loads(capfd.readouterr().out)
    assert set(found[0] if name in {"data", "models"} else found) == documented()[name]
