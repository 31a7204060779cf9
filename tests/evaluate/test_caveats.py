"""What makes a model's numbers doubtful is said, in the results and in the summary; sound models get no warning."""

from __future__ import annotations

from pathlib import Path

import factories
import pytest
import torch
from torch import Tensor, nn

from xaibench.classifiers import TorchClassifier
from xaibench.data import load_data
from xaibench.errors import InputError
from xaibench.evaluate import Plan, evaluate_clean, run
from xaibench.types import Classifier

PLAN = Plan(model="factories:digits", data="digits", n=30, samples=2, attacks=("fgsm",), eps=0.1)


class Head(nn.Module):
    """The linear digits model behind a function of its inputs or its logits."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Sequential(nn.Flatten(), factories.linear(load_data("digits", "train")))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)  # type: ignore[no-any-return]


class Noisy(Head):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, 0.2, training=True))


class Saturated(Head):
    """Logits so far apart that the loss is flat wherever the answer is right."""

    def forward(self, x: Tensor) -> Tensor:
        return 1e4 * super().forward(x)


class Undefined(Head):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + (x - x).flatten(1).sum(dim=1, keepdim=True).sqrt()


class Broken(Head):
    """Not a number for bright inputs only, which the samples include and a glance at random noise does not."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / (x[:, :, 0, 0] < 2 * x[:, :, 3, 3])


def use(monkeypatch: pytest.MonkeyPatch, module: nn.Module) -> None:
    def model() -> Classifier:
        return TorchClassifier(module, input_shape=(1, 8, 8))

    monkeypatch.setattr(factories, "digits", model)


def test_a_sound_model_has_no_caveats() -> None:
    assert run(PLAN).results.caveats == ()


def test_a_random_model_is_called_random(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Noisy())
    torch.manual_seed(0)
    evaluation = run(PLAN)
    (caveat,) = evaluation.results.caveats
    assert caveat.what.startswith("The model is not deterministic: ")
    assert "expectation over transformation" in caveat.meaning
    assert f"{caveat.what}; these numbers are not to be taken at their word." in evaluation.summary


def test_a_model_that_errs_by_chance_is_not_said_to_be_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Noisy())
    torch.manual_seed(0)
    samples = run(PLAN.model_copy(update={"eps": 0.001, "n": 100, "samples": 100})).explanations
    distances = [sample.distance for sample in samples if sample.distance is not None]
    assert len(distances) < 100
    assert all(distances)


def test_gradients_that_vanish_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Saturated())
    evaluation = run(PLAN)
    right = round(evaluation.clean.accuracy * 30)
    (caveat,) = evaluation.results.caveats
    assert caveat.what == f"The gradient is zero or undefined for {right} of the first 30 samples"
    assert evaluation.curves[-1].robust[-1] == right


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_methods_refuse_gradients_that_are_not_numbers(monkeypatch: pytest.MonkeyPatch, norm: str) -> None:
    use(monkeypatch, Undefined())
    results = run(PLAN.model_copy(update={"norm": norm, "eps": None, "attacks": ("fgsm", "pgd")})).results
    missing = {item.what: item.reason for item in results.not_measured}
    assert list(missing) == ["fgsm", "pgd", "saliency", "integrated_gradients"]
    assert all("got NaN or infinity" in reason for reason in missing.values())
    assert results.robustness is None


@pytest.mark.parametrize("plan", [PLAN, PLAN.model_copy(update={"attacks": ()})])
def test_logits_that_are_not_finite_end_a_run_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plan: Plan
) -> None:
    use(monkeypatch, Broken())
    with pytest.raises(InputError, match=r"^expected finite logits from the model, got NaN or infinity for \d+ of \d+"):
        run(plan, out=tmp_path)
    assert not list(tmp_path.glob(".run/*/attack*"))
    with pytest.raises(InputError, match="expected finite logits"):
        evaluate_clean(factories.digits(), load_data("digits"))
