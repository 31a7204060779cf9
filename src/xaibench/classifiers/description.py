"""What a model computes beside its weights, as text for its digest: the same in every process and on every machine."""

from __future__ import annotations

import json
from typing import Any

from torch import nn

from xaibench.classifiers.keras_layers import named_layers

__all__ = ["describe_keras", "describe_torch"]

_PLAIN = (bool, int, float, complex, str, type(None))
_HARMLESS = {"build_config", "build_input_shape", "compile_config", "module", "registered_name", "trainable"}
_REFERENCES = {"input_layers", "keras_history", "output_layers"}


def describe_torch(module: nn.Module) -> str:
    """Class and settings of every part by its name, and the code of traced graphs.

    Settings are public attributes that are numbers, strings or functions. What the code of a ``forward`` does with
    them is not looked at.
    """
    lines = []
    for name, part in module.named_modules():
        told = {key: _setting(value) for key, value in vars(part).items() if not key.startswith("_")}
        told.pop("training", None)
        kept = {key: value for key, value in sorted(told.items()) if value is not None}
        lines.append(f"{name} {type(part).__name__} {kept} {getattr(part, 'code', '')}")
    return "\n".join(lines)


def describe_keras(model: Any) -> str:
    """Class and configuration of the model and every layer, with layers by their number: names count up in a process.

    A layer that cannot tell its configuration is described by its class alone.
    """
    parts = [model, *named_layers(model).values()]
    return json.dumps([[type(part).__name__, _configuration(part)] for part in parts], sort_keys=True, default=_class)


def _setting(value: object) -> str | None:
    """A setting as text; None if it is something else."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, tuple | list):
        items = [_setting(item) for item in value]
        return None if None in items else repr(items)
    return getattr(value, "__name__", None)


def _configuration(layer: Any) -> Any:
    try:
        return _numbered(layer.get_config(), {})
    except NotImplementedError:
        return None


def _numbered(value: Any, numbers: dict[str, int]) -> Any:
    """A configuration without what says nothing of the computation; ``numbers`` of the layers of the same model."""
    if isinstance(value, tuple | list):
        return [_numbered(item, numbers) for item in value]
    if not isinstance(value, dict):
        return value
    is_model = isinstance(value.get("layers"), list)
    if is_model:
        numbers = {layer["config"]["name"]: index for index, layer in enumerate(value["layers"])}
    is_layer = is_model or "trainable" in value or value.get("name") in numbers
    return {
        key: _reference(item, numbers) if key in _REFERENCES else _numbered(item, numbers)
        for key, item in value.items()
        if item is not None and key not in _HARMLESS and not (is_layer and key == "name")
    }


def _reference(value: Any, numbers: dict[str, int]) -> Any:
    if isinstance(value, tuple | list):
        return [_reference(item, numbers) for item in value]
    return numbers.get(value, value) if isinstance(value, str) else value


def _class(value: object) -> str:
    return getattr(value, "__name__", type(value).__name__)
