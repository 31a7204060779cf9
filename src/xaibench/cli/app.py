"""The commands by name, and the help that they are found with."""

from __future__ import annotations

from typing import Annotated

import typer

from xaibench.cli import train

__all__ = ["app"]

app = typer.Typer(
    name="xaibench",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback()
def _main(
    debug: Annotated[bool, typer.Option("--debug", help="Show full tracebacks and third-party messages.")] = False,
) -> None:
    """Explain, break, harden and prove any trained classifier."""


app.command("train")(train.train)
