"""``xaibench report``: the main job, from a trained classifier to a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote

import typer

from xaibench.cli import completion
from xaibench.cli.console import live_progress, print_json, print_table, say
from xaibench.cli.options import AsJson, DataName, Seed, Split, Weights, say_if_fewer, takes_model_options

if TYPE_CHECKING:
    from xaibench.evaluate import Plan

__all__ = ["report"]


@takes_model_options
def report(
    *,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="A shipped model, a model folder, a weights file (.keras, .pt2, SavedModel), your own module:factory,"
            " or the folder of a finished report. Several give a leaderboard as well.",
            show_default=False,
            autocompletion=completion.model,
        ),
    ],
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
        list[str] | None,
        typer.Option(
            help="An attack or ensemble, as name or name:key=value,...; repeat for several.",
            autocompletion=completion.attack,
        ),
    ] = None,
    explainer: Annotated[
        list[str] | None,
        typer.Option(
            help="An explainer, as name or name:key=value,...; repeat for several.", autocompletion=completion.explainer
        ),
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
        Path | None,
        typer.Option(
            help="Folder to write to; reports/<model> by default. Of several: the folder around theirs; reports.",
            show_default=False,
        ),
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Print the page to report.pdf as well, by Chromium.")] = False,
    as_json: AsJson = False,
    options: Mapping[str, str],
) -> int:
    """Measure a classifier, break it, explain it, and write a report that opens offline.

    Several models get a leaderboard, index.html and leaderboard.json, over their reports; one that fails is listed
    there with the reason, and the exit code is 1. The page of a finished report is drawn again.

    [dim]xaibench report digits-cnn[/]
    [dim]xaibench report cifar10-resnet --norm l2 --eps 0.5 --n 500 --attack pgd:steps=50[/]
    [dim]xaibench report my_module:make_model --weights best.safetensors --data scans/[/]
    [dim]xaibench report digits-cnn digits-cnn-robust --out reports --pdf[/]
    [dim]xaibench report table.pt2 --data table.csv --mean 4.2,0.1 --std 1.3,0.2[/]
    """
    from xaibench.evaluate import Plan
    from xaibench.report.pdf import find_browser
    from xaibench.report.several import folder_name

    if pdf:
        find_browser()
    chosen = {"attacks": tuple(attack or ()), "explainers": tuple(explainer or ())}
    plan = Plan(
        model=models[0],
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
    entries = {name: _entry(name, plan) for name in models}
    if len(entries) > 1:
        return _several(entries, out or Path("reports"), pdf=pdf, as_json=as_json)
    (entry,) = entries.values()
    folder = entry if isinstance(entry, Path) else out or Path("reports") / folder_name(entry.model)
    _one(entry, folder, pdf=pdf, as_json=as_json)
    return 0


def _entry(name: str, plan: Plan) -> Plan | Path:
    """A model's plan, or the folder of a finished report."""
    return Path(name) if (Path(name) / "report.json").is_file() else plan.model_copy(update={"model": name})


def _one(entry: Plan | Path, folder: Path, *, pdf: bool, as_json: bool) -> None:
    from xaibench.report import Report, run
    from xaibench.report.pdf import print_page
    from xaibench.report.write import redraw

    if isinstance(entry, Path):
        redraw(folder)
    else:
        with live_progress() as progress:
            evaluation = run(entry, out=folder, progress=progress)
        say_if_fewer(evaluation.data.n, entry.n)
    written = [folder / "index.html", *([print_page(folder / "index.html", folder / "report.pdf")] if pdf else [])]
    if as_json:
        print((folder / "report.json").read_text(encoding="utf-8"), end="")
        return
    print(f"{Report.read(folder).summary}\n")
    for path in written:
        print(path.resolve())


def _several(entries: Mapping[str, Plan | Path], home: Path, *, pdf: bool, as_json: bool) -> int:
    from xaibench.reading import format_threat
    from xaibench.report.pdf import print_page
    from xaibench.report.several import run_several

    with live_progress() as progress:
        board, page = run_several(entries, home, progress=progress)
    rows = [row for group in board.groups for row in group.rows]
    if pdf:
        for name in (row.page for row in rows):
            print_page(home / unquote(name), (home / unquote(name)).with_name("report.pdf"))
    if as_json:
        print_json(board.model_dump(mode="json"))
    else:
        for group in board.groups:
            threat = "" if group.norm is None or group.eps is None else f", {format_threat(group.norm, group.eps)}"
            print_table(
                [
                    (
                        name,
                        row.clean.value,
                        None if row.robust is None else row.robust.value,
                        None if row.proved is None else row.proved.value,
                        row.verdict,
                    )
                    for name, row in zip(group.names, group.rows, strict=True)
                ],
                header=("model", "clean", "robust", "proved", "verdict"),
                title=f"{group.n} samples of {group.data}{threat}",
            )
        print(page.resolve())
    for failure in board.failures:
        say(f"xaibench: no report of {failure.name}: {failure.reason}")
    return 1 if board.failures else 0
