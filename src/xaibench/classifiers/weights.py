"""Reading weights and models from files without unpickling; what is broken or would run code is refused."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xaibench.classifiers.packed import unpacked
from xaibench.classifiers.runtime import tensorflow
from xaibench.errors import InputError, first_line

__all__ = ["load_keras", "load_state", "read_state"]


def read_state(path: Path) -> dict[str, Tensor]:
    """Named tensors from a ``.safetensors`` file, or from a ``.pt`` or ``.pth`` file that holds nothing but tensors."""
    _exists(path)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return unpacked(load_file(path))
        except (SafetensorError, OSError) as error:
            raise InputError(f"expected a whole safetensors file at {path}, got: {error!s:.160}") from None
    if path.suffix not in (".pt", ".pth"):
        raise InputError(f"expected weights as .safetensors, .pt or .pth, got {path.name}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols, just before what is refused below
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"expected nothing but tensors in {path}, got a pickle of other things: save the `state_dict()` alone"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(f"expected a whole file of tensors at {path}, got: {first_line(error)}") from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"expected named tensors in {path}, got {type(state).__name__} of other things")
    return dict(state)


def load_state(module: nn.Module, path: Path) -> None:
    """Put weights into a module; names and shapes must agree exactly."""
    state, own = read_state(path), module.state_dict()
    if missing := sorted(own.keys() - state.keys()):
        raise InputError(f"expected weights {missing[0]!r} in {path}, got none ({len(missing)} missing)")
    if extra := sorted(state.keys() - own.keys()):
        raise InputError(f"expected no weights {extra[0]!r} in {path}, got some ({len(extra)} too many)")
    for name, value in own.items():
        if state[name].shape != value.shape:
            raise InputError(f"expected {name!r} in {path} as {tuple(value.shape)}, got {tuple(state[name].shape)}")
    module.load_state_dict(state)


def load_keras(path: Path) -> Any:
    """A Keras model from a ``.keras`` or ``.h5`` file in safe mode: Python code in it is not read.

    Lambda layers are refused, also those of Keras's own functions. Layers that you have registered with Keras in this
    process are yours, and loaded.
    """
    _exists(path)
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise InputError(f"expected a Keras model as .keras or .h5, got {path.name}")
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        raise InputError(f"expected a whole Keras model at {path}, got no zip archive or a part of one")
    tensorflow()
    import keras

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever a broken file brings about inside the library
        if "Lambda" in str(error) or "lambda" in str(error):
            raise InputError(_holds_lambda(path)) from None
        raise InputError(f"expected a whole Keras model at {path}, got: {first_line(error)}") from None
    if any(isinstance(layer, keras.layers.Lambda) for layer in model._flatten_layers()):
        raise InputError(_holds_lambda(path))
    return model


def _holds_lambda(path: Path) -> str:
    return f"expected a model without code in {path}, got a Lambda layer: replace it by a layer of Keras"


def _exists(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"expected a file at {path}, got none")
