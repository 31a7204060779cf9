"""From a model to a compressed copy: the folder, and what the copy's making cost and won."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xaibench.card import Card, CompressionConfig
from xaibench.cards import write_card
from xaibench.classifiers import TorchClassifier
from xaibench.classifiers.weights import load_keras
from xaibench.compression.base import Job, compressors
from xaibench.compression.kernels import keras_kernels, torch_kernels
from xaibench.data import load_data
from xaibench.errors import InputError, UnsupportedError
from xaibench.files import write_json
from xaibench.registry import Spec
from xaibench.training.measure import measure
from xaibench.types import Classifier, Progress, model_inputs
from xaibench.zoo import load_model, model_folder

__all__ = ["Compression", "Size", "compress", "size_of"]

_ROWS, _TIMES = 256, 7


@dataclass(frozen=True)
class Size:
    """What a model takes, and how well it does."""

    bytes: int
    """Of the file of weights."""
    weights: int
    """Numbers in its matrices and kernels."""
    zeros: int
    """Those of them that are zero."""
    milliseconds: float
    """Of a forward pass over 256 rows of the data, on this machine; the median of 7."""
    accuracy: float | None
    """On the test split, as its card says."""

    @property
    def sparsity(self) -> float:
        """Share of zeros."""
        return self.zeros / self.weights


@dataclass(frozen=True)
class Compression:
    """A compressed copy, and both sizes."""

    folder: Path
    before: Size
    after: Size


def compress(
    model: str | Path,
    method: Spec | str,
    *,
    out: Path | str | None = None,
    epochs: int | None = None,
    progress: Progress | None = None,
) -> Compression:
    """Make a smaller copy of a model: pruned, quantised, or distilled into another architecture.

    Args:
        model: a model's name, or its folder.
        method: of `compressors`, such as ``prune:amount=0.5``, ``quantize`` or ``distill:architecture=small_cnn``.
        out: the folder to write; beside other models, under the name of the model and the method, by default.
        epochs: epochs of training that are part of it: none for prune, and the recipe's for distill, by default.
        progress: called while the copy is trained and measured.

    Raises:
        InputError: for what is no model folder, and a method or number that is not valid.
        UnsupportedError: where the method cannot be applied to this model.
    """
    if epochs is not None and epochs < 0:
        raise InputError(f"expected `epochs` >= 0, got {epochs}")
    spec = Spec.parse(method)
    compressor = compressors.create(spec)
    folder = model_folder(model)
    card = Card.read(folder / "config.json")
    name = f"{card.name}-{compressor.suffix}"
    target = Path(out) if out is not None else Path("models") / name
    if target.exists() and not target.is_dir():
        raise InputError(f"expected a folder to write to, got the file {target}")
    if target.resolve() == folder.resolve():
        raise InputError(f"expected `out` as another folder than the model's own, got {target}")
    if card.framework == "exported":
        raise UnsupportedError(f"{card.name} is one graph without layers to compress")
    source = load_model(folder)
    job = Job(source=str(model), folder=folder, card=card, name=name, out=target, epochs=epochs, progress=progress)
    trained = compressor(job)
    step = CompressionConfig(
        source=card.name,
        source_digest=source.digest,
        method=spec.name,
        params=_params(compressor),
        epochs=trained,
    )
    before = card.compression if spec.name != "distill" else ()
    made = Card.read(target / "config.json").model_copy(
        update={"summary": _summary(step), "compression": (*before, step)}
    )
    write_json(target / "config.json", made.model_dump(mode="json"))
    if made.weights_digest:
        write_card(target)
    else:
        measure(target, progress=progress)
    return Compression(target, size_of(folder), size_of(target))


def size_of(folder: Path) -> Size:
    """Measure a model folder; its accuracy is that of its card."""
    card, model = Card.read(folder / "config.json"), load_model(folder)
    path = folder / {"torch": "model.safetensors", "keras": "model.keras"}[card.framework]
    kernels = _kernels(model, path)
    metrics = card.metrics.get(card.data.test_split, {})
    return Size(
        bytes=path.stat().st_size,
        weights=sum(kernel.numel() for kernel in kernels),
        zeros=sum(int((kernel == 0).sum()) for kernel in kernels),
        milliseconds=_milliseconds(model, card),
        accuracy=metrics.get("accuracy"),
    )


def _kernels(model: Classifier, path: Path) -> list[Tensor]:
    if isinstance(model, TorchClassifier):
        return [kernel.detach() for kernel in torch_kernels(model.module)]
    return [torch.from_numpy(kernel.numpy()) for kernel in keras_kernels(load_keras(path))]


def _milliseconds(model: Classifier, card: Card) -> float:
    rows = load_data(card.data.name, card.data.test_split)
    rows = rows.take(torch.arange(_ROWS) % len(rows))
    x = model_inputs(model, rows.inputs)
    taken = []
    for _ in range(_TIMES + 1):
        begun = time.perf_counter()
        with torch.no_grad():
            model.logits(x)
        taken.append(time.perf_counter() - begun)
    return 1000 * statistics.median(taken[1:])


def _params(compressor: Any) -> dict[str, Any]:
    return asdict(compressor)


def _summary(step: CompressionConfig) -> str:
    params = ", ".join(f"{key} {value}" for key, value in step.params.items())
    trained = f", {step.epochs} epochs of training" if step.epochs else ""
    return f"A copy of {step.source}, compressed by {step.method} ({params}){trained}."
