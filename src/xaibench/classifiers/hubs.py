"""Image classifiers of the Hugging Face Hub and of timm, where those packages are installed.

No code of a repository is run, and of its weights safetensors alone are read.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from xaibench.classifiers.hub_config import (
    check_moments,
    check_processing,
    checked_arguments,
    checked_config,
    is_of_timm,
    picture_size,
    pixel_moments,
    read_config,
)
from xaibench.classifiers.interface import Options
from xaibench.errors import InputError, first_line

__all__ = [
    "HUBS",
    "Checkpoint",
    "HubNetwork",
    "build_timm",
    "build_transformers",
    "from_hub",
    "hub_package",
    "read_repository",
]

HUBS = ("hf", "timm")
"""What stands before the colon."""

_EXTRAS = {"timm": "timm", "transformers": "hub"}
_NUMBERED = re.compile(r"LABEL_(\d+)")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained network, the architecture that builds it anew without weights, and what it says of its inputs."""

    network: nn.Module
    classes: int
    architecture: str
    params: Mapping[str, Any]
    options: Options


class HubNetwork(nn.Module):
    """A package's network behind pictures as data have them: logits (n, classes) from (n, channels, height, width).

    Grey pictures are repeated in its ``channels``, and normalised by ``mean`` and ``std`` where these are given; those
    of another size than ``size`` (height, width) are scaled to it.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        channels: int | None = None,
        size: tuple[int, ...] = (),
        mean: tuple[float, ...] = (),
        std: tuple[float, ...] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.channels, self.size, self.mean, self.std = channels, tuple(size), tuple(mean), tuple(std)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        if self.channels and x.shape[1] == 1 < self.channels:
            x = x.expand(-1, self.channels, -1, -1)
        if self.mean:
            mean, std = (x.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
            x = (x - mean) / std
        if self.size and tuple(x.shape[2:]) != self.size:
            smaller = x.shape[2] > self.size[0] or x.shape[3] > self.size[1]
            x = F.interpolate(x, self.size, mode="bilinear", antialias=smaller)
        output = self.network(x)
        return getattr(output, "logits", output)


def from_hub(text: str) -> tuple[nn.Module, Options]:
    """The network of ``hf:owner/name`` (or ``hf:folder``) or ``timm:name``, and what its checkpoint says of its inputs.

    Raises `InputError` where the package is missing, and for what it cannot load.
    """
    hub, _, name = text.partition(":")
    if not name:
        raise InputError(f"expected a name after {hub}:, got none")
    try:
        if hub == "timm":
            return _from_timm(name)
        checkpoint = _from_transformers(name)
    except InputError:
        raise
    except Exception as error:  # of the network, the Hub, or the package
        raise InputError(f"expected an image classifier at {text}, got: {first_line(error)}") from error
    return HubNetwork(checkpoint.network), checkpoint.options


def read_repository(folder: Path) -> Checkpoint:
    """What the ``config.json``, ``preprocessor_config.json`` and ``model.safetensors`` of a repository hold.

    They are as `transformers` or timm write them. Raises `InputError` for what is no image classifier, or does not fit
    together.
    """
    config = read_config(folder)
    try:
        if is_of_timm(config):
            return _timm_repository(folder, config)
        check_processing(_processing(folder))
        return _from_transformers(str(folder))
    except InputError:
        raise
    except Exception as error:  # whatever a broken configuration brings about inside the package
        told = InputError(str(error).replace(str(folder), "the repository"))
        problem = f"{type(error).__name__}: {first_line(told)}"
        raise InputError(f"expected an image classifier that its package can load, got {problem}") from error


def _processing(folder: Path) -> Any:
    """What ``preprocessor_config.json`` says; nothing where there is none, which the package then says."""
    path = folder / "preprocessor_config.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def build_transformers(model_type: str, config: Mapping[str, Any], classes: int) -> nn.Module:
    """An untrained image classifier of `transformers`."""
    transformers = hub_package("transformers")
    config = checked_config(config)
    whole = transformers.AutoConfig.for_model(model_type, **config, num_labels=classes)
    return transformers.AutoModelForImageClassification.from_config(whole, trust_remote_code=False)


def build_timm(model: str, args: Mapping[str, Any], input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """An untrained image classifier of timm; ``input_shape`` is that of the network itself."""
    if not re.fullmatch(r"\w+", model):
        raise InputError(f"expected the name of a network of timm, got {model!r:.80}")
    known = {"input_size": input_shape, "num_classes": classes}
    args = {**checked_arguments(args), "num_classes": classes}
    return hub_package("timm").create_model(model, pretrained=False, pretrained_cfg=known, **args)


def hub_package(name: str) -> Any:
    """``transformers`` or ``timm``; `InputError` says what is missing, or what keeps it from loading."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            raise InputError(f"{name} is not installed: pip install 'xaibench[{_EXTRAS[name]}]'") from None
        problem = first_line(error)
    except Exception as error:  # torchvision of another build than torch raises RuntimeError
        problem = first_line(error)
    raise InputError(f"expected {name} to load, got: {problem}")


