"""Two judgements of the same samples as a comparison: what each model alone withstood is known sample by sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xaibench.card import Card
from xaibench.comparison.paired import holm, mcnemar
from xaibench.comparison.results import AttackNote, Compared, Comparison, Within
from xaibench.comparison.sides import check_alike
from xaibench.comparison.verdict import verdict
from xaibench.errors import InputError
from xaibench.evaluate import Judgement
from xaibench.evaluate.tally import radius_unit
from xaibench.robustness import ensemble_names

__all__ = ["compare_judgements"]


def compare_judgements(judgements: tuple[Judgement, Judgement], cards: tuple[Card, Card]) -> Comparison:
    """Clean and robust accuracy of two models, with McNemar's tests, from what is kept of each: nothing is computed.

    ``cards`` are the models' own. Another task, other classes, samples or attacks, or another threat raise
    `InputError`.
    """
    first, second = judgements
    one, other = cards
    check_alike((one.name, other.name), (one.task, other.task), (one.class_names, other.class_names))
    _check("data", first.data, second.data, one, other)
    _check("samples", first.data_digest[:12], second.data_digest[:12], one, other)
    _check("threat", f"{first.norm} {first.eps:g}", f"{second.norm} {second.eps:g}", one, other)
    _check("attack", first.attack, second.attack, one, other)
    tests = [
        mcnemar("clean", *(_which(found, "rb") for found in judgements)),
        mcnemar("robust", *(_which(found, "r") for found in judgements)),
    ]
    adjusted = holm([test.p_value for test in tests])
    stages = tuple(tuple(row.stage for row in found.stages) for found in judgements)
    robust = tests[1]
    found = Comparison(
        names=(one.name, other.name),
        models=(_compared(first, one), _compared(second, other)),
        task=one.task,
        data=first.data,
        split=first.split,
        data_digest=first.data_digest,
        seed=first.seed,
        n=first.n,
        verdict="",
        same_model=first.weights_digest == second.weights_digest,
        tests=tuple(test.model_copy(update={"adjusted": p}) for test, p in zip(tests, adjusted, strict=True)),
        within=Within(
            norm=first.norm,
            eps=first.eps,
            unit=radius_unit(first.norm, one.task),
            radii=(first.eps,),
            curves=((robust.accuracy[0],), (robust.accuracy[1],)),
            intervals=((robust.interval[0],), (robust.interval[1],)),
        ),
        attacks=(
            AttackNote(
                what="accuracy",
                attack=first.attack,
                stages=(stages[0], stages[1]) if first.attack in ensemble_names() else ((), ()),
                norm=first.norm,
                eps=first.eps,
                seeds=(first.seed, second.seed),
            ),
        ),
        per_class=(),
        calibration=((), ()),
    )
    return found.model_copy(update={"verdict": verdict(found)})


def _check(what: str, first: object, second: object, one: Card, other: Card) -> None:
    if first != second:
        raise InputError(
            f"expected judgements with the same {what}, got {first} ({one.name}) and {second} ({other.name})"
        )


def _which(found: Judgement, letters: Sequence[str]) -> Tensor:
    """(n,) bool: samples whose outcome is one of these letters."""
    return torch.tensor([outcome in letters for outcome in found.outcomes])


def _compared(found: Judgement, card: Card) -> Compared:
    return Compared(name=card.name, framework=card.framework, digest=found.weights_digest)
