"""A method is said to lead only where its figures on the same samples are better by more than chance."""

from __future__ import annotations

import torch

from xaibench.pages.explanations.quality import best_in_words
from xaibench.quality import Score


def score(method: str, metric: str, values: list[float], *, higher: bool = True) -> Score:
    told = torch.tensor(values, dtype=torch.float64)
    return Score(
        method=method,
        metric=metric,
        values=told,
        mean=float(told.nanmean()),
        interval=(float(told.min()), float(told.max())),
        higher_is_better=higher,
    )


def scores(*rows: Score) -> dict[str, dict[str, Score]]:
    found: dict[str, dict[str, Score]] = {}
    for row in rows:
        found.setdefault(row.method, {})[row.metric] = row
    return found


NOISE = [0.1, -0.12, 0.05, -0.02, 0.08, -0.1, 0.03, -0.01]


def test_a_lead_by_chance_is_no_lead() -> None:
    base = [0.8 + 0.01 * place for place in range(8)]
    close = scores(
        score("deep_lift", "insertion", [value + noise for value, noise in zip(base, NOISE, strict=True)]),
        score("saliency", "insertion", base),
    )
    said = best_in_words(close, 8)
    assert said.startswith("#### None is shown to explain best")
    assert "DeepLIFT" not in said


def test_a_tie_names_nobody() -> None:
    said = best_in_words(scores(score("lime", "insertion", [0.5] * 8), score("saliency", "insertion", [0.5] * 8)), 8)
    assert said.startswith("#### None is shown to explain best")


def test_a_lead_on_every_sample_over_every_other_is_named_whichever_way_is_better() -> None:
    low, middle, high = ([start + 0.01 * place for place in range(8)] for start in (0.1, 0.4, 0.9))
    said = best_in_words(
        scores(
            score("saliency", "deletion", high, higher=False),
            score("deep_lift", "deletion", low, higher=False),
            score("lime", "deletion", middle, higher=False),
        ),
        8,
    )
    assert said.startswith("#### DeepLIFT leads in 1 of 1 figure")
    third = scores(
        score("saliency", "insertion", high), score("deep_lift", "insertion", high), score("lime", "insertion", low)
    )
    assert "None is shown" in best_in_words(third, 8)


def test_one_method_alone_leads_nothing() -> None:
    assert best_in_words(scores(score("lime", "insertion", [0.5])), 1).startswith("#### Measured on 1 sample\n")
