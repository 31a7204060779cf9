"""Tensors beside a report that are not its own: refused in a line by whoever reads them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save_file
from torch import Tensor

from xaibench.cli import run
from xaibench.errors import InputError
from xaibench.files import file_digest
from xaibench.report import Report
from xaibench.report.tensors import ADVERSARIALS, ATTRIBUTIONS, read_adversarials, read_attributions

OLD = Path(__file__).parent / "old"
Tensors = dict[str, Tensor]


@pytest.fixture
def folder(tmp_path: Path, root: Path) -> Path:
    return shutil.copytree(root / "reports" / "digits-cnn", tmp_path / "digits-cnn")


def signed(folder: Path, change: Callable[[dict[str, Any]], object] | None = None) -> None:
    """Make the digests of a changed report fit again, so that only what it says can tell."""
    path = folder / "report.json"
    document = json.loads(path.read_text())
    if change is not None:
        change(document)
    document["files"] = {name: file_digest(folder / name) for name in document["files"]}
    path.write_text(json.dumps(document))
    document["digest"] = Report.read(folder).own_digest()
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("other", ["cancer-mlp", "digits-cnn-robust", "imdb-cnn"])
@pytest.mark.parametrize("name", [ADVERSARIALS, ATTRIBUTIONS])
def test_another_reports_tensors_are_refused(
    other: str, name: str, folder: Path, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(root / "reports" / other / name, folder / name)
    page = (folder / "index.html").read_bytes()
    commands: list[tuple[str, ...]] = [("report", str(folder))]
    if name == ADVERSARIALS:
        commands.append(("compare", str(root / "reports" / "digits-cnn"), str(folder), "--quick"))
    for told in ("another digest", "expected"):
        for command in commands:
            code = run(command)
            out, err = capfd.readouterr()
            assert (code, out, err.count("\n")) == (2, "", 1)
            assert told in err
            assert name in err
        if other == "digits-cnn-robust":  # of the same names and shapes
            break
        signed(folder)
    assert (folder / "index.html").read_bytes() == page


CHANGES: dict[str, tuple[Callable[[Tensors], object], str]] = {
    "no inputs": (lambda t: t.pop("inputs"), "'inputs'"),
    "no examples": (lambda t: t.pop("adversarials/pgd"), "'adversarials/pgd'"),
    "no rows": (lambda t: t.pop("ids"), "'ids'"),
    "nothing of what was broken": (lambda t: t.pop("broken_at/pgd"), "'broken_at/pgd'"),
    "inputs of fewer samples": (lambda t: t.update(inputs=t["inputs"][1:].clone()), "'inputs'"),
    "inputs that are no images": (lambda t: t.update(inputs=t["inputs"].flatten(1)), "'inputs'"),
    "examples of another form": (
        lambda t: t.update({"adversarials/pgd": t["adversarials/pgd"].repeat(1, 1, 2, 2)}),
        "'adversarials/pgd'",
    ),
    "classes that there are not": (lambda t: t.update(labels=t["labels"] + 1), "'labels'"),
    "classes that are no numbers": (lambda t: t.update(predictions=t["predictions"].float()), "'predictions'"),
    "radii that there are not": (lambda t: t.update({"broken_at/pgd": t["broken_at/pgd"] + 9}), "'broken_at/pgd'"),
    "rows that there are not": (lambda t: t.update({"minimal/rows": t["minimal/rows"] + 200}), "'minimal/rows'"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_tensors_that_do_not_fit_are_refused_whatever_their_digest(change: str, folder: Path) -> None:
    altered, said = CHANGES[change]
    tensors = load((folder / ADVERSARIALS).read_bytes())
    altered(tensors)
    save_file(tensors, folder / ADVERSARIALS)
    signed(folder)
    with pytest.raises(InputError, match=said):
        read_adversarials(folder, Report.read(folder))


def first_map(document: dict[str, Any]) -> dict[str, Any]:
    return document["results"]["explanations"][0]["clean"]["maps"][0]


def test_a_map_without_values_or_of_another_form_is_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    key = first_map(json.loads((folder / "report.json").read_text()))["key"]
    tensors = load((folder / ATTRIBUTIONS).read_bytes())
    for value in (torch.zeros(30), torch.zeros(1, 8, 8, dtype=torch.int64)):
        save_file({**tensors, key: value}, folder / ATTRIBUTIONS)
        signed(folder)
        assert run(["report", str(folder)]) == 2
        assert repr(key) in capfd.readouterr().err
    save_file(tensors, folder / ATTRIBUTIONS)
    signed(folder, lambda document: first_map(document).update(key="clean/none/7"))
    assert run(["report", str(folder)]) == 2
    assert capfd.readouterr().err.count("expected 'clean/none/7' in attributions.safetensors") == 1


def test_maps_of_other_words_are_refused(tmp_path: Path, root: Path) -> None:
    folder = shutil.copytree(root / "reports" / "imdb-cnn", tmp_path / "imdb-cnn")
    signed(folder, lambda document: document["results"]["explanations"][0]["tokens"].pop())
    report = Report.read(folder)
    with pytest.raises(InputError, match="to fit the samples"):
        read_attributions(folder, report, read_adversarials(folder, report)["inputs"])


def test_features_of_another_table_are_refused(tmp_path: Path, root: Path) -> None:
    folder = shutil.copytree(root / "reports" / "cancer-mlp", tmp_path / "cancer-mlp")
    signed(folder, lambda document: document["data"]["feature_names"].pop())
    with pytest.raises(InputError, match="'inputs'"):
        read_adversarials(folder, Report.read(folder))


@pytest.mark.parametrize("name", ["cancer-mlp", "digits-cnn", "digits-cnn-robust", "imdb-cnn"])
def test_the_tensors_of_the_sample_reports_are_their_own(name: str, root: Path) -> None:
    folder = root / "reports" / name
    report = Report.read_unchanged(folder)
    tensors = read_adversarials(folder, report)
    assert len(tensors["labels"]) == report.data.n
    assert read_attributions(folder, report, tensors["inputs"])
