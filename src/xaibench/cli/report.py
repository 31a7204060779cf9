"""``xaibench report``: the main job, from a trained classifier to a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from xaibench.cli.console import live_progress
from xaibench.cli.options import AsJson, DataName, ModelName, Seed, Split, Weights, say_if_fewer, takes_model_options

__all__ = ["report"]


@takes_model_options
def report(
    *,
    model: ModelName,
    data: DataName = None,
    split: Split = "test",
    n: Annotated[int, typer.Option(help="How many rows to measure on, drawn by the seed.")] = 200,
    norm: Annotated[
        str, typer.Option(help="How perturbations are measured: linf, l2, l1, l0, or words for text.")
    ] = "linf",
    eps: Annotated[
        float | None,
        typer.Option(help="How far a perturbation may go, in input units; customary for the data by default."),
    ] = None,
    attack: Annotated[
        list[str] | None, typer.Option(help="An attack or ensemble, as name or name:key=value,...; repeat for several.")
    ] = None,
    explainer: Annotated[
        list[str] | None, typer.Option(help="An explainer, as name or name:key=value,...; repeat for several.")
    ] = None,
    samples: Annotated[int, typer.Option(help="How many samples are explained, clean and attacked.")] = 6,
    proofs: Annotated[int, typer.Option(help="How many samples, of those not broken, are tried to be proved.")] = 100,
    minimal: Annotated[
        int | None, typer.Option(help="How many samples the smallest perturbation is searched for; 50, but for text.")
    ] = None,
    corruptions: Annotated[int | None, typer.Option(help="How many images are corrupted in every way; 100.")] = None,
    assessed: Annotated[int, typer.Option(help="How many samples the explainers are assessed on; 0 for none.")] = 16,
    compared: Annotated[int, typer.Option(help="How many broken samples are explained before and after.")] = 32,
    manipulated: Annotated[
        int | None, typer.Option(help="How many samples have their explanations attacked; 16, but for text.")
    ] = None,
    checks: Annotated[bool, typer.Option("--checks/--no-checks", help="Check whether the numbers hold.")] = True,
    thorough: Annotated[bool, typer.Option("--thorough", help="Make the costly self-checks as well.")] = False,
    seed: Seed = 0,
    weights: Weights = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to; reports/<model> by default.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    options: Mapping[str, str],
) -> None:
    """Measure a classifier, break it, explain it, and write a report that opens offline.

    [dim]xaibench report digits-cnn[/]
    [dim]xaibench report cifar10-resnet --norm l2 --eps 0.5 --n 500 --attack pgd:steps=50[/]
    [dim]xaibench report my_module:make_model --weights best.safetensors --data scans/[/]
    [dim]xaibench report table.pt2 --data table.csv --mean 4.2,0.1 --std 1.3,0.2[/]
    """
    from xaibench.evaluate import Plan
    from xaibench.report import run

    chosen = {"attacks": tuple(attack or ()), "explainers": tuple(explainer or ())}
    plan = Plan(
        model=model,
        weights=str(weights) if weights else None,
        options=options,
        data=data,
        split=split,
        n=n,
        seed=seed,
        norm=norm,
        eps=eps,
        samples=samples,
        proofs=proofs,
        minimal=minimal,
        corruptions=corruptions,
        assessed=assessed,
        compared=compared,
        manipulated=manipulated,
        checks=checks,
        thorough=thorough,
        **{key: specs for key, specs in chosen.items() if specs},
    )
    folder = out or Path("reports") / Path(model.replace(":", "-")).stem
    with live_progress() as progress:
        evaluation = run(plan, out=folder, progress=progress)
    say_if_fewer(evaluation.data.n, n)
    if as_json:
        print((folder / "report.json").read_text(encoding="utf-8"), end="")
        return
    print(evaluation.summary)
    print(f"\n{(folder / 'index.html').resolve()}")
