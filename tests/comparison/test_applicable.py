"""A comparison that cannot be made is refused before any attack, in one line."""

from __future__ import annotations

from typing import Any

import pytest

from xaibench.cli import run as command
from xaibench.comparison import Sizes, models
from xaibench.errors import InputError

PAIR = ("compare", "factories:digits", "digits-cnn", "--data", "digits", "--n", "4")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--explainer", "nosuch"), "explainer"),
        (("--explainer", "grad_cam"), "explainers that apply to both models, got grad_cam for factories:digits: "),
        (("--attack", "nosuch"), "attack"),
        (("--attack", "hotflip"), "an attack that exists for image"),
        (("--attack", "apgd_dlr", "--norm", "l0"), "got apgd_dlr for factories:digits: "),
        (("--eps", "7"), "7"),
    ],
)
def test_what_does_not_apply_is_refused_before_any_work(
    options: tuple[str, ...], reason: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def worked(*_: Any) -> None:
        raise AssertionError("the evaluation was begun")

    monkeypatch.setattr(models, "_evaluated", worked)
    assert command([*PAIR, *options]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert reason in err


def test_usual_explainers_are_not_owed() -> None:
    assert Sizes().chosen == ()
    assert Sizes(explainers=("lime",)).chosen == ("lime",)
    with pytest.raises(InputError, match="nosuch"):
        Sizes(explainers=("nosuch",))
    with pytest.raises(InputError, match="each of `explainers` once"):
        Sizes(explainers=("saliency", "saliency:absolute=true"))
