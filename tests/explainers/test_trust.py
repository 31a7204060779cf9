"""What the checks of attributions find, on methods known to be good and on ones known to be bad."""

from __future__ import annotations

import dataclasses
import gc
import json
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from scipy.stats import spearmanr
from small_models import inputs_for, keras_cnn, keras_token_net, linear, table_mlp, token_net, torch_cnn
from torch import Tensor, nn

from xaibench.classifiers import TorchClassifier
from xaibench.data import load_data
from xaibench.explainers import Attribution, TargetLogit, Trust, explain, explainers
from xaibench.explainers.examine import NOISE, examine, nudged, random_copy
from xaibench.types import Capability, Classifier
from xaibench.zoo import load_model

KEYS = ("completeness_gap", "sampling_error", "stability", "randomisation")
GOOD = {"stability": torch.tensor([0.9]), "randomisation": torch.tensor([0.1])}


@dataclass(frozen=True, kw_only=True)
class _Made:
    """An explainer out of a function of the target logits."""

    name: ClassVar[str] = "made"
    values: Callable[[TargetLogit], Tensor]

    def __call__(self, model: Classifier, inputs: Any, targets: Any = None, *, seed: int = 0) -> Attribution:
        logit = TargetLogit(self, model, inputs, targets, needs=())
        return logit.attribution(self.values(logit), seed=seed)


def _edges(logit: TargetLogit) -> Tensor:
    return (logit.x - logit.x.roll(1, -1)).abs() + (logit.x - logit.x.roll(1, -2)).abs()


def _noise(logit: TargetLogit) -> Tensor:
    return logit.rng(0).normal(tuple(logit.x.shape[1:]))


def _examined(explainer: Any, model: Classifier, x: Any) -> Attribution:
    return examine(explainer(model, x), explainer, model, x)


@pytest.mark.parametrize(
    ("figures", "expected", "reason"),
    [
        (GOOD, "trusted", "passes all checks: stability, randomisation"),
        ({**GOOD, "completeness_gap": torch.tensor([0.04])}, "trusted", "completeness gap"),
        ({**GOOD, "completeness_gap": torch.tensor([0.06])}, "doubtful", "miss the change of the logit by 6%"),
        ({**GOOD, "completeness_gap": torch.tensor([0.3])}, "unreliable", "by 30%"),
        ({**GOOD, "completeness_gap": torch.tensor([0.1]), "tolerance": 0.2}, "doubtful", "by 10%"),
        ({**GOOD, "completeness_gap": torch.tensor([0.9]), "tolerance": 1.0}, "unreliable", "by 90%"),
        ({**GOOD, "kept": torch.tensor([0.6])}, "trusted", "kept"),
        ({**GOOD, "kept": torch.tensor([1.9])}, "trusted", "kept"),
        ({**GOOD, "kept": torch.tensor([0.4])}, "doubtful", "add up to 0.40 times the logit"),
        ({**GOOD, "kept": torch.tensor([2.1])}, "doubtful", "2.10 times"),
        ({**GOOD, "kept": torch.tensor([-0.9])}, "unreliable", "-0.90 times"),
        ({**GOOD, "kept": torch.tensor([6.0])}, "unreliable", "6.00 times"),
        ({**GOOD, "caveats": ("it rolls dice",)}, "doubtful", "it rolls dice"),
        ({**GOOD, "sampling_error": torch.tensor([0.4])}, "doubtful", "standard errors are 40% of the values"),
        ({**GOOD, "sampling_error": torch.tensor([0.9])}, "unreliable", "90%"),
        ({**GOOD, "stability": torch.tensor([0.4])}, "doubtful", "a little noise leaves a rank correlation of 0.40"),
        ({**GOOD, "stability": torch.tensor([-0.4])}, "unreliable", "of -0.40"),
        ({**GOOD, "randomisation": torch.tensor([0.7])}, "doubtful", "random weights leave a rank correlation of 0.70"),
        ({**GOOD, "randomisation": torch.tensor([1.0])}, "unreliable", "of 1.00"),
        ({**GOOD, "randomisation": torch.tensor([torch.nan])}, "doubtful", "too few different values to rank"),
        ({**GOOD, "uncovered": ("2 (GELU)",)}, "doubtful", r"its rules do not cover 2 \(GELU\)"),
        ({"stability": torch.tensor([0.9])}, "doubtful", "randomisation was not tested"),
        ({}, "doubtful", "stability and randomisation were not tested"),
        (
            {"stability": torch.tensor([0.9]), "untested": {"randomisation": "no weights"}},
            "doubtful",
            "randomisation was not tested: no weights",
        ),
    ],
)
def test_each_figure_has_its_limits(figures: dict[str, Any], expected: str, reason: str) -> None:
    trust = Trust(**figures)
    assert trust.verdict == expected
    assert trust.verdicts == (expected,)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(trust.reason)
    json.dumps(trust.figures(), allow_nan=False)


