"""Loading a model that somebody adds, trying it, and writing its folder: run in a process of its own."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xaibench.card import ArchitectureConfig, Card, DataConfig
from xaibench.cards import package_versions, write_card
from xaibench.classifiers.interface import Options
from xaibench.classifiers.weights import read_state
from xaibench.data import Data, load_data, measured_split, row_count
from xaibench.errors import InputError
from xaibench.evaluate import align, evaluate_clean
from xaibench.files import write_json
from xaibench.homes import WEIGHTS
from xaibench.intake.archives import check_keras, check_unpacked_size
from xaibench.intake.from_hub import weights_of_hub
from xaibench.intake.limits import MOST_CLASSES
from xaibench.intake.request import UPLOAD, Request
from xaibench.registry import Spec
from xaibench.types import Classifier
from xaibench.zoo import load_model

__all__ = ["examine"]

_MEASURED = 1000
"""Rows of the test split that it is measured on."""
_MEASURED_VALUES = 30_000_000
"""Numbers in these rows at most: 200 pictures of 224 x 224 pixels, for networks that take a second for some."""
_TRIED = 8


def examine(folder: Path, out: Path, name: str) -> None:
    """Make the folder ``out`` of a model ``name`` from ``request.json`` and the upload; refuses with `InputError`."""
    request = Request.model_validate_json((folder / "request.json").read_text(encoding="utf-8"))
    upload = folder / f"{UPLOAD}.{request.format}"
    if request.format == "keras":
        check_keras(upload, folder)
    elif request.format == "pt2":
        check_unpacked_size(upload)
    tokenizer = folder / "tokenizer.json"
    data = _rows(request.data)
    if request.format == "hub":
        upload = folder / f"{UPLOAD}.safetensors"
        request, options = weights_of_hub(request, data, folder, upload)
        data = data.take(range(min(len(data), _most_rows(math.prod(request.params["network_shape"])))))
    else:
        options = _options(request, data, tokenizer if tokenizer.is_file() else None)
    architecture = Spec(request.architecture, request.params) if request.architecture else None
    model = load_model(upload, architecture=architecture, **options)
    data = align(model, data)
    _try(model, data)
    out.mkdir()
    _write_weights(model, upload, out)
    if tokenizer.is_file():
        shutil.copyfile(tokenizer, out / "tokenizer.json")
    card = _card(request, name, model, data, options)
    write_json(out / "config.json", card.model_dump(mode="json"))
    again = load_model(out)
    if again.digest != model.digest:
        raise InputError("expected a model that is the same when stored and loaded again, got another one")
    changes = {"metrics": {data.split: evaluate_clean(again, data)}, "weights_digest": again.digest}
    write_json(out / "config.json", card.model_copy(update=changes).model_dump(mode="json"))
    write_card(out)


def _rows(name: str) -> Data:
    """Rows of the split that models are measured on, drawn by a seed."""
    split = measured_split(name)
    first = load_data(name, split, n=1, seed=0).inputs
    most = _most_rows(first.numel() if isinstance(first, Tensor) else 1)
    return load_data(name, split, n=min(most, row_count(name, split)), seed=0)


def _most_rows(values: int) -> int:
    """How many rows of so many numbers are worth the time."""
    return min(_MEASURED, max(_TRIED, _MEASURED_VALUES // values))


def _options(request: Request, data: Data, tokenizer: Path | None) -> Options:
    low, high = data.bounds.lower, data.bounds.upper
    options: dict[str, Any] = {
        "task": data.task,
        "class_names": request.class_names or data.class_names,
        "bounds": request.bounds or (low, high),
        "mean": request.mean,
        "std": request.std,
    }
    if isinstance(data.inputs, Tensor):
        options["input_shape"] = tuple(data.inputs.shape[1:])
    elif tokenizer is None:
        raise InputError("expected the tokenizer.json of a model that reads text, got none")
    else:
        options["tokenizer"] = tokenizer
        if request.format in ("safetensors", "pt"):
            options["input_shape"] = tuple(request.params.get("input_shape", ()))
    return Options(**options)  # type: ignore[typeddict-item]


def _try(model: Classifier, data: Data) -> None:
    """A few rows through the model: finite logits, one for each class, and the same again."""
    rows = data.take(range(min(_TRIED, len(data))))
    x = model.encode(rows.inputs) if isinstance(rows.inputs, tuple) else rows.inputs
    with torch.no_grad():
        first, second = model.logits(x), model.logits(x)
    classes = len(model.class_names)
    if first.shape != (len(rows), classes) or not 2 <= classes <= MOST_CLASSES:
        raise InputError(f"expected logits of shape ({len(rows)}, classes), got {tuple(first.shape)}")
    if not bool(first.isfinite().all()):
        raise InputError("expected finite logits, got NaN or infinity")
    if not torch.allclose(first, second, rtol=1e-3, atol=1e-3):
        raise InputError("expected the same logits for the same input, got others the second time")


def _write_weights(model: Classifier, upload: Path, out: Path) -> None:
    """Tensors are written anew, as nothing but tensors; programs are kept as they came."""
    target = out / WEIGHTS[model.framework]
    if model.framework != "torch":
        shutil.copyfile(upload, target)
        return
    from safetensors.torch import save_file

    save_file({name: value.contiguous().clone() for name, value in read_state(upload).items()}, target)


def _card(request: Request, name: str, model: Classifier, data: Data, options: Options) -> Card:
    shape = model.input_shape
    if shape is None or any(size is None for size in shape):
        raise InputError(f"expected a model of one input size, got {shape}")
    params = {key: list(value) if isinstance(value, tuple) else value for key, value in request.params.items()}
    return Card(
        name=name,
        summary=f"{request.title}: {request.summary}" if request.summary else request.title,
        task=model.task,
        framework=model.framework,  # type: ignore[arg-type]
        architecture=ArchitectureConfig(name=request.architecture or "uploaded", params=params),
        input_shape=tuple(int(size) for size in shape if size is not None),
        bounds=options["bounds"],  # type: ignore[arg-type]
        mean=options["mean"],  # type: ignore[arg-type]
        std=options["std"],  # type: ignore[arg-type]
        class_names=tuple(model.class_names),
        feature_names=data.feature_names,
        data=DataConfig(name=request.data, digest="", test_split=data.split),
        versions=package_versions(),
    )
