"""Reading the configuration of a checkpoint on a hub: settings of the network alone, and how pixels are prepared."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xaibench.errors import InputError

__all__ = [
    "check_moments",
    "check_processing",
    "checked_arguments",
    "checked_config",
    "is_of_timm",
    "picture_size",
    "pixel_moments",
    "read_config",
]

_IDLE = frozenset(
    {"architectures", "dtype", "id2label", "label2id", "model_type", "num_labels", "torch_dtype"}
    | {"output_attentions", "output_hidden_states", "return_dict", "torchscript"}
)
"""Settings that say nothing of the logits, or that are given beside the configuration."""
_REFUSED = frozenset({"auto_map", "backbone", "backbone_config", "quantization_config", "timm_wrapper"})
"""Settings that load code, other checkpoints, or packages for weights in fewer bits."""
_PACKAGE = frozenset({"attn_implementation", "custom_pipelines", "experts_implementation", "transformers_version"})
"""Settings of the package rather than of the network."""
_TIMM = frozenset(
    {"cache_dir", "checkpoint_path", "exportable", "features_only", "no_jit", "pretrained", "pretrained_cfg"}
    | {"pretrained_cfg_overlay", "scriptable"}
)
"""Arguments of `timm.create_model` that load something, or that make another thing than a classifier."""
_FILES = frozenset({"class_info_file", "repo_path"})
"""Settings of image processors that name a file to read."""
_DEEPEST = 8
_LEAST_STD = 1e-9
_SIDE = 224
"""Of pictures, where a checkpoint does not say it: that of ImageNet."""


def read_config(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of a repository; `InputError` where there is none that can be read."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise InputError("expected a config.json in JSON, got none or a damaged one") from None
    if not isinstance(config, dict):
        raise InputError(f"expected a config.json of named settings, got {type(config).__name__}")
    return config


def is_of_timm(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is as timm writes it, which says there how pixels are prepared, not in another file."""
    return "architecture" in config and "model_type" not in config


def checked_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a network of `transformers`, without names of classes; `InputError` for what would load more.

    >>> checked_config({"model_type": "vit", "hidden_size": 16, "_name_or_path": "x", "id2label": {"0": "cat"}})
    {'hidden_size': 16}
    """
    if config.get("model_type") == "timm_wrapper":
        raise InputError("expected a network of transformers, got one of timm in its wrapper: give its name in timm")
    return _checked(config, _DEEPEST)


def _checked(config: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if not depth:
        raise InputError(f"expected a configuration of at most {_DEEPEST} levels, got more")
    kept = {}
    for key, value in config.items():
        if key in _REFUSED and value:
            raise InputError(f"expected a configuration of the network alone, got {key!r}, which loads something else")
        if key.startswith("_") or key in _IDLE | _PACKAGE | _REFUSED:
            continue
        kept[key] = _checked_within(value, depth - 1) if isinstance(value, dict) else value
    return kept


def _checked_within(config: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """A part's own configuration keeps its kind."""
    kind = {"model_type": config["model_type"]} if "model_type" in config else {}
    return {**_checked(config, depth), **kind}


def checked_arguments(args: Any) -> dict[str, Any]:
    """The arguments of a network of timm; `InputError` for those that would load something.

    >>> checked_arguments({"global_pool": "avg", "num_classes": 10})
    {'global_pool': 'avg'}
    """
    if not isinstance(args, Mapping):
        raise InputError(f"expected arguments of the network by name, got {type(args).__name__}")
    if odd := sorted(_TIMM & args.keys()):
        raise InputError(f"expected arguments of the network alone, got {odd[0]!r}")
    plain = (bool, int, float, str, list, type(None))
    if odd := sorted(key for key, value in args.items() if not isinstance(value, plain)):
        raise InputError(f"expected numbers and words as arguments of the network, got another {odd[0]!r}")
    return {key: value for key, value in args.items() if key != "num_classes"}


def check_processing(settings: Any) -> None:
    """Refuse settings of an image processor that read files; `InputError` says which."""
    if not isinstance(settings, Mapping):
        raise InputError(f"expected a preprocessor_config.json of named settings, got {type(settings).__name__}")
    if odd := sorted(_FILES & settings.keys()):
        raise InputError(f"expected settings of pixels alone in preprocessor_config.json, got {odd[0]!r}")


def check_moments(mean: Sequence[float], std: Sequence[float], channels: int) -> None:
    """Refuse what pixels cannot be normalised by: `InputError` for zero, no number, or too few of them.

    >>> check_moments((0.5,), (0.0,), 3)
    Traceback (most recent call last):
        ...
    xaibench.errors.InputError: expected finite means and standard deviations above 0 of pixels, got 0.5 and 0.0
    """
    for values in (mean, std):
        if len(values) not in (1, channels):
            raise InputError(f"expected a mean and a standard deviation for {channels} channels, got {len(values)}")
    for centre, scale in itertools.product(mean, std):
        if not (math.isfinite(centre) and math.isfinite(scale) and scale > _LEAST_STD):
            raise InputError(
                f"expected finite means and standard deviations above 0 of pixels, got {centre} and {scale}"
            )


def picture_size(processor: Any) -> tuple[int, int]:
    """Height and width that an image processor of `transformers` brings pictures to.

    >>> from types import SimpleNamespace
    >>> picture_size(SimpleNamespace(do_center_crop=True, crop_size={"height": 4, "width": 5}, size={}))
    (4, 5)
    """
    crop = getattr(processor, "crop_size", None) if getattr(processor, "do_center_crop", False) else None
    size = crop or getattr(processor, "size", None) or {}
    height, width = (int(size.get(key) or size.get("shortest_edge") or _SIDE) for key in ("height", "width"))
    if min(height, width) < 1:
        raise InputError(f"expected pictures of at least one pixel, got {height} x {width}")
    return height, width


def pixel_moments(processor: Any) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """What an image processor of `transformers` subtracts from pixels in [0, 1], and divides by.

    None where pixels enter as they are. A processor that does anything else to them raises `InputError`.
    """
    for key, what in (("do_flip_channel_order", "blue before red"), ("rescale_offset", "pixels moved by an offset")):
        if getattr(processor, key, False):
            raise InputError(f"expected a checkpoint that reads red, green and blue as they are, got {what}")
    factor = getattr(processor, "rescale_factor", None) or 1 / 255
    scale = 255 * factor if getattr(processor, "do_rescale", True) else 255.0
    if not getattr(processor, "do_normalize", True):
        return None if abs(scale - 1) < 1e-6 else ((0.0,), (1 / scale,))
    mean, std = (_numbers(getattr(processor, key)) for key in ("image_mean", "image_std"))
    if getattr(processor, "include_top", False):  # EfficientNet divides a second time
        std = tuple(value * value for value in std)
    return tuple(round(value / scale, 9) for value in mean), tuple(round(value / scale, 9) for value in std)


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(map(float, values)) if isinstance(values, list | tuple) else (float(values),)
