"""Loading classifiers: shipped ones by name, a user's own from a folder, a file or a factory. Nothing is unpickled."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any, TypeGuard

from torch import nn
from typing_extensions import Unpack

from xaibench.architectures import architectures
from xaibench.card import Card
from xaibench.classifiers import ExportedClassifier, KerasClassifier, SavedModelClassifier, TorchClassifier
from xaibench.classifiers.interface import Options
from xaibench.classifiers.weights import first_line, load_keras, load_state
from xaibench.errors import InputError, unknown_name
from xaibench.registry import Spec
from xaibench.types import Classifier

__all__ = ["find_model", "load_model", "model_names", "models_home"]

_FORMATS = "a folder with config.json, .keras, .h5, .pt2, a SavedModel, .safetensors, .pt or .pth"
_WEIGHTS = {"torch": "model.safetensors", "keras": "model.keras"}


def models_home() -> Path:
    """Where the shipped models lie: ``$XAIBENCH_MODELS_HOME``, else ``./models``, else beside the source."""
    named = os.environ.get("XAIBENCH_MODELS_HOME")
    if named:
        return Path(named)
    here = Path("models")
    return here if here.is_dir() else Path(__file__).resolve().parents[2] / "models"


def model_names() -> tuple[str, ...]:
    """Names of the complete model folders, sorted."""
    home = models_home()
    if not home.is_dir():
        return ()
    return tuple(sorted(path.name for path in home.iterdir() if _is_complete(path)))


def find_model(name: str) -> Path:
    """The folder of a shipped model; an unknown name raises `InputError` with the nearest ones."""
    names = model_names()
    if name not in names:
        raise unknown_name("model", name, names)
    return models_home() / name


def load_model(
    source: str | Path | Classifier,
    *,
    weights: str | Path | None = None,
    architecture: Spec | str | None = None,
    **options: Unpack[Options],
) -> Classifier:
    """A classifier from almost anything that holds one.

    ``source`` is a name of `model_names`; a model folder; a ``.keras``, ``.h5``, ``.pt2`` or SavedModel; a
    ``.safetensors``, ``.pt`` or ``.pth`` file of weights, with ``architecture`` (a spec such as ``resnet:classes=10``);
    ``"module:factory"``, a function that returns a model, with ``weights`` for it if need be; or a classifier, which is
    returned as it is. ``options`` say what a file cannot: bounds, normalisation, class names, task, tokenizer.

    What cannot be loaded, or only by running code out of the file, raises `InputError`.
    """
    if not isinstance(source, str | Path):
        if _is_classifier(source):
            return source
        raise InputError(f"expected a model's name, folder, file, module:factory or classifier, got {source!r:.80}")
    path = Path(source)
    if (path / "config.json").is_file():
        return _from_folder(path, options)
    if path.exists():
        return _from_file(path, architecture, options)
    text = str(source)
    if ":" in text and path.suffix == "":
        return _from_factory(text, None if weights is None else Path(weights), options)
    if path.suffix or len(path.parts) > 1:
        raise InputError(f"expected a model at {text}, got no such file or folder")
    return _from_folder(find_model(text), options)


def _is_classifier(value: object) -> TypeGuard[Classifier]:
    # isinstance would read every property of the protocol, and so run the model.
    return all(hasattr(type(value), name) for name in ("activations", "logits", "loss_gradient"))


def _is_complete(folder: Path) -> bool:
    if folder.name.startswith(".") or not (folder / "config.json").is_file():
        return False
    return any((folder / name).is_file() for name in _WEIGHTS.values())


def _from_folder(folder: Path, options: Options) -> Classifier:
    card = Card.read(folder / "config.json")
    path = folder / _WEIGHTS[card.framework]
    read = Options(**{**_options(card, folder), **options})  # type: ignore[typeddict-item]
    if card.framework == "keras":
        return KerasClassifier(load_keras(path), **read)
    module = architectures.create(Spec(card.architecture.name, card.architecture.params)).build()
    load_state(module, path)
    return TorchClassifier(module, **read)


def _options(card: Card, folder: Path) -> dict[str, Any]:
    return {
        "bounds": card.bounds,
        "mean": card.mean,
        "std": card.std,
        "class_names": card.class_names,
        "task": card.task,
        "input_shape": card.input_shape,
        "tokenizer": _read_tokenizer(folder / "tokenizer.json") if card.task == "text" else None,
        "card": card,
    }


def _from_file(path: Path, architecture: Spec | str | None, options: Options) -> Classifier:
    if path.suffix in (".keras", ".h5", ".hdf5"):
        return KerasClassifier(load_keras(path), **options)
    if path.suffix == ".pt2":
        return ExportedClassifier(path, **options)
    if (path / "saved_model.pb").is_file():
        return SavedModelClassifier(path, **options)
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise InputError(f"expected a model as {_FORMATS}, got {path.name}")
    if architecture is None:
        raise InputError(f"expected `architecture` for {path.name}, which holds weights only, got none")
    module = architectures.create(architecture).build()
    load_state(module, path)
    return TorchClassifier(module, **options)


def _from_factory(place: str, weights: Path | None, options: Options) -> Classifier:
    module_name, _, function = place.partition(":")
    before = list(sys.path)
    sys.path.insert(0, os.getcwd())
    try:
        factory = getattr(importlib.import_module(module_name), function)
    except (ImportError, AttributeError) as error:
        raise InputError(f"expected a function at {place}, got: {error}") from None
    finally:
        sys.path[:] = before
    model = factory()
    if isinstance(model, nn.Module):
        if weights is not None:
            load_state(model, weights)
        return TorchClassifier(model, **options)
    if _is_classifier(model):
        return model
    if weights is not None:
        _load_keras_weights(model, weights)
    return KerasClassifier(model, **options)


def _load_keras_weights(model: Any, path: Path) -> None:
    if not path.name.endswith(".weights.h5"):
        raise InputError(f"expected weights of a Keras model as .weights.h5, got {path.name}")
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"expected weights that fit the model in {path}, got: {first_line(error)}") from None


def _read_tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise InputError(f"expected a tokenizer in {path}, got: {first_line(error)}") from None