def _from_timm(name: str) -> tuple[nn.Module, Options]:
    timm = hub_package("timm")
    module = timm.create_model(name, pretrained=True)
    found = timm.data.resolve_model_data_config(module)
    return module, _timm_options(found, getattr(module, "pretrained_cfg", {}))


def _timm_options(found: Mapping[str, Any], told: Mapping[str, Any]) -> Options:
    options = Options(
        task="image",
        bounds=(0.0, 1.0),
        mean=tuple(found["mean"]),
        std=tuple(found["std"]),
        input_shape=tuple(found["input_size"]),
    )
    if names := told.get("label_names"):
        options["class_names"] = tuple(map(str, names))
    return options


def _timm_repository(folder: Path, config: Mapping[str, Any]) -> Checkpoint:
    from safetensors.torch import load_file

    told = config.get("pretrained_cfg")
    told = told if isinstance(told, dict) else {}
    missing = {"input_size", "mean", "std"} - told.keys()
    if missing:
        raise InputError(f"expected {min(missing)} in the checkpoint's configuration, got none")
    args = checked_arguments(config.get("model_args") or {})
    classes = int(config.get("num_classes") or told.get("num_classes") or 0)
    model, shape = str(config["architecture"]), tuple(map(int, told["input_size"]))
    check_moments(tuple(map(float, told["mean"])), tuple(map(float, told["std"])), shape[0])
    network = build_timm(model, args, shape, classes)
    state, own = load_file(folder / "model.safetensors"), network.state_dict()
    if state.keys() != own.keys():
        wrong = min(state.keys() ^ own.keys())
        raise InputError(f"expected the weights of timm's {model}, got others ({wrong} is on one side only)")
    network.load_state_dict(state)
    return Checkpoint(
        network=network.eval(),
        classes=classes,
        architecture="timm",
        params={"model": model, "args": args, "network_shape": list(shape)},
        options=_timm_options(told, {**told, **config}),
    )


def _from_transformers(name: str) -> Checkpoint:
    transformers = hub_package("transformers")
    raw, _ = transformers.PretrainedConfig.get_config_dict(name)
    config = checked_config(raw)
    model_type = str(raw.get("model_type"))
    whole = transformers.AutoConfig.for_model(model_type, **config, id2label=raw.get("id2label"))
    try:
        network, report = transformers.AutoModelForImageClassification.from_pretrained(
            name, config=whole, dtype="float32", use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    except RuntimeError as error:
        if "ignore_mismatched_sizes" not in str(error):
            raise
        raise InputError("expected weights of the sizes that the configuration tells, got others") from None
    untrained = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if untrained:
        raise InputError(
            f"expected a trained classifier, got weights without {untrained[0]!r}: a network before it was fine-tuned?"
        )
    processor = transformers.AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
    height, width = picture_size(processor)
    channels = int(getattr(network.config, "num_channels", 3))
    names = network.config.id2label
    options = Options(
        task="image",
        bounds=(0.0, 1.0),
        input_shape=(channels, height, width),
        class_names=tuple(_class_name(names[index]) for index in sorted(names)),
    )
    if moments := pixel_moments(processor):
        check_moments(*moments, channels)
        options |= Options(mean=moments[0], std=moments[1])
    return Checkpoint(
        network=network.eval(),
        classes=int(network.config.num_labels),
        architecture="transformers",
        params={"model_type": model_type, "config": config, "network_shape": list(options["input_shape"] or ())},
        options=options,
    )


def _class_name(name: object) -> str:
    """The name that the package gives to a nameless class is its number."""
    numbered = _NUMBERED.fullmatch(str(name))
    return numbered[1] if numbered else str(name)
