"""``xaibench compare``: two models or reports side by side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xaibench.cli.console import live_progress, print_json, print_table
from xaibench.cli.options import AsJson, DataName, Seed, Split

if TYPE_CHECKING:
    from xaibench.report.compare import Comparison, Side

__all__ = ["compare"]

Which = Annotated[str, typer.Argument(help="Folder of a report, or a model.", show_default=False)]


def compare(
    *,
    first: Which,
    second: Which,
    data: DataName = None,
    split: Split = "test",
    n: Annotated[int, typer.Option(help="How many rows models are measured on, drawn by the seed.")] = 200,
    norm: Annotated[str, typer.Option(help="How perturbations are measured: linf, l2, l1 or l0.")] = "linf",
    eps: Annotated[float | None, typer.Option(help="How far a perturbation may go; customary by default.")] = None,
    attack: Annotated[list[str] | None, typer.Option(help="An attack; repeat for several. Default: verdict.")] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Set two reports, or two models, side by side on the same samples.

    Accuracy with 95 % intervals, clean and under attack, by radius and by class; McNemar's exact test says how likely
    such a difference is by chance. Reports on other samples or threats than each other's are refused.

    [dim]xaibench compare digits-cnn digits-cnn-robust --n 100 --eps 0.1[/]
    [dim]xaibench compare reports/digits-cnn reports/digits-cnn-robust --json[/]
    """
    from xaibench.evaluate import Plan, run
    from xaibench.report.compare import compare as side_by_side
    from xaibench.report.compare import load_side, side_of

    def side(name: str) -> Side:
        if (Path(name) / "report.json").exists():
            return load_side(name)
        plan = Plan(
            model=name,
            data=data,
            split=split,
            n=n,
            seed=seed,
            norm=norm,
            eps=eps,
            attacks=tuple(attack or ("verdict",)),
            explainers=(),
            samples=0,
            proofs=0,
            checks=False,
            minimal=0,
            corruptions=0,
        )
        with live_progress() as progress:
            return side_of(run(plan, progress=progress))

    found = side_by_side(side(first), side(second))
    if as_json:
        print_json(asdict(found))
    else:
        _show(found)


def _show(found: Comparison) -> None:
    one, other = found.names
    print_table(
        [
            (
                test.what,
                *(
                    f"{share:.4f} ({low:.3f}–{high:.3f})"
                    for share, (low, high) in zip(test.accuracy, test.interval, strict=True)
                ),
                test.only_first,
                test.only_second,
                f"{test.p_value:.2g}",
            )
            for test in found.tests
        ],
        header=("accuracy", one, other, f"only {one}", f"only {other}", "p (McNemar)"),
        title=f"{found.n} samples",
    )
    if found.radii:
        rows = [(f"{radius:g}", *shares) for radius, *shares in zip(found.radii, *found.curves, strict=True)]
        print_table(rows, header=("radius", one, other))
    print_table(found.per_class, header=("class", "samples", one, other))
