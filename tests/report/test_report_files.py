"""``report.json`` and its published schema, and the tensors beside it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from safetensors.torch import load_file

import xaibench
from xaibench.errors import InputError
from xaibench.evaluate import Evaluation, Plan, run
from xaibench.files import file_digest
from xaibench.report import Report, report_schema, write_report
from xaibench.report.verify import verify


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return run(Plan(model="factories:digits", data="digits", n=30, samples=2, attacks=("fgsm",), checks=False))


@pytest.fixture(scope="module")
def folder(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(evaluation, tmp_path_factory.mktemp("report")).parent


def test_the_published_schema_is_the_one_of_the_code(root: Path) -> None:
    """`python -m xaibench.report docs/report.schema.json` brings it up to date."""
    assert json.loads((root / "docs" / "report.schema.json").read_text()) == report_schema()


def test_a_report_fulfils_the_published_schema(root: Path, folder: Path) -> None:
    schema = json.loads((root / "docs" / "report.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    report = json.loads((folder / "report.json").read_text())
    validator.validate(report)
    for damaged in (
        {**report, "schema_version": 4},
        {**report, "extra": 1},
        {key: value for key, value in report.items() if key != "results_digest"},
        {**report, "results": {**report["results"], "clean": {**report["results"]["clean"], "accuracy": "high"}}},
    ):
        assert not validator.is_valid(damaged)


def test_a_report_is_read_back_as_it_was(folder: Path, evaluation: Evaluation) -> None:
    report = Report.model_validate_json((folder / "report.json").read_text())
    assert report.results == evaluation.results
    assert report.plan == evaluation.plan
    assert report.results_digest == evaluation.digest


def test_the_tensors_are_those_of_the_report(folder: Path, evaluation: Evaluation) -> None:
    report = json.loads((folder / "report.json").read_text())
    assert report["files"] == {path.name: file_digest(path) for path in folder.glob("*.safetensors")}
    adversarials = load_file(folder / "adversarials.safetensors")
    assert set(adversarials) == {
        "ids",
        "inputs",
        "labels",
        "predictions",
        "adversarials/fgsm",
        "broken_at/fgsm",
        "predictions/fgsm",
        "proved_at",
        "minimal/examples",
        "minimal/rows",
        "manipulated/saliency",
        "manipulated/integrated_gradients",
    }
    of_all = {
        name: tensor for name, tensor in adversarials.items() if not name.startswith(("minimal/", "manipulated/"))
    }
    assert all(len(tensor) == 30 for tensor in of_all.values())
    assert adversarials["manipulated/saliency"].shape == (4, 16, 1, 8, 8)
    attributions = load_file(folder / "attributions.safetensors")
    for sample in evaluation.explanations:
        for map_ in sample.clean.maps:
            assert attributions[map_.key].shape == adversarials["inputs"][0].shape


def test_a_file_in_place_of_the_folder_is_refused(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="expected a folder"):
        write_report(evaluation, tmp_path / "out")


def test_running_a_plan_with_a_folder_writes_its_report(tmp_path: Path, folder: Path, evaluation: Evaluation) -> None:
    again = xaibench.run(evaluation.plan, out=tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {path.name for path in folder.iterdir()}
    stored = Report.model_validate_json((tmp_path / "new" / "report.json").read_text())
    assert stored.results_digest == again.digest == evaluation.digest


_INTERPRETED = ("assessed", "compared", "manipulated")


def test_a_report_of_the_second_version_still_opens(folder: Path, tmp_path: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    plan = {key: value for key, value in report["plan"].items() if key not in _INTERPRETED}
    results = {key: value for key, value in report["results"].items() if key != "interpretability"}
    (tmp_path / "report.json").write_text(json.dumps({**report, "schema_version": 2, "plan": plan, "results": results}))
    assert Report.read(tmp_path).results.interpretability is None
    assert Report.read(tmp_path).results.explanations == Report.read(folder).results.explanations


def test_a_report_of_the_first_version_still_opens(folder: Path, tmp_path: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    later = ("attacks", "proved", "unproved", "per_class", "confusion_matrix", "checks", "minimal")
    robustness = {key: value for key, value in report["results"]["robustness"].items() if key not in later}
    results = {key: value for key, value in report["results"].items() if key not in ("corruptions", "interpretability")}
    plan = {
        key: value
        for key, value in report["plan"].items()
        if key not in ("proofs", "checks", "thorough", "minimal", "corruptions", *_INTERPRETED)
    }
    old = {key: value for key, value in report.items() if key != "digest"}
    old |= {"schema_version": 1, "plan": plan, "results": {**results, "robustness": robustness}}
    old["timings"] = {key: report["timings"][key] for key in ("finished", "seconds")}
    (tmp_path / "report.json").write_text(json.dumps(old))
    assert Report.read(tmp_path).results.clean == Report.read(folder).results.clean
    with pytest.raises(InputError, match="version 3"):
        next(verify(tmp_path))
