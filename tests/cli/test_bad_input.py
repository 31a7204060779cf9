"""Every bad input ends in one line, exit code 2, no traceback, and old results as they were."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xaibench.cli import run

OLD = "an older report"


@pytest.fixture
def workplace(tmp_path: Path, toy_models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with an older report in `out` and the toy models at hand."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(toy_models))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").write_text(OLD)
    return tmp_path


@pytest.fixture
def refused(workplace: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must be refused, and gives the line that it says."""

    def check(*arguments: str) -> str:
        code = run(arguments)
        out, err = capfd.readouterr()
        assert (code, out) == (2, ""), err
        assert err.startswith("xaibench: error: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        assert (workplace / "out" / "report.json").read_text() == OLD
        assert sorted(path.name for path in (workplace / "out").iterdir() if path.name != ".run") == ["report.json"]
        return err

    return check


REPORT = ("report", "toy-image", "--out", "out", "--n", "8")


@pytest.mark.parametrize(
    ("arguments", "expected", "got"),
    [
        (("report", "toy-imge", "--out", "out"), "'toy-image'", "'toy-imge'"),
        (("models", "show", "toy-tabel"), "'toy-table'", "'toy-tabel'"),
        (("evaluate", "no/such/folder"), "expected", "no/such/folder"),
        (("evaluate", "missing.keras"), "expected", "missing.keras"),
        (("evaluate", "toy-image", "--eps", "0.1"), "expected --attack with --eps", "none"),
        (("evaluate", "toy-text", "--attack", "autoattack"), "exists for text", "autoattack"),
        ((*REPORT, "--data", "digit"), "'digits'", "'digit'"),
        ((*REPORT, "--split", "tset"), "test", "'tset'"),
        ((*REPORT, "--n", "0"), "greater than or equal to 1", "0"),
        ((*REPORT, "--attack", "pdg"), "'pgd'", "'pdg'"),
        ((*REPORT, "--attack", "pgd:step=3"), "'steps'", "'step'"),
        ((*REPORT, "--attack", "pgd:steps=many"), "int", "'many'"),
        ((*REPORT, "--attack", "pgd:steps=0"), "`steps` >= 1", "0"),
        ((*REPORT, "--explainer", "salience"), "'saliency'", "'salience'"),
        ((*REPORT, "--norm", "l3"), "linf", "l3"),
        ((*REPORT, "--eps", "0"), "greater than 0", "0"),
        ((*REPORT, "--eps", "-0.1"), "greater than 0", "-0.1"),
        ((*REPORT, "--eps", "1.5"), "eps <= 1", "1.5"),
        ((*REPORT, "--eps", "nan"), "finite", "nan"),
        ((*REPORT, "--data", "breast-cancer"), "image", "tabular"),
        ((*REPORT, "--attack", "hotflip"), "verdict-quick, apgd_ce", "hotflip"),
        ((*REPORT, "--attack", "verdict:steps=3"), "no parameters", "verdict:steps=3"),
        ((*REPORT, "--norm", "words"), "linf, l2, l1 or l0", "words"),
        (("report", "toy-table", "--attack", "spatial", "--out", "out"), "tabular", "spatial"),
        (("report", "toy-text", "--attack", "pgd", "--out", "out"), "text (verdict", "pgd"),
        (("attack", "toy-image", "--attack", "pdg"), "'pgd'", "'pdg'"),
        (("attack", "toy-image", "--eps", "-1"), "greater than 0", "-1"),
        (("attack", "toy-image", "--norm", "l3"), "linf", "l3"),
        (("verify", "nowhere"), "a report", "nowhere"),
        (("check", "nowhere", "--min-robust", "0.4"), "a report", "nowhere"),
        (("data", "show", "digits", "--n", "100000"), "359", "100000"),
        ((*REPORT, "--weights", "none.pt"), "no `weights`", "none.pt"),
        ((*REPORT, "--mean", "0.5"), "no `mean`", "toy-image"),
        ((*REPORT, "--task", "sound"), "`options.task`", "'sound'"),
        ((*REPORT, "--bounds", "0"), "`options.bounds`", "'0'"),
        ((*REPORT, "--attack", "pgd", "--attack", "pgd:steps=20"), "once", "pgd, pgd:steps=20"),
        (("train", "missing.toml"), "recipe", "missing.toml"),
    ],
)
def test_names_and_numbers(arguments: tuple[str, ...], expected: str, got: str, refused: Callable[..., str]) -> None:
    line = refused(*arguments)
    assert expected in line
    assert got in line


def arrays(path: Path, **values: object) -> str:
    np.savez(path, **values)  # type: ignore[arg-type]
    return str(path)


def test_wrong_shape(workplace: Path, refused: Callable[..., str]) -> None:
    path = arrays(workplace / "big.npz", images=np.zeros((20, 1, 9, 9), np.float32), labels=np.arange(20) % 10)
    line = refused(*REPORT, "--data", path)
    assert "(1, 8, 8)" in line
    assert "(1, 9, 9)" in line.replace("[", "(").replace("]", ")")


def test_not_a_number(workplace: Path, refused: Callable[..., str]) -> None:
    images = np.zeros((20, 1, 8, 8), np.float32)
    images[3, 0, 2, 2] = np.nan
    assert "NaN" in refused(*REPORT, "--data", arrays(workplace / "nan.npz", images=images, labels=np.arange(20) % 10))


@pytest.mark.parametrize("labels", [np.full(20, -1), np.full(20, 0.5)], ids=["negative", "fraction"])
def test_labels_out_of_range(labels: np.ndarray, workplace: Path, refused: Callable[..., str]) -> None:
    path = arrays(workplace / "labels.npz", images=np.zeros((20, 1, 8, 8), np.float32), labels=labels)
    assert "label" in refused(*REPORT, "--data", path)


def test_labels_beyond_the_classes(workplace: Path, refused: Callable[..., str]) -> None:
    labels = np.arange(24) % 12
    path = arrays(workplace / "many.npz", images=np.zeros((24, 1, 8, 8), np.float32), labels=labels)
    line = refused(*REPORT, "--data", path)
    assert "10 classes" in line
    assert "12" in line


def test_a_single_class(workplace: Path, refused: Callable[..., str]) -> None:
    images = np.zeros((20, 1, 8, 8), np.float32)
    path = arrays(workplace / "one.npz", images=images, labels=np.zeros(20, np.int64))
    assert "classes" in refused(*REPORT, "--data", path)
    (workplace / "lone.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1))\n"
    )
    refused("report", "lone:make", "--data", path, "--out", "out")


def test_inputs_outside_the_declared_range(workplace: Path, refused: Callable[..., str]) -> None:
    images = np.full((20, 1, 8, 8), 3.0, np.float32)
    path = arrays(workplace / "bright.npz", images=images, labels=np.arange(20) % 10)
    line = refused(*REPORT, "--data", path)
    assert "[0, 1]" in line or "0..1" in line or "within" in line


def test_outputs_that_disagree_with_the_class_names(workplace: Path, refused: Callable[..., str]) -> None:
    (workplace / "short.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    line = refused("report", "short:make", "--data", "digits", "--class-names", "a,b,c", "--out", "out")
    assert "3" in line
    assert "10" in line


def test_empty_set(workplace: Path, refused: Callable[..., str]) -> None:
    path = arrays(workplace / "none.npz", images=np.zeros((0, 1, 8, 8), np.float32), labels=np.zeros(0, np.int64))
    assert "empty" in refused(*REPORT, "--data", path, "--split", "all")


def test_no_labels(workplace: Path, refused: Callable[..., str]) -> None:
    (workplace / "plain.csv").write_text("a,b\n1,2\n3,4\n")
    line = refused("report", "toy-table", "--data", "plain.csv", "--out", "out")
    assert "label column" in line
    assert "a, b" in line


def test_truncated_weights(workplace: Path, toy_models: Path, refused: Callable[..., str]) -> None:
    folder = workplace / "broken"
    folder.mkdir()
    for path in (toy_models / "toy-image").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "model.safetensors" in refused("report", "./broken", "--out", "out")


class Explosive:
    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (Path("exploded"),)


@pytest.mark.parametrize("name", ["weights.pt", "weights.pkl", "weights.keras"])
def test_pickled_weights_are_never_run(name: str, workplace: Path, refused: Callable[..., str]) -> None:
    (workplace / name).write_bytes(pickle.dumps(Explosive()))
    refused("evaluate", name, "--data", "digits")
    assert not (workplace / "exploded").exists()


def test_recipe_with_an_unknown_key(workplace: Path, refused: Callable[..., str]) -> None:
    (workplace / "r.toml").write_text('name = "a"\ndata = "digits"\nepoch = 3\n[architecture]\nname = "small_cnn"\n')
    line = refused("train", "r.toml")
    assert "unknown key `epoch`" in line
    assert not (workplace / "models").exists()


def test_recipe_with_an_unknown_architecture(workplace: Path, refused: Callable[..., str]) -> None:
    (workplace / "r.toml").write_text('name = "a"\ndata = "digits"\n[architecture]\nname = "smal_cnn"\n')
    line = refused("train", "r.toml", "--out", "model")
    assert "'small_cnn'" in line


def test_recipe_that_is_not_toml(workplace: Path, refused: Callable[..., str]) -> None:
    (workplace / "r.toml").write_text("name: a\n")
    assert "TOML" in refused("train", "r.toml")


def test_output_that_is_a_file(workplace: Path, refused: Callable[..., str]) -> None:
    (workplace / "taken").write_text("mine")
    assert "folder" in refused("report", "toy-image", "--n", "8", "--out", "taken")
    assert (workplace / "taken").read_text() == "mine"


def test_factory_that_is_not_there(refused: Callable[..., str]) -> None:
    assert "no_such_module" in refused("evaluate", "no_such_module:make", "--data", "digits")
    assert "load_it" in refused("evaluate", "json:load_it", "--data", "digits")


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_factories_that_break(command: str, workplace: Path, refused: Callable[..., str]) -> None:
    (workplace / "torn.py").write_text("def make(:\n")
    (workplace / "rude.py").write_text("def make():\n    raise SystemExit(0)\ndef sized(n):\n    return n\n")
    for place, got in (
        ("torn:make", "SyntaxError"),
        ("rude:make", "SystemExit"),
        ("rude:sized", "'n'"),
        (":make", ":"),
    ):
        assert got in refused(command, place, "--data", "digits")


def test_a_description_that_fits_no_network(workplace: Path, toy_models: Path, refused: Callable[..., str]) -> None:
    folder = workplace / "odd"
    shutil.copytree(toy_models / "toy-image", folder)
    card = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**card, "input_shape": [1]}))
    assert "(channels, height, width)" in refused("report", "./odd", "--out", "out")
    (folder / "config.json").write_text(json.dumps({**card, "input_shape": [1, 9, 9]}))
    assert "(1, 8, 8)" in refused("report", "./odd", "--out", "out")
    card["architecture"]["params"]["width"] = -4
    (folder / "config.json").write_text(json.dumps(card))
    assert "small_cnn" in refused("report", "./odd", "--out", "out")


def test_weights_that_are_not_numbers(workplace: Path, refused: Callable[..., str]) -> None:
    (workplace / "spoilt.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def make():\n"
        "    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
        "    nn.init.constant_(module[1].weight, float('nan'))\n"
        "    return module\n"
    )
    for command in ("report", "evaluate"):
        extra = ("--out", "out") if command == "report" else ()
        assert "NaN" in refused(command, "spoilt:make", "--data", "digits", "--n", "8", *extra)
