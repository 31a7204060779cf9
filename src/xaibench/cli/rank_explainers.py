"""``xaibench rank-explainers``: which explainer finds the evidence best."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xaibench.cli import completion
from xaibench.cli.console import live_progress, print_json, print_table, say
from xaibench.cli.options import AsJson, DataName, ModelName, Seed, Split, Weights, listed, takes_model_options

if TYPE_CHECKING:
    from xaibench.quality import Ranking

__all__ = ["RANKING", "rank_explainers"]

RANKING = "ranking.json"
"""The file that --out writes."""


@takes_model_options
def rank_explainers(
    *,
    model: ModelName,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            "--method",
            help="all, names with commas, or name:key=value,...; repeat for several. All by default.",
            autocompletion=completion.explainer,
        ),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            help="Quality metrics to show, given as methods are; what suits the data by default.",
            autocompletion=completion.metric,
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="The metric that orders; the first of the metrics by default.", autocompletion=completion.metric
        ),
    ] = None,
    n: Annotated[int, typer.Option(help="How many samples, drawn by the seed.")] = 32,
    data: DataName = None,
    split: Split = "test",
    seed: Seed = 0,
    weights: Weights = None,
    out: Annotated[Path | None, typer.Option(help="Folder for ranking.json.", show_default=False)] = None,
    as_json: AsJson = False,
    options: Mapping[str, str],
) -> None:
    """Order explainers by how well they find planted evidence, or by faithfulness where none is known.

    With --out the result is kept as JSON, and a ranking that was interrupted goes on from its finished methods.

    [dim]xaibench rank-explainers evidence-cnn --data evidence[/]
    [dim]xaibench rank-explainers evidence-cnn-watermark --split test_biased --metrics spurious_mass,relevance_mass[/]
    [dim]xaibench rank-explainers cancer-mlp --methods saliency,occlusion --by deletion[/]
    [dim]xaibench rank-explainers evidence-cnn --out reports/explainers/evidence-cnn[/]
    """
    from xaibench.errors import InputError
    from xaibench.evaluate import ModelOptions, load_pair
    from xaibench.evaluate.shards import WORK, remove_work
    from xaibench.files import write_json
    from xaibench.quality import RankingRecord
    from xaibench.quality import rank_explainers as rank

    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"expected a folder to write to, got the file {out}")
    work = None if out is None else out / WORK / "ranking"
    classifier, rows = load_pair(
        model, data, weights=weights, options=ModelOptions.of(options), split=split, n=n, seed=seed
    )
    wanted = listed(methods)
    with live_progress() as progress:
        found = rank(
            classifier,
            rows,
            None if wanted == ["all"] else wanted,
            listed(metrics),
            by=by,
            n=n,
            seed=seed,
            folder=work,
            progress=progress,
        )
    result = {"model": model, "data": rows.name, "split": rows.split, **found.as_dict()}
    if out is not None and work is not None:
        record = RankingRecord.of(
            found, model=model, model_digest=classifier.digest, data=rows.name, split=rows.split, seed=seed
        )
        write_json(out / RANKING, record.model_dump(mode="json"))
        remove_work(work)
    if as_json:
        print_json(result)
    else:
        _show(found)
    if out is not None:
        say(f"xaibench: written to {(out / RANKING).resolve()}")


def _show(found: Ranking) -> None:
    scores = found.assessment
    others = [metric for metric in scores.metrics if metric != found.by]
    table = []
    for row in found.rows:
        low, high = row.score.interval
        rest = [scores.score(row.method, metric) for metric in others]
        table.append(
            [
                f"{'=' if row.tied else ''}{row.place}",
                row.method,
                f"{row.score.mean:.3f} [{low:.3f}, {high:.3f}]",
                f"{row.first:.0%}",
                *("" if score is None or score.mean != score.mean else f"{score.mean:.3f}" for score in rest),
            ]
        )
    better = "higher" if found.rows[0].score.higher_is_better else "lower"
    title = f"explainers by {found.by} ({better} is better) on {scores.n} samples, with 95 % intervals"
    print_table(table, header=("", "method", found.by, "first", *others), title=title)
    if found.left_out:
        say(f"xaibench: {found.left_out} samples are left out: the model gets them wrong")
    for refusal in scores.refused:
        what = refusal.method if refusal.metric is None else f"{refusal.metric} of {refusal.method}"
        say(f"xaibench: {what} does not apply: {refusal.reason}")
