"""The door: a model is put aside, looked at by another process, and becomes a model folder only if that agrees."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from xaibench.errors import InputError
from xaibench.homes import model_homes
from xaibench.intake.apart import MADE, Step, run_apart
from xaibench.intake.limits import HUB_SECONDS, MEGABYTE, MODEL_BYTES, MODEL_SECONDS, MOST_ADDED
from xaibench.intake.names import downloads_allowed, missing_package, read_hub_name
from xaibench.intake.request import UPLOAD, Request

__all__ = ["is_added", "remove_added", "take_in"]

_MARK = "added.json"
"""Says of a model folder that it came in through here, and so may go again."""
_NAME = re.compile(r"own-[a-z0-9-]+")
_ASIDE = ".adding-"
_STALE_SECONDS = 3600
_PIECE = 1 << 20
_TOKENIZER_BYTES = 20 * MEGABYTE
_ONE_AT_A_TIME = threading.Lock()


def take_in(
    request: Request,
    upload: BinaryIO | None = None,
    tokenizer: BinaryIO | None = None,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> str:
    """Add a model, and give the name of its folder, which is made here; nothing of the file's own name is used.

    A model comes as an ``upload``, or by the name on a hub that the request gives, and is downloaded then. A process
    with limits on time and memory loads it without unpickling it, tries it and measures it; ``tell`` hears what goes
    on. Raises `InputError` for what that refuses, for data that are not at hand, for too large files, where downloads
    are off, and where `MOST_ADDED` have been added already.
    """
    if not _ONE_AT_A_TIME.acquire(blocking=False):
        minutes = 2 * HUB_SECONDS // 60
        raise InputError(f"another model is being added: try again when that is done, in {minutes} minutes at most")
    try:
        steps, seconds = _check(request)
        home = model_homes()[0]
        home.mkdir(parents=True, exist_ok=True)
        _make_room(home)
        name = f"own-{_slug(request.title)}{secrets.token_hex(3)}"
        with _aside(home) as folder:
            _put(folder, request, upload, tokenizer)
            for step in steps:
                run_apart(step, folder, name, seconds=seconds, tell=tell)
            (folder / MADE / _MARK).write_text(request.model_dump_json(indent=2), encoding="utf-8")
            os.rename(folder / MADE, home / name)
    finally:
        _ONE_AT_A_TIME.release()
    return name


def _check(request: Request) -> tuple[tuple[Step, ...], float]:
    """The steps that a request takes, and seconds for each; refuses what need not be tried, before it is received.

    That are data that are not at hand and, of a hub, data of no images, names that are none, downloads that are off,
    and packages that are not there.
    """
    from xaibench.data import check_at_hand, load_data, measured_split

    check_at_hand(request.data)
    if request.format != "hub":
        return ("examine",), MODEL_SECONDS
    task = load_data(request.data, measured_split(request.data), n=1).task
    if task != "image":
        raise InputError(f"expected data of images for a model of a hub, got {task} data ({request.data})")
    name = read_hub_name(request.hub)
    if not downloads_allowed():
        raise InputError("downloads are switched off here: upload the model's files instead")
    if how := missing_package(name.hub):
        raise InputError(f"expected the package that reads {name.hub}: models, got none: {how}")
    return ("download", "examine"), HUB_SECONDS


@contextmanager
def _aside(home: Path) -> Iterator[Path]:
    """A folder among the models that is none of them, and is gone after."""
    folder = (home / f"{_ASIDE}{secrets.token_hex(8)}").resolve()
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(folder: Path, request: Request, upload: BinaryIO | None, tokenizer: BinaryIO | None) -> None:
    """Write what came into the folder where it is looked at."""
    if request.format != "hub":
        if upload is None:
            raise InputError("expected a file, got none")
        _receive(upload, folder / f"{UPLOAD}.{request.format}", MODEL_BYTES)
    if tokenizer is not None:
        _receive(tokenizer, folder / "tokenizer.json", _TOKENIZER_BYTES)
    (folder / "request.json").write_text(request.model_dump_json(), encoding="utf-8")


def is_added(folder: Path) -> bool:
    """Whether a model came in through `take_in`."""
    return _NAME.fullmatch(folder.name) is not None and (folder / _MARK).is_file()


def remove_added(folder: Path) -> None:
    """Delete a model that was added; any other raises `InputError`."""
    if folder.parent.resolve() != model_homes()[0].resolve() or folder.is_symlink() or not is_added(folder):
        raise InputError(f"expected a model that was added through the app, got {folder.name!r:.80}")
    shutil.rmtree(folder)


def _make_room(home: Path) -> None:
    for left in home.glob(f"{_ASIDE}*"):
        if time.time() - left.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    if sum(map(is_added, home.iterdir())) >= MOST_ADDED:
        raise InputError(f"{MOST_ADDED} models have been added already: remove one first")


def _receive(source: BinaryIO, path: Path, most: int) -> None:
    size = 0
    with open(path, "xb") as file:
        while piece := source.read(_PIECE):
            size += len(piece)
            if size > most:
                raise InputError(f"expected a file of at most {most // MEGABYTE} MB, got a larger one")
            file.write(piece)
    if not size:
        raise InputError("expected a file that holds something, got an empty one")


def _slug(title: str) -> str:
    """Small letters and digits of a title, for the folder's name; a title without any leaves nothing."""
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].strip("-")
    return f"{words}-" if words else ""
