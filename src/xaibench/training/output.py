"""The folder that a training writes to: what is refused, and what a run that failed must not leave there."""

from __future__ import annotations

from pathlib import Path

from xaibench.errors import InputError

__all__ = ["check_output", "remove_new"]


def check_output(folder: Path, *, resume: bool = False, overwrite: bool = True) -> None:
    """Refuse a folder of several models, one without an unfinished training to ``resume``, and one with a model.

    The last only without ``overwrite``, and not where an unfinished training goes on there.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"expected a folder to write to, got the file {folder}")
    if inside := sorted(path.parent.name for path in folder.glob("[!.]*/config.json")):
        raise InputError(f"expected a folder for one model, got {folder}, which holds others, such as {inside[0]}")
    if resume and not (folder / ".training").is_dir():
        raise InputError(f"nothing to resume in {folder}: expected an unfinished training there, got none")
    if not (resume or overwrite) and (folder / "config.json").exists():
        raise InputError(
            f"expected a folder without a model, got {folder}: name another with `out`, or have its model replaced with"
            " `overwrite`"
        )


def remove_new(folder: Path, before: set[Path]) -> None:
    """Remove ``folder`` and what is in it, but for the paths of ``before``."""
    if not folder.exists():
        return
    for path in sorted({folder, *folder.rglob("*")} - before, reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
