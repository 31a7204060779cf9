"""From an evaluation to its files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from torch import Tensor

from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.evaluate import Evaluation, Plan
from xaibench.evaluate import run as evaluate
from xaibench.evaluate.shards import WORK, remove_work
from xaibench.files import atomic_path, file_digest, write_json, write_text
from xaibench.report.page import render
from xaibench.report.schema import Report
from xaibench.report.tensors import read_adversarials, read_attributions
from xaibench.types import Classifier, Progress

__all__ = ["redraw", "run", "write_report"]

_FINAL = ("adversarials.safetensors", "attributions.safetensors", "index.html", "report.json")


def run(
    plan: Plan,
    model: Classifier | None = None,
    data: Data | None = None,
    *,
    out: Path | str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a classifier as planned, and write the report to the folder ``out`` where one is named.

    ``model`` and ``data`` stand in for those that the plan names: objects of one's own need no file. The plan's
    ``model`` is then a label, and all rows of ``data`` are measured.

    An interrupted run goes on from its finished shards; an older report in ``out`` stays whole until this one is
    complete. Raises `InputError` for an unknown model or data set, and for data or a threat that does not fit the
    model.
    """
    evaluation = evaluate(plan, model, data, out=out, progress=progress)
    if out is not None:
        write_report(evaluation, out)
    return evaluation


def write_report(evaluation: Evaluation, out: Path | str) -> Path:
    """Write ``report.json``, ``index.html``, the adversarial examples and the attributions to a folder; give the page.

    Everything is written aside first and then put in place file by file, ``report.json`` last, so an older report in
    the folder stays whole until the new one is complete. The shards of this run are removed at the end, those of
    other plans that were not finished stay.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"expected a folder to write to, got the file {out}")
    staging = out / WORK / "report"
    staging.mkdir(parents=True, exist_ok=True)
    tensors = {"adversarials": evaluation.adversarials, "attributions": evaluation.attributions}
    for name, own in tensors.items():
        _save(own, staging / f"{name}.safetensors")
    files = {f"{name}.safetensors": file_digest(staging / f"{name}.safetensors") for name in tensors}
    report = Report.of(evaluation, files=files, finished=datetime.now(UTC).isoformat(timespec="seconds"))
    write_text(staging / "index.html", render(report, evaluation.adversarials, evaluation.attributions))
    timings = report.timings.model_copy(update={"page_digest": file_digest(staging / "index.html")})
    report = report.model_copy(update={"timings": timings})
    write_json(staging / "report.json", report.model_dump(mode="json"))
    for name in _FINAL:
        os.replace(staging / name, out / name)
    for folder in filter(None, (staging, evaluation.shards)):
        remove_work(folder)
    return out / "index.html"


def redraw(folder: Path | str) -> Path:
    """Draw the page of a finished report again, as this version draws it; its numbers stay untouched.

    Reports of older schemas are drawn too. Raises `InputError` where the folder lacks a report or its tensors, and for
    those that were changed after they were written.
    """
    folder = Path(folder)
    report = Report.read_unchanged(folder)
    adversarials = read_adversarials(folder, report)
    attributions = read_attributions(folder, report, adversarials.get("inputs"))
    bare = report.timings.model_copy(update={"page_digest": None})
    page = render(report.model_copy(update={"timings": bare}), adversarials, attributions)
    write_text(folder / "index.html", page)
    document = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    if "page_digest" in document["timings"]:
        document["timings"]["page_digest"] = file_digest(folder / "index.html")
        write_json(folder / "report.json", document)
    return folder / "index.html"


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, temporary)
