"""``xaibench verify``: whether what a report claims is true."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xaibench.cli import completion
from xaibench.cli.console import print_json, say
from xaibench.cli.options import AsJson

__all__ = ["verify"]


def verify(
    *,
    report: Annotated[
        Path, typer.Argument(help="Folder of a report.", show_default=False, autocompletion=completion.report)
    ],
    model: Annotated[
        str | None,
        typer.Option(help="The module:factory of the report's model, where it is code: only what you name here runs."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Check every claim of a report again, from its model, data and adversarial examples.

    One line for each group of claims that holds. Exit code 1 names the first false claim.

    [dim]xaibench verify reports/digits-cnn[/]
    [dim]xaibench verify reports/digits-cnn --json[/]
    [dim]xaibench verify reports/mine --model my_module:make_model[/]
    """
    from xaibench.report.verify import FalseClaimError
    from xaibench.report.verify import verify as claims

    held: dict[str, str] = {}
    false: str | None = None
    try:
        for claim in claims(report, factory=model):
            held[claim.name] = claim.found
            if not as_json:
                print(f"✓ {claim.name}: {claim.found}", flush=True)
    except FalseClaimError as error:
        false = str(error)
    if as_json:
        print_json({"report": str(report), "true": false is None, "held": held, "false_claim": false})
    if false is not None:
        say(f"xaibench: false claim: {false}")
        return 1
    return 0
