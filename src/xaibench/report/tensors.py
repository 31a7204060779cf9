"""The tensors beside a report: read where they are the ones that it was written with, and fit what it says."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from xaibench.errors import InputError, first_line
from xaibench.files import file_digest
from xaibench.report.schema import Report

__all__ = ["ADVERSARIALS", "ATTRIBUTIONS", "read_adversarials", "read_attributions"]

ADVERSARIALS, ATTRIBUTIONS = "adversarials.safetensors", "attributions.safetensors"
_DIMENSIONS = {"image": 3, "text": 1}
"""Of one sample; a table's row may be kept in any form."""


def read_adversarials(folder: Path | str, report: Report) -> dict[str, Tensor]:
    """The samples of a report and what attacks made of them, see `xaibench.evaluate.Evaluation`.

    Those of the first version may lack what came later. What is missing, damaged, another report's, or does not fit
    the report's samples, attacks and classes raises `InputError`.
    """
    tensors = _read(Path(folder) / ADVERSARIALS, report)
    robustness, n = report.results.robustness, report.data.n
    attacks = [curve.attack for curve in robustness.curves] if robustness else []
    most = dict.fromkeys(["labels", "predictions"], len(report.model.class_names) - 1)
    for attack in attacks:
        most[f"predictions/{attack}"] = most["labels"]
        most[f"broken_at/{attack}"] = len(robustness.radii) if robustness else 0
    made = [f"adversarials/{attack}" for attack in attacks]
    first = report.schema_version == 1
    words = report.model.task == "text"
    _need(tensors, [*made, *([] if first and words else ["inputs"]), *([] if first else ["ids", *most])], ADVERSARIALS)
    if "inputs" in tensors:
        _check_samples(tensors["inputs"], report)
    for name in made:
        same = tensors[name].shape == tensors["inputs"].shape and tensors[name].dtype == tensors["inputs"].dtype
        _check(name, same, ADVERSARIALS)
    for name in tensors.keys() & {"ids", *most}:
        _check(name, tensors[name].shape == (n,) and _within(tensors[name], most.get(name)), ADVERSARIALS)
    if robustness is not None and robustness.minimal is not None:
        _need(tensors, ["minimal/rows"], ADVERSARIALS)
        rows = tensors["minimal/rows"]
        _check("minimal/rows", rows.shape == (robustness.minimal.n,) and _within(rows, n - 1), ADVERSARIALS)
    return tensors


def read_attributions(folder: Path | str, report: Report, inputs: Tensor | None) -> dict[str, Tensor]:
    """The values of a report's maps by their keys, each in the shape of its sample; refused as `read_adversarials`.

    ``inputs`` are those of the report, where it has them.
    """
    tensors = _read(Path(folder) / ATTRIBUTIONS, report)
    for sample in report.results.explanations:
        for view, words in ((sample.clean, sample.tokens), (sample.attacked, sample.attacked_tokens)):
            shape = None if inputs is None else inputs.shape[1:]
            if report.model.task == "text":
                shape = torch.Size([len(words or ())])
            for key in [one.key for one in view.maps] if view is not None else []:
                _need(tensors, [key], ATTRIBUTIONS)
                _check(key, tensors[key].shape == shape and tensors[key].is_floating_point(), ATTRIBUTIONS)
    return tensors


def _check_samples(inputs: Tensor, report: Report) -> None:
    features = report.data.feature_names if report.model.task == "tabular" else None
    fits = len(inputs) == report.data.n and inputs.ndim - 1 == _DIMENSIONS.get(report.model.task, inputs.ndim - 1)
    _check("inputs", fits and (features is None or inputs[0].numel() == len(features)), ADVERSARIALS)


def _read(path: Path, report: Report) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = file_digest(path)
        if found != report.files.get(path.name):
            raise InputError(
                f"expected {path.name} as the report in {path.parent} was written with, got a file with another digest"
            )
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"expected the tensors of a report at {path}, got: {first_line(error)}") from None


def _need(tensors: dict[str, Tensor], names: list[str], file: str) -> None:
    missing = next((name for name in names if name not in tensors), None)
    if missing is not None:
        raise InputError(f"expected {missing!r:.80} in {file}, which the report speaks of, got none")


def _check(name: str, fits: bool, file: str) -> None:
    if not fits:
        raise InputError(f"expected {name!r:.80} in {file} to fit the samples that the report is about, got others")


def _within(numbers: Tensor, most: int | None) -> bool:
    """Whether these are whole numbers from 0, up to ``most`` where there is one."""
    return numbers.dtype == torch.int64 and (
        not len(numbers) or (int(numbers.min()) >= 0 and (most is None or int(numbers.max()) <= most))
    )
