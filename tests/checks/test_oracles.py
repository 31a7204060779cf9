"""Each check on a model for which its figure is known."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from broken import Flipped
from cases import along, case, formula, plane, two
from small_models import inputs_for, keras_cnn
from torch import Tensor, nn

from xaibench.attacks import PGD
from xaibench.checks import (
    BatchDependence,
    BlackBoxBeatsWhiteBox,
    Check,
    FiniteDifferences,
    IncompleteOptimisation,
    Monotonicity,
    MoreEffort,
    NoiseSuffices,
    OneStepBeatsMany,
    PlantedAdversarials,
    ProbabilitiesNotLogits,
    RandomModel,
    SilentSuccess,
    StoredAdversarials,
    TransferFailure,
    UnboundedAttack,
    UnstableGradients,
    ZeroGradients,
)
from xaibench.checks.planted import _plant
from xaibench.checks.radii import _whole_box
from xaibench.checks.rematches import broken_by
from xaibench.classifiers import TorchClassifier
from xaibench.threats import L1, L2, Linf, Threat
from xaibench.types import Classifier

NEAR, FAR = 0.06, 0.2


def mixed(near: int = 6, far: int = 10) -> Tensor:
    """Samples of `plane` that Linf(0.1) breaks, and samples that it does not."""
    return along(torch.tensor([NEAR] * near + [FAR] * far))


@pytest.mark.parametrize("check", [OneStepBeatsMany(), MoreEffort(steps=10), BlackBoxBeatsWhiteBox(), NoiseSuffices()])
def test_attacks_that_find_more_take_away_what_the_plane_allows(check: Check) -> None:
    outcome = check(case(plane(), mixed()))
    assert (outcome.figure, outcome.status) == (6 / 16, "fail")
    assert check(case(plane(), mixed(near=0))).status == "pass"


def test_samples_are_attacked_again_from_other_starts() -> None:
    seeds = []

    class Spy:
        name: ClassVar[str] = "spy"

        def __call__(
            self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
        ) -> Tensor:
            seeds.append(seed)
            return x

    looked_at = case(plane(), mixed())
    assert not broken_by(looked_at, torch.arange(3), Spy(), Spy()).any()
    assert looked_at.seed not in seeds
    assert len(seeds) == 2


def test_lost_robust_accuracy_counts_all_samples_and_one_hit_is_not_sure() -> None:
    x = mixed(near=1, far=15)
    broken = x.clone()
    broken[8:] = 0.4
    outcome = OneStepBeatsMany()(case(plane(), x, Linf(0.4), broken=broken))
    assert outcome.figure == 1 / 2, "all of the 8 that stand of 16"
    hit = BlackBoxBeatsWhiteBox(grave=0.02)(case(plane(), x))
    assert (hit.figure, hit.status) == (1 / 16, "warning")


def test_stored_examples_are_checked_for_class_distance_box_and_for_being_claimed() -> None:
    x = mixed(near=5, far=5)
    good = x.clone()
    good[:5] -= NEAR + 0.01
    true = case(plane(), x, broken=good)
    assert StoredAdversarials()(true).figure == 0
    right_class, too_far, outside, unclaimed = (good.clone() for _ in range(4))
    right_class[0] = x[0] - 0.01
    too_far[1] = x[1] - 0.2
    outside[2] = torch.tensor([0.5, -0.1])
    unclaimed[9] = x[9] + 0.01
    for false in (right_class, too_far, outside, unclaimed):
        outcome = StoredAdversarials()(replace(true, adversarials=false))
        assert (outcome.figure, outcome.status) == (1, "fail")


def test_passes_that_alternate_differ_by_their_step() -> None:
    passes = itertools.count()
    model = formula(lambda x: torch.stack([x[:, 0] * 0 + 4, x[:, 0] * 0 + next(passes) % 2], dim=1))
    outcome = RandomModel()(case(model, mixed()))
    assert (outcome.figure, outcome.status) == (1 / 4, "fail")
    averaged = RandomModel()(case(model, mixed(), attacks=("apgd_ce:eot=20",)))
    assert averaged.status == "warning"
    assert RandomModel()(case(plane(), mixed())).figure == 0


def test_logits_less_the_mean_of_the_batch_depend_on_it() -> None:
    x = along(torch.tensor([0.1, 0.1, 0.1, 0.1, 0.1, 0.4]))
    model = formula(lambda x: two(4 + x[:, 0] - x[:, 0].mean()))
    whole = 4 + x[:, 0] - x[:, 0].mean()
    outcome = BatchDependence()(case(model, x))
    # The last three samples make a batch of their own: their mean is 0.7, that of all is 0.65.
    assert outcome.figure == pytest.approx(0.05 / float(whole.max()), rel=1e-4)
    assert outcome.status == "fail"
    assert BatchDependence()(case(plane(), x)).status == "pass"


def test_probabilities_sum_to_one() -> None:
    def gap(x: Tensor) -> Tensor:
        return two(x.sum(dim=1) - 1)

    logits = ProbabilitiesNotLogits()(case(formula(lambda x: gap(x) + 3), mixed()))
    assert (logits.figure, logits.status) == (pytest.approx(5), "pass")
    for function in (lambda x: gap(x).softmax(dim=1), lambda x: gap(x).log_softmax(dim=1)):
        declared = TorchClassifier(formula(function).module, task="tabular", input_shape=(2,), outputs="logits")
        outcome = ProbabilitiesNotLogits()(case(declared, mixed()))
        assert (outcome.figure, outcome.status) == (pytest.approx(0, abs=1e-6), "warning")
    assert "one more softmax" in ProbabilitiesNotLogits()(case(twice(gap), mixed())).advice


def twice(gap: Callable[[Tensor], Tensor]) -> TorchClassifier:
    """A classifier that ends in a softmax of a softmax."""
    module = nn.Sequential(formula(gap).module, nn.Softmax(dim=1), nn.Softmax(dim=1))
    return TorchClassifier(module, task="tabular", input_shape=(2,))


def test_samples_beyond_a_step_have_no_gradient() -> None:
    model = formula(lambda x: two((x.sum(dim=1) - 1).clamp(max=0.2) + 1))
    outcome = ZeroGradients()(case(model, mixed(near=6, far=10)))
    assert (outcome.figure, outcome.status) == (10 / 16, "fail")
    huge = formula(lambda x: two(1e4 * (x.sum(dim=1) - 1)))
    saturated = ZeroGradients()(case(huge, mixed()))
    assert (saturated.figure, saturated.status) == (1, "warning")
    assert ZeroGradients()(case(plane(), mixed())).figure == 0


def test_noise_moves_a_linear_loss_by_half_the_radius() -> None:
    x = torch.full((8, 1), 0.6)
    model = formula(lambda x: two(10 * (x[:, 0] - 0.5)), features=1)
    outcome = UnstableGradients(draws=2000, radius=0.02)(case(model, x))
    assert outcome.figure == pytest.approx(0.01 / 0.1, rel=0.03)
    jumpy = formula(lambda x: two(0.1 + 0.1 * torch.sin(1e4 * x[:, 0])), features=1)
    assert UnstableGradients()(case(jumpy, x)).status == "warning"


@pytest.mark.parametrize(
    ("function", "figure", "status"),
    [
        (lambda x: x, 1.0, "pass"),
        (Flipped.apply, -1.0, "fail"),
        (lambda x: torch.cat([x[:, :1], x[:, 1:].detach()], dim=1), 2**-0.5, "warning"),
    ],
    ids=["exact", "flipped", "half"],
)
def test_slopes_of_a_linear_model(function: object, figure: float, status: str) -> None:
    weight = torch.tensor([3.0, 3.0])
    model = formula(lambda x: two(function(x) @ weight.to(x) - 3))  # type: ignore[operator]
    outcome = FiniteDifferences(directions=400)(case(model, mixed()))
    assert outcome.figure == pytest.approx(figure, abs=0.05)
    assert outcome.status == status


def test_a_model_that_stops_at_the_edge_of_the_box_has_slopes_up_to_there() -> None:
    model = formula(lambda x: two(x.clamp(0, 1) @ torch.tensor([3.0, 1.0]).to(x) + 1))
    assert FiniteDifferences()(case(model, torch.tensor([[0.0, 0.5], [1.0, 0.5]]))).figure == pytest.approx(1)


def test_a_staircase_is_flat_whatever_its_gradient_claims() -> None:
    model = formula(lambda x: two((x + ((10 * x).floor() / 10 - x).detach()).sum(dim=1)))
    outcome = FiniteDifferences()(case(model, along(torch.tensor([0.02, 0.14]))))
    assert (outcome.figure, outcome.status) == (0, "warning")
    assert "piecewise constant" in outcome.advice


def test_successes_that_a_second_look_does_not_confirm_are_silent() -> None:
    model = formula(lambda x: two((x.sum(dim=1) + 1) * (-1 if torch.is_grad_enabled() else 1)))
    outcome = SilentSuccess()(case(model, mixed()))
    assert (outcome.figure, outcome.status) == (1, "fail")
    assert SilentSuccess()(case(plane(), mixed())).figure == 0


def test_a_loss_that_rises_evenly_is_not_done() -> None:
    passes = itertools.count()
    rising = formula(lambda x: two(9 - 0.001 * next(passes) + 0 * x[:, 0]))
    outcome = IncompleteOptimisation()(case(rising, mixed()))
    assert outcome.figure == pytest.approx(10 / 39, rel=1e-3)
    assert outcome.status == "warning"
    assert IncompleteOptimisation()(case(plane(), mixed(near=0))).figure == pytest.approx(0, abs=1e-6)


def test_only_samples_without_a_way_out_withstand_any_change() -> None:
    model = formula(lambda x: two(torch.where(x[:, 0] > 0.6, torch.ones(()), x.sum(dim=1) - 1)))
    outcome = UnboundedAttack()(case(model, mixed(near=6, far=10)))
    assert (outcome.figure, outcome.status) == (10 / 16, "fail")
    assert UnboundedAttack()(case(plane(), mixed())).figure == 0


def test_a_small_region_that_steps_by_signs_lead_past_is_found() -> None:
    def hill(x: Tensor) -> Tensor:
        return two(0.6 - x[:, 0] + torch.where(x[:, 1] < 0.3, -0.05 * x[:, 1], 2 - x[:, 1]))

    found = case(formula(hill), torch.rand(10, 2, generator=torch.Generator().manual_seed(0)) / 10 + 0.1)
    signs = PGD(steps=20, random_start=False, loss="margin")
    assert not bool(broken_by(found, torch.arange(10), signs, threat=_whole_box(found)).any())
    assert UnboundedAttack()(found).figure == 0


def test_a_gap_that_large_steps_jump_over_is_not_monotone() -> None:
    def ring(x: Tensor) -> Tensor:
        away = (x[:, 0] - 0.5).abs()
        return two(torch.where((away > 0.03) & (away < 0.05), -1.0, 1.0 - away))

    outcome = Monotonicity()(case(formula(ring, features=1), torch.full((16, 1), 0.5)))
    assert outcome.figure is not None
    assert outcome.figure > 0.3
    assert outcome.status == "fail"
    steady = Monotonicity()(case(plane(), mixed()))
    assert steady.figure == 0, "near ones fall from 0.05 to 0.1, and far ones at 0.2"


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.15), L1(0.2)], ids=lambda threat: threat.norm)
def test_planted_points_are_found_along_gradients_and_not_against_them(threat: Threat) -> None:
    weight = torch.tensor([[1.0, -2.0, 0.5, 1.0], [-1.0, 0.5, 2.0, 1.0], [0.0, 1.0, -1.0, -2.0]])
    x = torch.rand(16, 4, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3
    honest = formula(lambda x: x @ weight.T, features=4)
    flipped = formula(lambda x: Flipped.apply(x) @ weight.T, features=4)
    assert PlantedAdversarials()(case(honest, x, threat)).figure == 1
    outcome = PlantedAdversarials()(case(flipped, x, threat))
    assert outcome.figure is not None
    assert outcome.figure < 0.5, "random starts find some"
    assert outcome.status == "fail"


def test_planted_points_begin_halfway_between_half_the_radius_and_all_of_it() -> None:
    looked_at = case(formula(lambda x: two(x[:, 0]), features=1), torch.full((6, 1), 0.5), Linf(0.1))
    heads = _plant(looked_at, looked_at.problem(torch.arange(6)), 20)
    assert heads.planted.all()

    def at(offset: float) -> Tensor:
        return heads(looked_at.logits(looked_at.x + offset))

    assert (at(0) < 0).all()
    assert (torch.maximum(at(0.0749), at(-0.0749)) < 0).all()
    assert (torch.maximum(at(0.0751), at(-0.0751)) > 0).all()


def test_planted_points_are_found_in_any_framework() -> None:
    model = keras_cnn()
    assert PlantedAdversarials(samples=8)(case(model, inputs_for(model, 8))).figure == 1


def test_what_fools_a_copy_has_to_fool_the_model() -> None:
    def two_faced(x: Tensor) -> Tensor:
        return two(x.sum(dim=1) - 1 if torch.is_grad_enabled() else x[:, 0] * 0 + 1)

    with torch.no_grad():
        outcome = TransferFailure()(case(formula(two_faced), mixed()))
    assert (outcome.figure, outcome.status) == (1, "warning")
    assert TransferFailure()(case(plane(), mixed())).figure == 0