def test_a_few_samples_may_fare_worse() -> None:
    stability = torch.full((20,), 0.9)
    trust = Trust(stability=stability, randomisation=torch.full((20,), 0.1))
    stability[:2] = 0.1
    assert trust.verdicts == ("unreliable",) * 2 + ("trusted",) * 18
    assert trust.verdict == "trusted"
    assert trust.reason == "it passes all checks in 18 of 20 samples: stability, randomisation"
    stability[2:4] = 0.4
    assert trust.verdict == "trusted"
    stability[4] = 0.4
    assert trust.verdict == "doubtful"
    assert trust.reason == "a little noise leaves a rank correlation of 0.40 in 5 of 20 samples"
    assert trust.at(0).verdict == "unreliable"
    assert trust.at(4).reason == "a little noise leaves a rank correlation of 0.40"
    stability[4] = 0.0
    assert trust.verdict == "unreliable"
    assert trust.reason == "a little noise leaves a rank correlation of 0.10 in 3 of 20 samples"


SHIPPED = {"digits-cnn": "digits", "cancer-mlp": "breast-cancer", "evidence-cnn": "evidence"}


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("method", ["input_x_gradient", "integrated_gradients", "saliency:absolute=false"])
def test_good_methods_are_trusted_on_shipped_models(name: str, method: str) -> None:
    model, data = load_model(name), load_data(SHIPPED[name], n=12)
    assert explain(model, data.inputs, method=method).trust.verdict == "trusted"


@pytest.mark.parametrize("name", ["digits-cnn", "evidence-cnn"])
@pytest.mark.parametrize("values", [_edges, _noise, lambda logit: logit.x], ids=["edges", "noise", "input"])
def test_maps_that_do_not_look_at_the_model_are_unreliable(name: str, values: Callable[[TargetLogit], Tensor]) -> None:
    model, data = load_model(name), load_data(SHIPPED[name], n=12)
    trust = _examined(_Made(values=values), model, data.inputs).trust
    assert trust.verdict == "unreliable"
    assert trust.randomisation is not None
    assert trust.randomisation.tolist() == pytest.approx([1.0] * 12)


def test_a_map_of_noise_is_unstable_too() -> None:
    model, data = load_model("evidence-cnn"), load_data("evidence", n=12)
    stability = _examined(_Made(values=_noise), model, data.inputs).trust.stability
    assert stability is not None
    assert float(stability.abs().max()) < 0.1


def test_gradients_in_units_of_unlike_features_tell_the_units() -> None:
    found = explain(load_model("cancer-mlp"), load_data("breast-cancer", n=12).inputs, method="saliency")
    assert found.trust.verdict == "doubtful"
    assert "random weights leave a rank correlation" in found.trust.reason


def test_the_figures_are_those_of_three_more_explanations() -> None:
    model = torch_cnn()
    x, calls = inputs_for(model, 5), []
    plain = explainers.create("input_x_gradient")

    class Counting:
        name = "counting"

        def __call__(self, *given: Any, **rest: Any) -> Attribution:
            calls.append(given)
            return plain(*given, **rest)

    found = plain(model, x, 2, seed=3)
    trust = examine(found, Counting(), model, x).trust
    assert len(calls) == 3
    changed, _ = nudged(x, model, seed=3)
    noisy = plain(model, changed, found.target, seed=3).values
    random = [plain(random_copy(model, 3, index), x, found.target, seed=3).values for index in (0, 1)]
    ranks = [
        [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(found.values, other, strict=True)]
        for other in (noisy, *random)
    ]
    assert trust.stability is not None
    assert trust.randomisation is not None
    assert trust.stability.tolist() == pytest.approx(ranks[0], abs=1e-6)
    means = [(abs(one) + abs(other)) / 2 for one, other in zip(ranks[1], ranks[2], strict=True)]
    assert trust.randomisation.tolist() == pytest.approx(means, abs=1e-6)


