"""The door: an upload is put aside, looked at by another process, and becomes a model folder only if that agrees."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

from xaibench.errors import InputError
from xaibench.homes import model_homes
from xaibench.intake.limits import MEGABYTE, MODEL_BYTES, MODEL_SECONDS, MOST_ADDED
from xaibench.intake.request import UPLOAD, Request

__all__ = ["MADE", "REFUSAL", "is_added", "remove_added", "take_in"]

MADE, REFUSAL = "made", "refused.txt"
_MARK = "added.json"
"""Says of a model folder that it came in through here, and so may go again."""
_NAME = re.compile(r"own-[a-z0-9-]+")
_ASIDE = ".adding-"
_STALE_SECONDS = 3600
_PIECE = 1 << 20
_TOKENIZER_BYTES = 20 * MEGABYTE
_PASSED_ON = re.compile(r"(PATH|HOME|LANG|LC_\w+|TMPDIR|VIRTUAL_ENV|PYTHONPATH|OMP_\w+|TF_\w+|XAIBENCH_DATA_HOME)")
_ONE_AT_A_TIME = threading.Lock()


def take_in(request: Request, upload: BinaryIO, tokenizer: BinaryIO | None = None) -> str:
    """Add a model, and give the name of its folder, which is made here; nothing of the file's own name is used.

    A process with limits on time and memory loads the file without unpickling it, tries it and measures it. Raises
    `InputError` for what that refuses, for too large files, and where `MOST_ADDED` have been added already.
    """
    if not _ONE_AT_A_TIME.acquire(blocking=False):
        raise InputError("another model is being looked at: try again in a minute")
    try:
        home = model_homes()[0]
        home.mkdir(parents=True, exist_ok=True)
        _make_room(home)
        aside = home / f"{_ASIDE}{secrets.token_hex(8)}"
        aside.mkdir()
        try:
            _receive(upload, aside / f"{UPLOAD}.{request.format}", MODEL_BYTES)
            if tokenizer is not None:
                _receive(tokenizer, aside / "tokenizer.json", _TOKENIZER_BYTES)
            (aside / "request.json").write_text(request.model_dump_json(), encoding="utf-8")
            name = f"own-{_slug(request.title)}{secrets.token_hex(3)}"
            _look_at(aside.resolve(), name)
            (aside / MADE / _MARK).write_text(request.model_dump_json(indent=2), encoding="utf-8")
            os.rename(aside / MADE, home / name)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    finally:
        _ONE_AT_A_TIME.release()
    return name


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


def _look_at(aside: Path, name: str) -> None:
    """Run the examination in a process group of its own, and end all of it after a while."""
    environment = {key: value for key, value in os.environ.items() if _PASSED_ON.fullmatch(key)}
    if home := environment.get("XAIBENCH_DATA_HOME"):
        environment["XAIBENCH_DATA_HOME"] = str(Path(home).resolve())
    environment |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "xaibench.intake", str(aside), name],
        cwd=aside,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        code = process.wait(MODEL_SECONDS)
    except subprocess.TimeoutExpired:
        raise InputError(
            f"expected a model that can be tried in {MODEL_SECONDS} s, got one that takes longer"
        ) from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    refusal = aside / REFUSAL
    if refusal.is_file():
        raise InputError(refusal.read_text(encoding="utf-8"))
    if code != 0 or not (aside / MADE / "config.json").is_file():
        raise InputError("the file could not be looked at: it is damaged, or needs more memory than an added model may")


def _slug(title: str) -> str:
    """Small letters and digits of a title, for the folder's name; a title without any leaves nothing."""
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].strip("-")
    return f"{words}-" if words else ""
