"""Looking into uploaded archives before a framework reads them: sizes, names, classes and links."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from xaibench.errors import InputError
from xaibench.intake.keras_config import check_configuration
from xaibench.intake.limits import MEGABYTE, MODEL_BYTES

__all__ = ["check_keras", "check_unpacked_size"]

_UNPACKED = 4 * MODEL_BYTES
_CONFIG_BYTES = 20 * MEGABYTE
_MEMBERS = {"config.json", "metadata.json", "model.weights.h5"}
_MOST_OBJECTS = 20_000


def check_unpacked_size(path: Path) -> None:
    """Refuse a zip archive that unpacks to far more than a model: its directory is believed, and held to it later."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        raise InputError("expected a whole archive, got one that breaks off or is none") from None
    if len({entry.filename for entry in entries}) < len(entries):
        raise InputError("expected every file once in the archive, got one twice")
    if len(entries) > _MOST_OBJECTS or sum(entry.file_size for entry in entries) > _UNPACKED:
        raise InputError(f"expected at most {_UNPACKED // MEGABYTE} MB once unpacked, got more")


def check_keras(path: Path, workspace: Path) -> None:
    """Refuse a ``.keras`` file that names more than known layers of Keras, or whose weights lead out of the file."""
    check_unpacked_size(path)
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        if missing := _MEMBERS - {"metadata.json"} - names:
            raise InputError(f"expected {min(missing)} in a Keras model, got none")
        if odd := names - _MEMBERS:
            raise InputError(f"expected only a configuration and weights in a Keras model, got {min(odd)!r:.80}")
        if archive.getinfo("config.json").file_size > _CONFIG_BYTES:
            raise InputError(f"expected a configuration of at most {_CONFIG_BYTES // MEGABYTE} MB, got more")
        try:
            check_configuration(json.loads(archive.read("config.json")))
            weights = Path(archive.extract("model.weights.h5", workspace))
        except InputError:
            raise
        except (ValueError, RecursionError, zipfile.BadZipFile):
            raise InputError("expected a whole Keras model, got one that breaks off or is damaged") from None
    _check_weights(weights)
    weights.unlink()


def _check_weights(path: Path) -> None:
    """HDF5 may point to other files, by links or as the place of its numbers; weights have no use for that."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            waiting, seen, total = [file], 0, 0
            while waiting:
                group = waiting.pop()
                for name in group:
                    seen += 1
                    if seen > _MOST_OBJECTS or not isinstance(group.get(name, getlink=True), h5py.HardLink):
                        raise InputError("expected weights in one file, got links to elsewhere")
                    item = group[name]
                    if isinstance(item, h5py.Group):
                        waiting.append(item)
                        continue
                    if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
                        raise InputError("expected weights in one file, got numbers that lie elsewhere")
                    total += item.nbytes
                    if total > _UNPACKED:
                        raise InputError(f"expected at most {_UNPACKED // MEGABYTE} MB of weights, got more")
    except (OSError, KeyError, RuntimeError, TypeError):
        raise InputError("expected whole weights, got some that break off or are damaged") from None