def test_few_values_are_held_to_more_copies_and_empty_maps_of_copies_to_none() -> None:
    model, plain = table_mlp(), explainers.create("input_x_gradient")
    x, calls = inputs_for(model, 3), []

    class Counting:
        name = "counting"

        def __call__(self, other: Classifier, *given: Any, **rest: Any) -> Attribution:
            calls.append(other)
            found = plain(other, *given, **rest)
            empty = other in [random_copy(model, 0, index) for index in (0, 2, 4)]
            return dataclasses.replace(found, values=found.values * (not empty))

    found = plain(model, x)
    trust = examine(found, Counting(), model, x).trust
    # Of eight copies for five values, those three count for nothing.
    assert len(calls) == 1 + 8
    counted = [plain(random_copy(model, 0, index), x, found.target).values for index in (1, 3, 5, 6, 7)]
    ranks = torch.tensor(
        [[spearmanr(a, b).statistic for a, b in zip(found.values, other, strict=True)] for other in counted]
    )
    assert trust.randomisation is not None
    torch.testing.assert_close(trust.randomisation, ranks.abs().mean(dim=0).float(), atol=1e-6, rtol=0)


def test_a_map_without_ranks_is_doubtful() -> None:
    model = table_mlp()
    x = inputs_for(model, 2)
    plain = explainers.create("integrated_gradients")
    found = plain(model, x)
    found = dataclasses.replace(found, values=torch.zeros_like(found.values))
    trust = examine(found, plain, model, x).trust
    assert trust.verdict == "doubtful"
    assert "too few different values to rank" in trust.reason


class _Mixing(nn.Module):
    """Takes the mean of the batch away from each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x - x.mean(dim=0))


class _Rolling(nn.Module):
    """Adds noise to what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x) + torch.randn(len(x), 2)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (_Mixing, "change with the other samples in its batch"),
        (_Rolling, "two passes over one batch gave different logits"),
    ],
)
def test_models_that_are_no_function_of_one_input_are_doubted(module: type[nn.Module], reason: str) -> None:
    torch.manual_seed(0)
    model = TorchClassifier(module(), task="tabular", input_shape=(12,))
    trust = explain(model, torch.rand(3, 12), 0, method="input_x_gradient").trust
    assert trust.verdict != "trusted"
    assert reason in trust.reason


def test_inputs_outside_the_bounds_are_noted() -> None:
    model = torch_cnn()
    x = inputs_for(model, 3)
    x[1] *= 10
    assert explain(model, x).trust.notes == ("1 of 3 inputs lie outside the bounds of the model",)
    assert explain(model, inputs_for(model, 3)).trust.notes == ()


def test_neither_padding_nor_the_replaced_word_counts() -> None:
    model, plain = token_net(), explainers.create("input_x_gradient")
    x = inputs_for(model, 6)
    x[:, 6:] = 0
    found = plain(model, x, 1)
    changed, same = nudged(x, model, where=x != 0)
    noisy, kept = plain(model, changed, 1).values, same & (x != 0)
    expected = [spearmanr(a[k], b[k]).statistic for a, b, k in zip(found.values, noisy, kept, strict=True)]
    trust = examine(found, plain, model, x).trust
    assert trust.stability is not None
    assert kept.sum(dim=1).tolist() == [5] * 6
    assert trust.stability.tolist() == pytest.approx(expected, abs=1e-6)
    x[:, 3:] = 0
    short = examine(plain(model, x, 1), plain, model, x).trust.stability
    assert short is not None
    assert bool(short.isnan().all())


@pytest.mark.parametrize("make", [torch_cnn, keras_cnn])
def test_explainers_share_a_random_copy_until_the_model_changes(make: Callable[[], Classifier]) -> None:
    model: Any = make()
    x = inputs_for(model, 2)
    copy = random_copy(model, 0)
    assert random_copy(model, 0) is copy
    assert torch.equal(copy.logits(x), model.randomised(0).logits(x))
    assert not torch.equal(random_copy(model, 1).logits(x), model.randomised(0).logits(x))
    if model.framework == "torch":
        with torch.no_grad():
            model.module[0].weight.mul_(2)
    else:
        model.model.weights[0].assign(2 * model.model.weights[0])
    assert torch.equal(random_copy(model, 0).logits(x), model.randomised(0).logits(x))
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_explain_makes_all_checks_unless_told_otherwise() -> None:
    model = torch_cnn()
    x = inputs_for(model, 4)
    full, quick = (explain(model, x, trust=trust) for trust in ("full", "quick"))  # type: ignore[arg-type]
    assert full.trust.stability is not None
    assert full.trust.randomisation is not None
    assert quick.trust.stability is None
    assert torch.equal(full.values, quick.values)
    assert full.cost.forward == quick.cost.forward


