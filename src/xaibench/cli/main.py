"""The entry point: runs a command and turns what went wrong into one line and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from xaibench.cli.console import quiet, say
from xaibench.errors import InputError

__all__ = ["main", "run"]

_INTERRUPTED = 130
_CRASHED = -1
_GOING_ON = {
    "compare": "the same command goes on where it stopped if it has --out",
    "compress": "the same command goes on where it stopped",
    "search": "the same command goes on where it stopped",
    "report": "the same command goes on where it stopped",
    "harden": "the same command with --resume goes on from the last checkpoint, if one was reached",
    "train": "the same command with --resume goes on from the last checkpoint, if one was reached",
}


def main() -> None:
    """Run the command line that the process was started with, and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code.

    0 is success, 2 bad input or usage (one line on standard error), 130 interrupted, 1 a check that failed or anything
    else. Warnings and chatter of third-party libraries are kept off the terminal unless ``--debug`` is given; the app's
    server logs there.
    """
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet(not debug and arguments[:1] != ["app"]) as log, warnings.catch_warnings():
        if not debug:
            warnings.simplefilter("ignore")
        code = _run(arguments, log)
    if code == _CRASHED:
        return 1
    if log is not None:
        log.unlink()
    return code


def _run(arguments: list[str], log: Path | None) -> int:
    from typer.main import get_command

    from xaibench.cli.app import app

    try:
        code = get_command(app).main(arguments, prog_name="xaibench", standalone_mode=False)
    except InputError as error:
        say(f"xaibench: error: {error}")
        return 2
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except SystemExit:  # typer's answer when the reader of a pipe leaves, as in `xaibench models | head -1`
        return 0
    except Exception as error:
        if hasattr(error, "format_message"):  # usage errors, by the one attribute that all versions of typer give them
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "xaibench"
            say(f"xaibench: error: {error.format_message()} (see `{command} --help`)")
            return 2
        if log is None:
            raise
        with log.open("a") as file:
            traceback.print_exc(file=file)
        say(f"xaibench: error: unexpected {type(error).__name__}: {error}; details are in {log}")
        return _CRASHED
    if code == _INTERRUPTED:
        say(f"xaibench: interrupted; {_GOING_ON.get(''.join(arguments[:1]), 'nothing was overwritten')}")
    return code if isinstance(code, int) else 0
