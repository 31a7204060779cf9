"""Where trained models lie: found by looking at folders alone, so that listing them loads no framework."""

from __future__ import annotations

import json
import os
from pathlib import Path

from xaibench.errors import unknown_name
from xaibench.places import is_plain

__all__ = ["WEIGHTS", "find_model", "model_folder", "model_homes", "model_names", "typed_title"]

WEIGHTS = {"torch": "model.safetensors", "keras": "model.keras", "exported": "model.pt2"}
"""The file that holds a model's weights in its folder, by framework."""


def model_homes() -> tuple[Path, ...]:
    """Where models are looked for, in order: ``$XAIBENCH_MODELS_HOME`` alone if set, else ``./models``, the shipped."""
    named = os.environ.get("XAIBENCH_MODELS_HOME")
    if named:
        return (Path(named),)
    return (Path("models"), Path(__file__).resolve().parents[2] / "models")


def model_names() -> tuple[str, ...]:
    """Names of the complete model folders, sorted."""
    return tuple(sorted(_folders()))


def find_model(name: str) -> Path:
    """The folder of a model at hand; an unknown name raises `InputError` with the nearest ones."""
    folders = _folders()
    if name not in folders:
        raise unknown_name("model", name, folders)
    return folders[name]


def model_folder(source: str | Path) -> Path:
    """The folder of a model given by the folder itself, or by name."""
    return Path(source) if (Path(source) / "config.json").is_file() else find_model(str(source))


def typed_title(folder: Path) -> str:
    """What a model was called where it was added through the app; empty for any other."""
    if not folder.name.startswith("own-"):
        return ""
    try:
        told = json.loads((folder / "added.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(told.get("title", "")) if isinstance(told, dict) else ""


def _folders() -> dict[str, Path]:
    """The complete model folders by name; a name that occurs twice is the nearer one's."""
    folders: dict[str, Path] = {}
    for home in model_homes():
        for path in home.iterdir() if home.is_dir() else ():
            if _is_complete(path):
                folders.setdefault(path.name, path)
    return folders


def _is_complete(folder: Path) -> bool:
    # A name that is none could be read as a path, or as code of one's own: `module:function`.
    if not is_plain(folder.name) or not (folder / "config.json").is_file():
        return False
    return any((folder / name).is_file() for name in WEIGHTS.values())
