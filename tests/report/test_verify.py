"""A report's claims hold when they are checked, and none that was tampered with does, whoever signed it again."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import factories
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from xaibench.data import Data, load_data
from xaibench.errors import InputError
from xaibench.evaluate import Evaluation, Plan, run
from xaibench.files import file_digest, write_json
from xaibench.report import Report, write_report
from xaibench.report.verify import FalseClaimError, verify
from xaibench.types import Classifier

PLAN = Plan(
    model="factories:digits",
    data="digits",
    n=14,
    samples=1,
    attacks=("fgsm", "pgd:steps=3,restarts=2"),
    explainers=("saliency",),
    eps=0.06,
    curve=(0.02, 0.2),
    minimal=4,
    corruptions=3,
)
GROUPS = ["document", "model", "data", "clean", "attacks", "proofs", "robustness", "self-checks", "distances"]
GROUPS += ["corruptions", "explanations", "interpretability", "digest", "page"]
UNSEEN = {"results.robustness.curves.rejected"}
"""What cannot be found again from the examples; the digest of the document alone covers it."""


@pytest.fixture(scope="module")
def parts() -> tuple[Classifier, Data]:
    return factories.digits(), load_data("digits", n=14)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(run(PLAN), tmp_path_factory.mktemp("honest") / "report").parent


@pytest.fixture
def forged(honest: Path, tmp_path: Path) -> Path:
    return shutil.copytree(honest, tmp_path / "forged")  # type: ignore[no-any-return]


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every number, with the way to it."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, (*path, key))
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from leaves(part, (*path, place))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


def changed(document: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(document))
    here = copy
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = value
    return copy  # type: ignore[no-any-return]


def first_false(folder: Path, *parts: Any) -> str:
    try:
        for _ in verify(folder, *parts):
            pass
    except (FalseClaimError, InputError) as error:
        return str(error)
    return ""


def sign(folder: Path) -> None:
    """What a forger would do: make all digests those of the files as they now are."""
    document = json.loads((folder / "report.json").read_text())
    document["files"] = {name: file_digest(folder / name) for name in document["files"]}
    report = Report.model_validate(document)
    evaluation = Evaluation(
        plan=report.plan,
        model=report.model,
        data=report.data,
        results=report.results,
        adversarials=load_file(folder / "adversarials.safetensors"),
        attributions=load_file(folder / "attributions.safetensors"),
        versions=report.versions,
        seconds={},
    )
    report = report.model_copy(update={"results_digest": evaluation.digest})
    with suppress(ValueError):  # some numbers are such nonsense that nothing can be said of them
        report = report.model_copy(update={"summary": evaluation.summary})
    timings = report.timings.model_copy(update={"page_digest": file_digest(folder / "index.html")})
    report = report.model_copy(update={"timings": timings, "digest": report.own_digest()})
    write_json(folder / "report.json", report.model_dump(mode="json"))


def test_an_honest_report_holds(honest: Path) -> None:
    claims = {claim.name: claim.found for claim in verify(honest, factory=PLAN.model)}
    assert list(claims) == GROUPS
    assert "14 samples of digits" in claims["data"]
    assert "misclassified as stated" in claims["attacks"]


def test_a_linear_model_is_proved_wherever_it_is_not_broken(honest: Path) -> None:
    """Linear bounds are exact there, and so is one step along the signs: the bracket closes."""
    robustness = Report.read(honest).results.robustness
    assert robustness is not None
    low, high = robustness.bracket
    assert 0 < low == high < 1


def test_no_number_can_be_changed(honest: Path, forged: Path) -> None:
    document = json.loads((honest / "report.json").read_text())
    numbers = [(path, value) for path, value in leaves(document) if path[0] != "timings"]
    assert len(numbers) > 500
    for path, value in numbers:
        write_json(forged / "report.json", changed(document, path, value + 1))
        with pytest.raises((FalseClaimError, InputError)):
            next(verify(forged))


def other(value: float) -> float:
    """A number that could stand in the place of another: a share stays one."""
    if isinstance(value, float) and 0 <= value <= 1:
        return value - 0.25 if value >= 0.5 else value + 0.25
    return value + 1


def test_no_number_can_be_changed_and_signed_again(honest: Path, forged: Path, parts: tuple[Classifier, Data]) -> None:
    """One number of each kind: each follows from model, data and examples, so digests are no way around it."""
    document = json.loads((honest / "report.json").read_text())
    kinds = {}
    for path, value in leaves({"results": document["results"]}):
        kinds[".".join(part for part in path if isinstance(part, str))] = (path, value)
    kinds = {kind: found for kind, found in kinds.items() if "card" not in kind}
    assert kinds.keys() > UNSEEN
    refused = set()
    for kind, (path, value) in kinds.items():
        write_json(forged / "report.json", changed(document, path, other(value)))
        try:
            sign(forged)
        except ValidationError:  # it contradicts what else the report says
            refused.add(kind)
            continue
        false = first_false(forged, *parts)
        assert bool(re.match(r"index.html|$", false)) == (kind in UNSEEN), (kind, false)
    assert not refused & UNSEEN
    assert len(refused) < len(kinds) / 2


@pytest.mark.parametrize("name", ["adversarials.safetensors", "attributions.safetensors", "index.html", "report.json"])
def test_no_byte_can_be_changed(name: str, honest: Path, forged: Path) -> None:
    whole = (honest / name).read_bytes()
    end = whole.index(b'"timings"') if name == "report.json" else len(whole)
    for place in random.Random(0).sample(range(end), 12):
        (forged / name).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises((FalseClaimError, InputError)):
            next(verify(forged))


def row_broken(tensors: dict[str, Tensor]) -> int:
    at = tensors["broken_at/fgsm"]
    return int(((at > 0) & (at < 4)).nonzero()[0])


def beyond_the_ball(tensors: dict[str, Tensor]) -> None:
    row = row_broken(tensors)
    tensors["adversarials/fgsm"][row] = 1 - tensors["inputs"][row]


def out_of_the_box(tensors: dict[str, Tensor]) -> None:
    tensors["adversarials/fgsm"][row_broken(tensors), 0, 0, 0] = -1e-4


def not_fooled(tensors: dict[str, Tensor]) -> None:
    row = row_broken(tensors)
    tensors["adversarials/fgsm"][row] = tensors["inputs"][row]


def broken_earlier(tensors: dict[str, Tensor]) -> None:
    rows = (tensors["broken_at/fgsm"] > 1) & (tensors["broken_at/fgsm"] < 4)
    tensors["broken_at/fgsm"][rows] = 1


def another_label(tensors: dict[str, Tensor]) -> None:
    tensors["labels"][0] = (tensors["labels"][0] + 1) % 10


def another_input(tensors: dict[str, Tensor]) -> None:
    tensors["inputs"][0, 0, 3, 3] += 0.01


def another_class(tensors: dict[str, Tensor]) -> None:
    row = row_broken(tensors)
    tensors["predictions/fgsm"][row] = (tensors["predictions/fgsm"][row] + 1) % 10


def moved_beyond_the_ball(tensors: dict[str, Tensor]) -> None:
    tensors["manipulated/saliency"][0, 0] = 1 - tensors["manipulated/saliency"][0, 0]


def moved_into_another_class(tensors: dict[str, Tensor]) -> None:
    """An adversarial example in place of an input of the same class."""
    row = row_broken(tensors)
    tensors["manipulated/saliency"][-1] = tensors["adversarials/fgsm"][row]


def proved_after_all(tensors: dict[str, Tensor]) -> None:
    row = ((tensors["proved_at"] == 0) & (tensors["broken_at/fgsm"] <= 2)).nonzero()[0]
    tensors["proved_at"][row] = 2


FORGERIES: dict[Callable[[dict[str, Tensor]], None], str] = {
    beyond_the_ball: "not a misclassified valid input",
    out_of_the_box: "not a misclassified valid input",
    not_fooled: "not a misclassified valid input",
    broken_earlier: "not a misclassified valid input",
    another_label: "labels",
    another_input: "inputs",
    another_class: "is stated as class",
    moved_beyond_the_ball: "not a valid one of the same class",
    moved_into_another_class: "not a valid one of the same class",
    proved_after_all: "proved",
}


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.__name__)
def test_no_example_can_be_forged(
    forgery: Callable[[dict[str, Tensor]], None], forged: Path, parts: tuple[Classifier, Data]
) -> None:
    path = forged / "adversarials.safetensors"
    tensors = load_file(path)
    forgery(tensors)
    save_file(tensors, path)
    sign(forged)
    assert FORGERIES[forgery] in first_false(forged, *parts)


def test_no_explanation_can_be_forged(forged: Path, parts: tuple[Classifier, Data]) -> None:
    path = forged / "attributions.safetensors"
    tensors = load_file(path)
    next(iter(tensors.values()))[0, 2, 2] += 1.0
    save_file(tensors, path)
    sign(forged)
    assert "attributions" in first_false(forged, *parts)


def test_another_page_is_noticed(forged: Path, parts: tuple[Classifier, Data]) -> None:
    page = forged / "index.html"
    page.write_text(page.read_text().replace("Robust accuracy on 14 samples", "Robust accuracy on 99 samples"))
    sign(forged)
    assert "index.html does not show" in first_false(forged, *parts)


def test_another_weight_is_noticed(
    honest: Path, parts: tuple[Classifier, Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = factories.digits()
    with torch.no_grad():
        next(iter(other.module.parameters()))[0, 0] += 1e-6  # type: ignore[attr-defined]
    assert "model.digest" in first_false(honest, other, parts[1])


def test_other_samples_are_noticed(honest: Path, parts: tuple[Classifier, Data]) -> None:
    model, data = parts
    assert isinstance(data.inputs, Tensor)
    relabelled = replace(data, labels=data.labels.flip(0), digest="0" * 64)
    assert "data.digest" in first_false(honest, model, relabelled)


def test_a_report_on_objects_wants_them(parts: tuple[Classifier, Data], tmp_path: Path) -> None:
    model, data = parts
    write_report(run(PLAN, model, data), tmp_path)
    with pytest.raises(InputError, match="as an object"):
        list(verify(tmp_path))
    assert [claim.name for claim in verify(tmp_path, model, data)] == GROUPS


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a report"):
        next(verify(tmp_path))
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(InputError, match="expected a report"):
        next(verify(tmp_path))


def test_code_that_a_report_names_runs_only_when_the_reader_names_it_too(
    honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trap.py").write_text("from pathlib import Path\nPath('sprung').touch()\n")
    forged = tmp_path / "report"
    shutil.copytree(honest, forged)
    values = json.loads((forged / "report.json").read_text())
    values["plan"]["model"] = "trap:make"
    (forged / "report.json").write_text(json.dumps(values))
    report = Report.read(forged)
    signed = report.model_copy(update={"digest": report.own_digest()})
    (forged / "report.json").write_text(signed.model_dump_json())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="expected --model trap:make, since a report runs no code unless you name it"):
        list(verify(forged))
    assert not Path("sprung").exists()
    with pytest.raises(InputError, match="function at trap:make"):
        list(verify(forged, factory="trap:make"))
    assert Path("sprung").exists()
