"""``xaibench check``: the gate for continuous integration."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from xaibench.cli import completion
from xaibench.cli.console import print_json, print_table, say
from xaibench.cli.options import AsJson

__all__ = ["check"]


def check(
    *,
    report: Annotated[
        Path, typer.Argument(help="Folder of a report.", show_default=False, autocompletion=completion.report)
    ],
    min_robust: Annotated[float | None, typer.Option(help="Least robust accuracy, a share from 0 to 1.")] = None,
    min_clean: Annotated[float | None, typer.Option(help="Least accuracy on unchanged inputs.")] = None,
    min_proved: Annotated[float | None, typer.Option(help="Least proved accuracy.")] = None,
    max_warnings: Annotated[int | None, typer.Option(help="Most self-checks that warn.")] = None,
    max_fails: Annotated[int | None, typer.Option(help="Most self-checks that fail.")] = None,
    verdict: Annotated[str | None, typer.Option(help="Least verdict of the self-checks: reliable or doubtful.")] = None,
    junit: Annotated[Path | None, typer.Option(help="File for a JUnit report.", show_default=False)] = None,
    as_json: AsJson = False,
) -> int:
    """Fail with exit code 1 unless a report reaches what is asked of it.

    [dim]xaibench check reports/digits-cnn --min-robust 0.4 --max-warnings 0[/]
    [dim]xaibench check reports/digits-cnn --min-clean 0.9 --verdict reliable --junit out.xml[/]
    """
    from xaibench.files import write_text
    from xaibench.report.gate import Demands, judge
    from xaibench.report.gate import junit as as_junit
    from xaibench.report.schema import Report

    found = Report.read_unchanged(report)
    demands = judge(
        found,
        Demands(
            min_robust=min_robust,
            min_clean=min_clean,
            min_proved=min_proved,
            max_warnings=max_warnings,
            max_fails=max_fails,
            verdict=verdict,  # type: ignore[arg-type] # Demands says itself what it takes
        ),
    )
    missed = [demand for demand in demands if not demand.met]
    if junit is not None:
        write_text(junit, as_junit(found, demands))
    if as_json:
        print_json({"report": str(report), "passed": not missed, "demands": [asdict(demand) for demand in demands]})
    else:
        rows = [(demand.name, demand.wanted, demand.got, "met" if demand.met else "missed") for demand in demands]
        print_table(rows, header=("demand", "wanted", "got", ""))
    for demand in missed:
        say(f"xaibench: {demand.name}: expected {demand.wanted}, got {demand.got}")
    return 1 if missed else 0