@pytest.mark.parametrize("make", [torch_cnn, keras_cnn, table_mlp, token_net, keras_token_net])
def test_checks_do_not_depend_on_batches_nor_change_the_model(make: Callable[[], Classifier]) -> None:
    model = make()
    x, digest = inputs_for(model, 6), model.digest
    whole = explain(model, x, method="input_x_gradient").trust
    parts = [explain(model, part, method="input_x_gradient").trust for part in (x[:2], x[2:])]
    for key in ("stability", "randomisation"):
        joined = torch.cat([getattr(part, key) for part in parts])
        torch.testing.assert_close(joined, getattr(whole, key), atol=1e-3, rtol=0, equal_nan=True)
    assert model.digest == digest
    if x.shape[1:].numel() < 5:
        assert whole.randomisation is not None
        assert bool(whole.randomisation.isnan().all())


def test_noise_is_a_share_of_the_range_and_stays_in_the_box() -> None:
    model = table_mlp()
    x = inputs_for(model, 400)
    changed, same = nudged(x, model)
    assert bool(same.all())
    low, high = model.bounds.tensors(x)
    assert bool(((changed >= low) & (changed <= high)).all())
    inner = ((x - low) / (high - low) - 0.5).abs() < 0.4
    share = (changed - x) / (high - low)
    for feature in range(5):
        assert float(share[:, feature][inner[:, feature]].std()) == pytest.approx(NOISE, rel=0.2)


@pytest.mark.parametrize("make", [token_net, keras_token_net])
def test_one_word_of_a_text_is_replaced_and_never_padding(make: Callable[[], Classifier]) -> None:
    model = make()
    x = inputs_for(model, 30)
    x[:, 4:] = 0
    changed, same = nudged(x, model, where=x != 0)
    assert (changed != x).sum(dim=1).tolist() == [1] * 30
    assert torch.equal(changed != x, ~same)
    assert not bool((changed != x)[:, 4:].any())
    assert bool((changed[~same] > 0).all())
    assert len(set(changed[~same].tolist())) > 10
    empty = torch.zeros_like(x)
    changed, same = nudged(empty, model, where=empty != 0)
    assert torch.equal(changed, empty)
    assert bool(same.all())


def test_what_cannot_be_checked_is_said() -> None:
    model = linear(torch.tensor([[1.0] * 12, [-1.0] * 12]), torch.zeros(2))

    class Fixed:
        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

        def randomised(self, seed: int = 0, layers: Any = None) -> Any:
            from xaibench.errors import UnsupportedError

            raise UnsupportedError("they are constants\nof the graph")

    trust = explain(Fixed(), torch.rand(3, 12), method="input_x_gradient").trust  # type: ignore[arg-type]
    assert trust.randomisation is None
    assert trust.stability is not None
    assert trust.untested == {"randomisation": "they are constants"}
    assert trust.verdict == "doubtful"
    assert Capability.WEIGHTS in model.capabilities


@pytest.mark.parametrize("features", [2, 3, 4, 5])
def test_rank_correlations_need_a_few_values(features: int) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(features, 8), nn.Tanh(), nn.Linear(8, 2))
    model = TorchClassifier(module, task="tabular", input_shape=(features,))
    trust = explain(model, torch.rand(3, features), 0, method="input_x_gradient").trust
    assert trust.stability is not None
    assert trust.randomisation is not None
    assert trust.stability.isnan().tolist() == [features < 3] * 3
    assert trust.randomisation.isnan().tolist() == [features < 5] * 3


@pytest.mark.parametrize("make", [torch_cnn, token_net])
def test_the_sampling_error_is_the_root_mean_square_error_relative_to_that_of_the_values(
    make: Callable[[], Classifier],
) -> None:
    model = make()
    found = explain(model, inputs_for(model, 4), method="smoothgrad", samples=8, trust="quick")
    assert found.stderr is not None
    assert found.trust.sampling_error is not None
    error, size = (part.double().flatten(1).square().mean(dim=1).sqrt() for part in (found.stderr, found.values))
    torch.testing.assert_close(found.trust.sampling_error.double(), error / size, rtol=1e-4, atol=0)


def test_a_passed_check_is_named_by_what_it_looked_at() -> None:
    ones = torch.ones(2)
    trust = Trust(kept=ones, stability=ones, randomisation=0 * ones)
    assert trust.reason == "it passes all checks: share of the logit kept, stability, randomisation"
