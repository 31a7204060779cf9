"""Downloading a model of a hub by its name: its configuration and weights alone, of sizes known before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xaibench.classifiers.hub_config import is_of_timm, read_config
from xaibench.errors import InputError, first_line
from xaibench.files import write_json
from xaibench.intake.apart import SOURCE
from xaibench.intake.limits import HUB_BYTES, MEGABYTE
from xaibench.intake.names import HubName, missing_package, read_hub_name
from xaibench.intake.request import REPOSITORY, Request

__all__ = ["download"]

_WEIGHTS = "model.safetensors"
_PROCESSING = "preprocessor_config.json"
_MOST = {"config.json": 2 * MEGABYTE, _PROCESSING: MEGABYTE, _WEIGHTS: HUB_BYTES}
"""Bytes of the files that are fetched, in this order."""
_NEEDED = ("config.json", _WEIGHTS)
_CONNECT_SECONDS = 10.0


def download(folder: Path) -> None:
    """Fetch the model that ``request.json`` names into the folder `REPOSITORY`; `InputError` for what cannot be had.

    Files of one revision are read, whose sizes the Hub states. The host's own access to it is not used: a visitor gets
    what everybody gets.
    """
    request = Request.model_validate_json((folder / "request.json").read_text(encoding="utf-8"))
    name = read_hub_name(request.hub)
    if how := missing_package(name.hub):
        raise InputError(f"expected the package that reads {name.hub} models, got none: {how}")
    repository = _repository(name)
    sizes, revision = _sizes(repository)
    write_json(folder / SOURCE, {"name": str(name), "revision": revision, "bytes": sum(sizes.values())})
    for file in sizes:
        _fetch(repository, file, revision, folder / REPOSITORY)
        if file == "config.json" and _PROCESSING not in sizes and not is_of_timm(read_config(folder / REPOSITORY)):
            raise InputError(f"expected {_PROCESSING} in {repository}, which tells how pixels are prepared, got none")
    shutil.rmtree(folder / REPOSITORY / ".cache", ignore_errors=True)


def _repository(name: HubName) -> str:
    """Where on the Hub a model lies; timm knows it of its own."""
    if name.hub == "hf":
        return name.name
    from xaibench.classifiers.hubs import hub_package

    timm = hub_package("timm")
    found = timm.get_pretrained_cfg(name.name) if timm.is_model_pretrained(name.name) else None
    repository = getattr(found, "hf_hub_id", None)
    if not repository:
        raise InputError(f"expected the name of a trained network of timm, got {name.name!r:.80}")
    return read_hub_name(str(repository)).name


def _sizes(repository: str) -> tuple[dict[str, int], str]:
    """Bytes of the files to fetch, and the revision that they are of."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        info = HfApi(endpoint=os.environ.get("HF_ENDPOINT")).model_info(
            repository, files_metadata=True, timeout=_CONNECT_SECONDS, token=False
        )
    except GatedRepoError:
        raise _gated(repository) from None
    except RepositoryNotFoundError:
        raise InputError(f"expected a public model of the Hugging Face Hub, got {repository}: there is none") from None
    except Exception as error:  # the client raises dozens of kinds, from name resolution to certificates
        raise InputError(f"the Hugging Face Hub could not be reached: {first_line(error)}") from None
    if info.gated:
        raise _gated(repository)
    stated: Mapping[str, Any] = {file.rfilename: file.size for file in info.siblings or ()}
    for file in _NEEDED:
        if file not in stated:
            raise InputError(f"expected {file} in {repository}, got none: other formats are not read")
    for file, most in _MOST.items():
        size = stated.get(file, 0)
        if size is None or size > most:
            got = "an unknown size" if size is None else f"{size / MEGABYTE:.0f} MB"
            raise InputError(f"expected {file} of at most {most // MEGABYTE} MB, got {got}")
    return {file: int(stated[file]) for file in _MOST if file in stated}, str(info.sha)


def _gated(repository: str) -> InputError:
    return InputError(f"expected a model that everybody may download, got {repository}, which asks who you are")


def _fetch(repository: str, file: str, revision: str, folder: Path) -> None:
    from huggingface_hub import hf_hub_download

    try:
        endpoint = os.environ.get("HF_ENDPOINT")
        hf_hub_download(repository, file, revision=revision, local_dir=folder, token=False, endpoint=endpoint)
    except Exception as error:  # as above, and a full disk
        raise InputError(f"expected {file} of {repository} to come whole, got: {first_line(error)}") from None
    path = folder / file
    if path.is_symlink() or path.stat().st_size > _MOST[file]:
        raise InputError(f"expected {file} of at most {_MOST[file] // MEGABYTE} MB, got a larger one")
