"""Two judgements as a comparison: figures, tests, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from xaibench.card import Card
from xaibench.comparison import Comparison, compare_judgements
from xaibench.errors import InputError
from xaibench.evaluate import Judgement
from xaibench.homes import find_model


def _pair(root: Path, *names: str) -> tuple[tuple[Judgement, Judgement], tuple[Card, Card]]:
    one, other = (Judgement.read(root / "reports" / "robust" / f"{name}.json") for name in names)
    first, second = (Card.read(find_model(name) / "config.json") for name in names)
    return (one, other), (first, second)


def test_figures_and_tests_are_those_of_the_outcomes(root: Path) -> None:
    judgements, cards = _pair(root, "digits-cnn", "digits-cnn-robust")
    found = compare_judgements(judgements, cards)
    clean, robust = found.tests
    assert clean.accuracy == tuple(one.clean_accuracy for one in judgements)
    assert robust.accuracy == tuple(one.robust_accuracy for one in judgements)
    assert robust.interval == tuple(one.interval for one in judgements)
    pairs = list(zip(judgements[0].outcomes, judgements[1].outcomes, strict=True))
    assert robust.only_first == sum(one == "r" != other for one, other in pairs)
    assert robust.only_second == sum(other == "r" != one for one, other in pairs)
    assert clean.only_first == sum(one != "w" and other == "w" for one, other in pairs)
    p_value = binomtest(robust.only_first, robust.only_first + robust.only_second).pvalue
    assert robust.p_value == pytest.approx(p_value)
    assert found.within is not None
    assert (found.within.norm, found.within.eps) == ("linf", 0.1)
    assert found.verdict.startswith("From digits-cnn to digits-cnn-robust: +21.4 points of robust accuracy")
    assert Comparison.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"data": "mnist"}, "data"),
        ({"data_digest": "0" * 64}, "samples"),
        ({"eps": 0.2}, "threat"),
        ({"attack": "pgd"}, "attack"),
    ],
)
def test_what_does_not_compare_is_refused(root: Path, change: dict[str, Any], what: str) -> None:
    (one, other), cards = _pair(root, "cancer-mlp", "cancer-mlp-robust")
    with pytest.raises(InputError, match=f"the same {what}"):
        compare_judgements((one, other.model_copy(update=change)), cards)
    with pytest.raises(InputError, match="the same task"):
        compare_judgements(_pair(root, "cancer-mlp", "digits-cnn")[0], _pair(root, "cancer-mlp", "digits-cnn")[1])
