"""Image classifiers by their names on the Hugging Face Hub and in timm, where those packages are installed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from xaibench.classifiers.interface import Options
from xaibench.errors import InputError, first_line

__all__ = ["HUBS", "from_hub"]

HUBS = ("hf", "timm")
"""What stands before the colon."""

_SIDE = 224
"""Of images, where a checkpoint does not say it: that of ImageNet."""


def from_hub(text: str) -> tuple[nn.Module, Options]:
    """The network of ``hf:owner/name`` (or ``hf:folder``) or ``timm:name``, and what its checkpoint says of its inputs.

    No code of a repository is run, and of the Hugging Face Hub safetensors alone are read. Raises `InputError` where
    the package is missing, and for what it cannot load.
    """
    hub, _, name = text.partition(":")
    if not name:
        raise InputError(f"expected a name after {hub}:, got none")
    load = {"hf": _from_transformers, "timm": _from_timm}[hub]
    try:
        return load(name)
    except InputError:
        raise
    except Exception as error:  # of the network, the Hub, or the package
        raise InputError(f"expected an image classifier at {text}, got: {first_line(error)}") from error


def _package(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(f"{name} is not installed: pip install 'xaibench[{extra}]'") from None


def _from_timm(name: str) -> tuple[nn.Module, Options]:
    timm = _package("timm", "timm")
    module = timm.create_model(name, pretrained=True)
    found: Mapping[str, Any] = timm.data.resolve_model_data_config(module)
    options = Options(
        task="image",
        bounds=(0.0, 1.0),
        mean=tuple(found["mean"]),
        std=tuple(found["std"]),
        input_shape=tuple(found["input_size"]),
    )
    if names := getattr(module, "pretrained_cfg", {}).get("label_names"):
        options["class_names"] = tuple(names)
    return module, options


def _from_transformers(name: str) -> tuple[nn.Module, Options]:
    transformers = _package("transformers", "hub")
    safe = {"trust_remote_code": False}
    network = transformers.AutoModelForImageClassification.from_pretrained(name, use_safetensors=True, **safe)
    processor = transformers.AutoImageProcessor.from_pretrained(name, **safe)
    size = getattr(processor, "crop_size", None) or getattr(processor, "size", None) or {}
    height, width = (int(size.get(key) or size.get("shortest_edge") or _SIDE) for key in ("height", "width"))
    names = network.config.id2label
    options = Options(
        task="image",
        bounds=(0.0, 1.0),
        input_shape=(int(getattr(network.config, "num_channels", 3)), height, width),
        class_names=tuple(str(names[index]) for index in sorted(names)),
    )
    if getattr(processor, "do_normalize", True):
        options |= Options(mean=tuple(processor.image_mean), std=tuple(processor.image_std))
    return _Logits(network), options


class _Logits(nn.Module):
    """The logits of a network that returns them among other things."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Any) -> Any:
        return self.network(x).logits
