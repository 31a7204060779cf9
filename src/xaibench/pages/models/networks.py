"""Choosing a registered network, with widgets made from the fields of its dataclass."""

from __future__ import annotations

import dataclasses
import json
import typing
from typing import TYPE_CHECKING, Any, BinaryIO

import streamlit as st

from xaibench.errors import InputError
from xaibench.pages.shared.options import choose_one
from xaibench.pages.shared.text import meaning, plain
from xaibench.reading import listed

if TYPE_CHECKING:
    from streamlit.runtime.uploaded_file_manager import UploadedFile

    from xaibench.data import Data

__all__ = ["choose_network", "networks_for", "networks_that_fit"]

_TOKENS = 200
"""Length of texts that the widget begins with."""
_LARGEST = 100_000
_HEADER = 1 << 20
"""Bytes of a file's header that are read at most: the names of its weights stand there."""
_GIVEN = ("classes", "input_shape")


def networks_for(task: str) -> list[str]:
    """The registered torch networks for a task, by the family that they are defined in."""
    from xaibench.architectures import architectures, sequence, tabular, vision

    family = {"image": vision, "text": sequence, "tabular": tabular}[task].__name__
    classes: dict[str, Any] = {name: architectures.get(name) for name in architectures}
    return [name for name, cls in classes.items() if cls.framework == "torch" and cls.__module__ == family]


def networks_that_fit(file: BinaryIO, task: str, input_shape: list[int]) -> list[str]:
    """The networks whose weights, in their usual depth, have the names that a safetensors file has."""
    import torch

    from xaibench.architectures import architectures

    found, names = [], _weight_names(file)
    for name in networks_for(task) if names else ():
        try:
            with torch.device("meta"):
                network = architectures.get(name)(input_shape=tuple(input_shape), classes=2).build()
        except (TypeError, ValueError):  # it needs more than that, or other inputs
            continue
        if set(network.state_dict()) == names:
            found.append(name)
    return found


def _weight_names(file: BinaryIO) -> set[str]:
    """The names in the header of a safetensors file; none where it has no such header."""
    file.seek(0)
    size = int.from_bytes(file.read(8), "little")
    try:
        header = json.loads(file.read(size)) if size <= _HEADER else {}
    except ValueError:
        header = {}
    file.seek(0)
    return set(header) - {"__metadata__"} if isinstance(header, dict) else set()


def choose_network(data: Data, file: UploadedFile | None = None) -> tuple[str, dict[str, Any]]:
    """A network's name and parameters, at first one that fits the ``file``; input shape and classes are the data's."""
    from xaibench.architectures import architectures

    names = networks_for(data.task)
    fit = []
    if file is not None and file.name.endswith(".safetensors") and not isinstance(data.inputs, tuple):
        fit = networks_that_fit(file, data.task, [int(size) for size in data.inputs.shape[1:]])
        told = f"go with {listed(fit)}" if fit else "go with none of these networks in its usual depth"
        st.caption(plain(f"The names of the weights in {file.name} {told}."))
    name = choose_one(st.selectbox, "Network", names, key="network", default=fit[0] if fit else None)
    cls = architectures.get(name)
    st.caption(meaning(cls))
    params: dict[str, Any] = {"input_shape": _input_shape(data), "classes": len(data.class_names)}
    hints = typing.get_type_hints(cls)
    fields = [field for field in dataclasses.fields(cls) if field.name not in _GIVEN]
    if fields:
        columns = st.columns(min(4, len(fields)))
        for index, field in enumerate(fields):
            with columns[index % len(columns)]:
                params[field.name] = _widget(name, field, hints[field.name])
    return name, params


def _input_shape(data: Data) -> list[int]:
    if isinstance(data.inputs, tuple):
        return [int(st.number_input("Length of its inputs, in tokens", 1, 4096, _TOKENS))]
    return [int(size) for size in data.inputs.shape[1:]]


def _widget(network: str, field: dataclasses.Field[Any], hint: Any) -> Any:
    label, key = field.name.replace("_", " ").capitalize(), f"network.{network}.{field.name}"
    default = None if field.default is dataclasses.MISSING else field.default
    if hint is bool:
        return st.toggle(label, bool(default), key=key)
    if hint is int:
        return int(st.number_input(label, 1, _LARGEST, default or 1, key=key))
    if hint is float:
        return float(st.number_input(label, 0.0, 1.0, float(default or 0.0), key=key))
    if typing.get_origin(hint) is tuple:
        text = st.text_input(label, ", ".join(map(str, default or ())), key=key, max_chars=200)
        try:
            return [int(part) for part in text.replace(",", " ").split()]
        except ValueError:
            raise InputError(f"expected {field.name} as whole numbers such as 32, 64, got {text!r:.60}") from None
    return st.text_input(label, "" if default is None else str(default), key=key, max_chars=200)
