"""``xaibench compare``: two models or reports side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xaibench.cli import completion
from xaibench.cli.console import live_progress, print_json, print_table, say
from xaibench.cli.options import AsJson, DataName, Seed, Split, listed

if TYPE_CHECKING:
    from xaibench.comparison import Comparison

__all__ = ["compare"]

Which = Annotated[
    str,
    typer.Argument(
        help="Folder of a report, or a model.", show_default=False, autocompletion=completion.model_or_report
    ),
]


def compare(
    *,
    first: Which,
    second: Which,
    data: DataName = None,
    split: Split = "test",
    n: Annotated[int, typer.Option(help="How many rows models are measured on, drawn by the seed.")] = 200,
    norm: Annotated[
        str | None,
        typer.Option(
            help="How perturbations are measured: linf, l2, l1 or l0. Default: as SECOND or FIRST was hardened."
        ),
    ] = None,
    eps: Annotated[
        float | None,
        typer.Option(help="How far a perturbation may go. Default: as SECOND or FIRST was hardened, else customary."),
    ] = None,
    attack: Annotated[
        list[str] | None,
        typer.Option(help="An attack; repeat for several. Default: verdict.", autocompletion=completion.attack),
    ] = None,
    explainer: Annotated[
        list[str] | None,
        typer.Option(
            help="An explainer; repeat for several. Default: saliency, integrated_gradients.",
            autocompletion=completion.explainer,
        ),
    ] = None,
    minimal: Annotated[int, typer.Option(help="How many samples the smallest perturbation is searched for.")] = 50,
    corruptions: Annotated[int, typer.Option(help="How many images are corrupted in every way.")] = 100,
    assessed: Annotated[int, typer.Option(help="How many samples explanations are measured on.")] = 32,
    manipulated: Annotated[int, typer.Option(help="How many samples have their explanations attacked.")] = 16,
    samples: Annotated[int, typer.Option(help="How many samples are shown side by side.")] = 6,
    quick: Annotated[
        bool, typer.Option("--quick", help="Accuracy and robust accuracy alone; of reports, what they hold.")
    ] = False,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for compare.html and compare.json.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set two reports, or two models, side by side on the same samples: what one wins and what it pays.

    Accuracy clean and under attack, nearest adversarial examples, transfer, corruptions, calibration, size and speed,
    and what became of explanations: each figure on the same samples, and called better or worse only by a test. With
    --out, as a page. Another task, other classes, samples or threats on the two sides are refused.

    [dim]xaibench compare digits-cnn digits-cnn-robust --n 100 --eps 0.1 --out reports/hardened[/]
    [dim]xaibench compare reports/digits-cnn reports/digits-cnn-robust --json[/]
    """
    from xaibench.comparison import Sizes, compare_names, write_comparison
    from xaibench.evaluate import Plan

    chosen = {"explainers": tuple(explained)} if (explained := listed(explainer)) else {}
    sizes = Sizes(
        assessed=assessed, manipulated=manipulated, corruptions=corruptions, samples=samples if out else 0, **chosen
    )
    plan = Plan(
        model=first,
        data=data,
        split=split,
        n=n,
        seed=seed,
        eps=eps,
        attacks=tuple(attack or ("verdict",)),
        explainers=(),
        samples=0,
        proofs=0,
        checks=False,
        minimal=0 if quick else minimal,
        corruptions=0,
        **({} if norm is None else {"norm": norm}),
    )
    with live_progress() as progress:
        view = compare_names(first, second, plan, sizes=None if quick else sizes, folder=out, progress=progress)
    found = view.comparison
    page = write_comparison(view, out) if out is not None else None
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        _show(found)
    if page is not None:
        say(f"xaibench: written to {page.resolve()}") if as_json else print(f"\n{page.resolve()}")


def _show(found: Comparison) -> None:
    from xaibench.comparison.attackers import is_single, note_text, under
    from xaibench.comparison.verdict import figure_label

    one, other = found.names
    print(f"{found.verdict}\n")
    if found.within and found.within.trained_by:
        print(f"The threat is the one that {found.within.trained_by} was trained against; --eps takes another.\n")
    attacked = under(found) if found.within else "unchanged"
    if found.attacks and is_single(found):
        print(f"No ensemble attacked: what is right {attacked} may fall to a stronger attack (--attack verdict).\n")
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
                _p(test.p_value, test.adjusted),
            )
            for test in found.tests
        ],
        header=("accuracy", one, other, f"only {one}", f"only {other}", "p (McNemar; Holm)"),
        title=f"{found.n} samples",
    )
    if found.within:
        rows = [
            (f"{radius:g}", *shares) for radius, *shares in zip(found.within.radii, *found.within.curves, strict=True)
        ]
        print_table(
            rows,
            header=(f"{found.within.norm} radius", one, other),
            title=f"robust accuracy {attacked} and at other radii",
        )
    print_table(
        [(row.name, row.support, *(row.right if row.support else ("–", "–"))) for row in found.per_class],
        header=("class", "samples", one, other),
        title=f"samples of each class that are right {attacked}",
    )
    if found.figures:
        print_table(
            [
                (
                    figure_label(figure),
                    figure.n,
                    *(f"{value:.4g}" for value in figure.mean),
                    f"{figure.difference:+.3g}" + _interval(figure.difference_interval),
                    "no test" if figure.p_value is None else _p(figure.p_value, figure.adjusted),
                    figure.outcome,
                )
                for figure in found.figures
            ],
            header=("figure, on the same samples", "samples", one, other, "difference", "p (paired; Holm)", other),
        )
    _show_cost(found)
    for note in found.attacks:
        print(f"Attack ({note.what}): {note_text(note, found.names)}")
    for item in found.not_measured:
        print(f"Not measured: {item.what}: {item.reason}")


def _show_cost(found: Comparison) -> None:
    rows: list[Sequence[object]] = []
    for what in ("parameters", "nonzero", "file_bytes", "images_per_second"):
        values = [getattr(model, what) for model in found.models]
        if None not in values:
            first, second = values
            rows.append((what.replace("_", " "), f"{first:,.0f}", f"{second:,.0f}", f"{second / max(first, 1):.3g}"))
    if rows:
        print_table(rows, header=("cost", *found.names, "ratio"))


def _p(p_value: float, adjusted: float | None) -> str:
    return f"{p_value:.2g}" if adjusted is None else f"{p_value:.2g}; {adjusted:.2g}"


def _interval(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f" ({ends[0]:+.3g} to {ends[1]:+.3g})"
