"""Images in folders named after their classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from xaibench.data.images import Encoded, decode_images, image_channels, probe_rows
from xaibench.data.source import IMAGE_BOUNDS, Rows, stratified_split
from xaibench.data.splits import split_of
from xaibench.errors import InputError
from xaibench.types import Bounds, Task

__all__ = ["FolderSource", "has_images"]

_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def has_images(folder: Path) -> bool:
    """Whether an image lies anywhere below a folder."""
    return any(_is_image(path) for path in folder.rglob("*"))


@dataclass(frozen=True, kw_only=True)
class FolderSource:
    """Image files and class indices by split."""

    name: str
    class_names: tuple[str, ...]
    files: Mapping[str, tuple[list[Path], Tensor]]
    task: Task = field(default="image", init=False)
    bounds: Bounds = field(default=IMAGE_BOUNDS, init=False)
    feature_names: None = field(default=None, init=False)

    @classmethod
    def open(cls, folder: Path, name: str) -> FolderSource:
        """Images as ``<split>/<class>/*``, or as ``<class>/*``, which `stratified_split` divides."""
        inner = _folders(folder)
        splits = {split: inside for inside in inner if (split := split_of(inside.name)) and _folders(inside)}
        roots = splits or {"all": folder}
        class_names = tuple(sorted({each.name for root in roots.values() for each in _folders(root)}))
        if not class_names:
            raise InputError(f"expected tables or folders of images named after their classes in {folder}, got neither")
        files = {split: _list(root, class_names) for split, root in roots.items()}
        if not any(paths for paths, _ in files.values()):
            raise InputError(f"expected images in the folders below {folder}, got none")
        if not splits:
            paths, labels = files["all"]
            parts = stratified_split(labels).items()
            files = {split: ([paths[i] for i in rows.tolist()], labels[rows]) for split, rows in parts}
        return cls(name=name, class_names=class_names, files=files)

    @property
    def splits(self) -> tuple[str, ...]:
        """As the folders are named, or train, test and all."""
        return tuple(self.files)

    def size(self, split: str) -> int:
        """Number of image files of a split."""
        return len(self.files[split][0])

    def read(self, split: str, ids: Tensor) -> Rows:
        """Decode the images with these indices in the order of class and file name."""
        paths, labels = self.files[split]
        channels = image_channels(_encoded(paths[row]) for row in probe_rows(len(paths)))
        images = [_encoded(paths[row]) for row in ids.tolist()]
        return Rows(inputs=decode_images(images, channels), labels=labels[ids])


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


def _encoded(path: Path) -> Encoded:
    return str(path), path.read_bytes


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _list(root: Path, class_names: tuple[str, ...]) -> tuple[list[Path], Tensor]:
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        found = sorted(path for path in (root / name).rglob("*") if _is_image(path))
        paths += found
        labels += [label] * len(found)
    return paths, torch.tensor(labels, dtype=torch.int64)
