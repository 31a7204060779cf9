"""The commands by name, and the help that they are found with."""

from __future__ import annotations

from typing import Annotated

import typer

from xaibench.cli.app_command import open_app
from xaibench.cli.attack import attack
from xaibench.cli.card import card
from xaibench.cli.check import check
from xaibench.cli.compare import compare
from xaibench.cli.compress import compress
from xaibench.cli.data import data_app
from xaibench.cli.evaluate import evaluate
from xaibench.cli.explain import explain
from xaibench.cli.harden import harden
from xaibench.cli.models import models_app
from xaibench.cli.rank_explainers import rank_explainers
from xaibench.cli.report import report
from xaibench.cli.search import search
from xaibench.cli.train import train
from xaibench.cli.verify import verify

__all__ = ["app"]

app = typer.Typer(
    name="xaibench",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback()
def _main(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and third-party messages.")] = False,
) -> None:
    """Explain, break, harden and prove any trained classifier.

    [dim]xaibench models[/]                 what is at hand
    [dim]xaibench evaluate digits-cnn[/]    how well it does
    [dim]xaibench explain digits-cnn --index 3[/]    why it decides so, and whether to believe that
    [dim]xaibench report digits-cnn[/]      why it decides so, and how easily it is fooled
    [dim]xaibench verify reports/digits-cnn[/]    whether a report is true
    [dim]xaibench app[/]                    the same, by looking
    """


def version() -> None:
    """Print the version."""
    from xaibench import __version__

    print(__version__)


app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")
app.command("evaluate")(evaluate)
app.command("explain")(explain)
app.command("report")(report)
app.command("verify")(verify)
app.command("check")(check)
app.command("compare")(compare)
app.command("attack")(attack)
app.command("rank-explainers")(rank_explainers)
app.command("train")(train)
app.command("compress")(compress)
app.command("search")(search)
app.command("harden")(harden)
app.command("card")(card)
app.command("app")(open_app)
app.command("version")(version)
