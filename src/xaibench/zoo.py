"""Loading classifiers: shipped ones by name, a user's own from a folder, a file or a factory. Nothing is unpickled."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import nn
from typing_extensions import Unpack

from xaibench.architectures import architectures
from xaibench.card import Card
from xaibench.classifiers import ExportedClassifier, KerasClassifier, SavedModelClassifier, TorchClassifier
from xaibench.classifiers.hubs import HUBS, from_hub
from xaibench.classifiers.interface import Options
from xaibench.classifiers.weights import load_keras, load_state
from xaibench.errors import InputError, first_line
from xaibench.homes import WEIGHTS, find_model, model_folder, model_homes, model_names
from xaibench.registry import Spec
from xaibench.types import Classifier

__all__ = ["find_model", "is_factory", "load_model", "model_folder", "model_homes", "model_names"]

_FORMATS = "a folder with config.json, .keras, .h5, .pt2, a SavedModel, .safetensors, .pt or .pth"


def load_model(
    source: str | Path | Classifier,
    *,
    weights: str | Path | None = None,
    architecture: Spec | str | None = None,
    defaults: Options | None = None,
    **options: Unpack[Options],
) -> Classifier:
    """A classifier from almost anything that holds one.

    ``source`` is a name of `model_names`; a model folder; a ``.keras``, ``.h5``, ``.pt2`` or SavedModel; a
    ``.safetensors``, ``.pt`` or ``.pth`` file of weights, with ``architecture`` (a spec such as ``resnet:classes=10``);
    ``"hf:owner/name"`` or ``"timm:name"``, an image classifier of the Hugging Face Hub or timm;
    ``"module:factory"``, a function that returns a model, with ``weights`` for it if need be; or a classifier, which is
    returned as it is. ``options`` say what a file cannot: bounds, normalisation, class names, task, tokenizer (which
    may be the path of a ``tokenizer.json``). ``defaults`` hold where neither they nor the model itself say anything.

    What cannot be loaded, or only by running code out of the file, raises `InputError`, and so does an argument that
    cannot apply to ``source``.
    """
    tokenizer = options.get("tokenizer")
    if isinstance(tokenizer, str | Path):
        options["tokenizer"] = _read_tokenizer(Path(tokenizer))
    given = {"weights": weights, "architecture": architecture, **options}
    if not isinstance(source, str | Path):
        if not _is_classifier(source):
            raise InputError(f"expected a model's name, folder, file, module:factory or classifier, got {source!r:.80}")
        _refuse(given, tuple(given), "a classifier")
        return source
    path, text = Path(source), str(source)
    if text.partition(":")[0] in HUBS and ":" in text:
        _refuse(given, ("weights", "architecture"), text)
        module, told = from_hub(text)
        read: Options = {**(defaults or {}), **told, **options}
        return TorchClassifier(module, **read)
    if (path / "config.json").is_file():
        _refuse(given, ("weights", "architecture"), text)
        return _from_folder(path, defaults, options)
    if path.exists():
        _refuse(given, ("weights",), text)
        return _from_file(path, architecture, {**(defaults or {}), **options})
    if is_factory(text):
        _refuse(given, ("architecture",), text)
        return _from_factory(text, None if weights is None else Path(weights), defaults, options)
    if path.suffix or len(path.parts) > 1:
        raise InputError(f"expected a model at {text}, got no such file or folder")
    folder = find_model(text)
    _refuse(given, ("weights", "architecture"), text)
    return _from_folder(folder, defaults, options)


def is_factory(source: str) -> bool:
    """Whether `load_model` would run a function of this name to get a model: code that somebody has to trust."""
    path = Path(source)
    return ":" in source and path.suffix == "" and source.partition(":")[0] not in HUBS and not path.exists()


def _refuse(given: Mapping[str, object], names: Sequence[str], source: str) -> None:
    """Refuse arguments that would be ignored."""
    for name in names:
        if given[name] is not None:
            raise InputError(f"expected no `{name}` with {source}, which brings its own, got {given[name]!s:.80}")


def _is_classifier(value: object) -> TypeGuard[Classifier]:
    # isinstance would read every property of the protocol, and so run the model.
    return all(hasattr(type(value), name) for name in ("activations", "logits", "loss_gradient"))


def _from_folder(folder: Path, defaults: Options | None, options: Options) -> Classifier:
    card = Card.read(folder / "config.json")
    path = folder / WEIGHTS[card.framework]
    read = Options(**{**(defaults or {}), **_options(card, folder), **options})  # type: ignore[typeddict-item]
    if card.framework == "keras":
        return KerasClassifier(load_keras(path), **read)
    if card.framework == "exported":
        return ExportedClassifier(path, **read)
    return _from_weights(path, Spec(card.architecture.name, card.architecture.params), read)


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
    if path.suffix in (".safetensors", ".pt", ".pth"):
        if architecture is None:
            raise InputError(f"expected `architecture` for {path.name}, which holds weights only, got none")
        return _from_weights(path, architecture, options)
    _refuse({"architecture": architecture}, ("architecture",), path.name)
    if path.suffix in (".keras", ".h5", ".hdf5"):
        return KerasClassifier(load_keras(path), **options)
    if path.suffix == ".pt2":
        return ExportedClassifier(path, **options)
    if (path / "saved_model.pb").is_file():
        return SavedModelClassifier(path, **options)
    raise InputError(f"expected a model as {_FORMATS}, got {path.name}")


def _from_weights(path: Path, architecture: Spec | str, options: Options) -> Classifier:
    found = architectures.create(architecture)
    if found.framework != "torch":
        raise InputError(f"expected a torch architecture for {path}, got {architecture!s:.80}")
    try:
        module = found.build()
    except InputError:
        raise
    except Exception as error:  # whatever sizes that do not fit together bring about
        raise InputError(
            f"expected parameters that {Spec.parse(architecture).name} can be built from for {path},"
            f" got {type(error).__name__}: {first_line(error)}"
        ) from error
    load_state(module, path)
    # Convolutions on a CPU are up to twice as fast with the channels last; the values are the same.
    return TorchClassifier(module.to(memory_format=torch.channels_last), **options)


def _from_factory(place: str, weights: Path | None, defaults: Options | None, options: Options) -> Classifier:
    model = _call(place)
    if _is_classifier(model):
        given = {"weights": weights, **options}
        _refuse(given, tuple(given), f"the classifier of {place}")
        return model
    read: Options = {**(defaults or {}), **options}
    if isinstance(model, nn.Module):
        if weights is not None:
            load_state(model, weights)
        return TorchClassifier(model, **read)
    classifier = KerasClassifier(model, **read)
    if weights is not None:
        _load_keras_weights(model, weights)
    return classifier


def _call(place: str) -> Any:
    """What a user's own function returns; it is found as Python run in the working directory would find it."""
    module_name, _, function = place.partition(":")
    before = list(sys.path)
    sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module_name), function)()
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # it is the user's code: anything may happen
        raise InputError(
            f"expected a function at {place} that returns a model, got {type(error).__name__}: {first_line(error)}"
        ) from error
    finally:
        sys.path[:] = before


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
