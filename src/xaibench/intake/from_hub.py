"""A downloaded model of a hub as weights of an architecture, fitted to the data that it is for."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor

from xaibench.architectures import architectures
from xaibench.classifiers.hubs import Checkpoint, HubNetwork, read_repository
from xaibench.classifiers.interface import Options
from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.intake.apart import SOURCE
from xaibench.intake.limits import HUB_BYTES, MEGABYTE, MOST_CLASSES
from xaibench.intake.request import REPOSITORY, Request
from xaibench.registry import Spec

__all__ = ["weights_of_hub"]

_NAME_LENGTH = 100
_TOLERANCE = 1e-4


def weights_of_hub(request: Request, data: Data, folder: Path, weights: Path) -> tuple[Request, Options]:
    """Write the checkpoint's ``weights``, and give the request that they would have come with as an upload.

    Inputs are those of the data: the architecture scales them to what the network takes. Classes are called as the
    request says, else as the data calls them. Raises `InputError` where pictures or classes do not fit.
    """
    checkpoint = read_repository(folder / REPOSITORY)
    assert isinstance(data.inputs, Tensor)
    shape = tuple(data.inputs.shape[1:])
    names = request.class_names or _class_names(checkpoint, data.class_names)
    if len(names) != checkpoint.classes:
        raise InputError(f"expected a model of {len(names)} classes, one for each name, got {checkpoint.classes}")
    params, options = _fitted(checkpoint, shape, names)
    built = architectures.create(Spec(checkpoint.architecture, params)).build()
    _save(checkpoint, built, weights, shape)
    source = json.loads((folder / SOURCE).read_text(encoding="utf-8"))
    told = f"{source['name']} at revision {str(source['revision'])[:12]}"
    summary = f"{request.summary} ({told})" if request.summary else told
    changes = {"architecture": checkpoint.architecture, "params": params, "class_names": names, "summary": summary}
    return request.model_copy(update=changes), options


def _fitted(
    checkpoint: Checkpoint, shape: tuple[int, ...], names: tuple[str, ...]
) -> tuple[dict[str, object], Options]:
    """Parameters of the architecture, and options of the classifier, for pictures of this shape."""
    channels = int(checkpoint.params["network_shape"][0])
    if shape[0] not in (1, channels):
        raise InputError(f"expected pictures with the {channels} channels of the model, got {shape[0]}")
    params = {"input_shape": list(shape), "classes": len(names), **checkpoint.params}
    options: Options = {**checkpoint.options, "input_shape": shape, "class_names": names}
    mean, std = checkpoint.options.get("mean"), checkpoint.options.get("std")
    if shape[0] != channels and mean is not None:  # each channel of a repeated grey picture is normalised by its own
        params |= {"mean": mean, "std": std}
        options |= {"mean": None, "std": None}
    return params, {"mean": None, "std": None, **options}


def _save(checkpoint: Checkpoint, built: HubNetwork, weights: Path, shape: tuple[int, ...]) -> None:
    """Write the weights as those of the network that is built anew, after seeing that it computes the same."""
    from safetensors.torch import save_file

    state = checkpoint.network.state_dict()
    size = sum(value.nbytes for value in state.values())
    if size > HUB_BYTES:  # half as much where they were in float16
        most = HUB_BYTES // MEGABYTE
        raise InputError(f"expected weights of at most {most} MB as float32, got {size / MEGABYTE:.0f} MB")
    try:
        built.network.load_state_dict(state)
    except RuntimeError:
        raise InputError("expected weights that fit the model's configuration, got others") from None
    built.eval()
    x = torch.linspace(0, 1, shape[1] * shape[2]).reshape(1, 1, *shape[1:]).expand(1, *shape)
    fitted = HubNetwork(checkpoint.network, channels=built.channels, size=built.size, mean=built.mean, std=built.std)
    try:
        with torch.no_grad():
            same = torch.allclose(built(x), fitted(x), rtol=_TOLERANCE, atol=_TOLERANCE)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"expected a network that takes pictures of {built.size}, got one that does not") from error
    if not same:
        raise InputError("expected a network that its configuration tells whole, got one that computes something else")
    save_file({name: value.contiguous().clone() for name, value in built.state_dict().items()}, weights)


def _class_names(checkpoint: Checkpoint, wanted: Sequence[str]) -> tuple[str, ...]:
    """The data's names in the model's order, where each is one of the model's; else the model's own.

    Names agree but for case, and underscores or dashes for spaces; one of the model's may be several, divided by
    commas, as those of ImageNet. Where the model has numbers only, the order is taken to be the data's.
    """
    found = [_line(name) or f"class {index}" for index, name in enumerate(checkpoint.options.get("class_names") or ())]
    numbered = [str(index) for index in range(len(found))] == found
    if not found or (numbered and len(found) == len(wanted)):
        return tuple(wanted)
    if not 2 <= len(found) <= MOST_CLASSES:
        raise InputError(f"expected a model of 2 to {MOST_CLASSES} classes, got {len(found)}")
    places: dict[str, list[int]] = {}
    for index, name in enumerate(found):
        for word in {_plain(name), *map(_plain, name.split(","))}:
            places.setdefault(word, []).append(index)
    taken: dict[int, str] = {}
    for position, name in enumerate(wanted):
        there = places.get(_plain(name), [])
        if len(there) != 1 and position not in there:
            return _unlike(found)
        taken[position if position in there else there[0]] = name
    if len(taken) < len(wanted):
        return _unlike(found)
    return _unlike([taken.get(index, name) for index, name in enumerate(found)], taken)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _line(name: object) -> str:
    """A name in one line, without signs that are not seen, such as those that turn the direction of text."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in str(name)).split())[:_NAME_LENGTH].strip()


def _unlike(names: Sequence[str], kept: Collection[int] = ()) -> tuple[str, ...]:
    """Names with their number after those that occur twice, as cranes do in ImageNet; those at ``kept`` stay."""
    first = {names[index]: index for index in [*reversed(range(len(names))), *kept]}
    taken, unlike = set(names), list(names)
    for index, name in enumerate(names):
        if first[name] != index:
            while unlike[index] in taken:
                unlike[index] += f" ({index})"
            taken.add(unlike[index])
    return tuple(unlike)
