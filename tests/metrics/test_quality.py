"""Quality metrics against closed forms, naive loops and Captum; and the best, a random and the worst map in order."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from metric_cases import SIDE, N, explaining, generator, noise_like, planted, with_values
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.metrics import Case, area_under_curve, quality_metrics
from xaibench.metrics.road import impute
from xaibench.registry import Spec
from xaibench.types import Bounds


def _by_values() -> tuple[Case, Case, Case]:
    """Exact values, random ones of that size, and those of the wrong sign."""
    case = planted()
    return case, with_values(case, case.values.std() * noise_like(case.values)), with_values(case, -case.values)


def _by_sums() -> tuple[Case, Case, Case]:
    """Values that add up to what they should, to some of it, and to less than nothing."""
    case = planted()
    return case, with_values(case, 0.7 * case.values), with_values(case, -case.values)


def _by_masks() -> tuple[Case, Case, Case]:
    case = planted(60)
    assert case.masks is not None
    inside = case.masks.float().view(60, 1, SIDE, SIDE).expand_as(case.values)
    cue = ~case.masks
    spurious = dataclasses.replace(case, spurious_masks=cue)
    return tuple(with_values(spurious, values) for values in (inside, noise_like(inside), 1 - inside))  # type: ignore[return-value]


def _by_zeros() -> tuple[Case, Case, Case]:
    """Zeros where the weights have theirs, at random, and just where they have none."""
    weight = torch.arange(40).remainder(3).double() - 1
    x = 0.5 + torch.rand(N, 40, generator=generator(), dtype=torch.float64)
    random = (torch.rand(N, 40, generator=generator(1)) < 0.5).double()
    return tuple(
        _table(weight, values, x) for values in (weight.expand_as(x), random, (weight == 0).expand_as(x) + 0.0)
    )  # type: ignore[return-value]


def _by_neighbours() -> tuple[Case, Case, Case]:
    case = planted()
    return tuple(
        with_values(case, explaining(noise)(case.x, case.target), explain=explaining(noise)) for noise in (0, 0.1, 5)
    )  # type: ignore[return-value]


def _by_likeness(name: str) -> Callable[[], tuple[Case, Case, Case]]:
    """What is explained again is something else altogether, something akin, or the same map."""

    def make() -> tuple[Case, Case, Case]:
        case = planted()
        found = []
        for share in (0.0, 0.6, 1.0):
            other = share * case.values + (1 - share) * 0.05 * noise_like(case.values)
            given: dict[str, Any] = {
                "explain": {"explain": lambda x, target, other=other: other},
                "explain_randomised": {"explain_randomised": lambda layers, other=other: other, "layers": ("a", "b")},
                "explain_shifted": {"explain_shifted": lambda shift, other=other: (case.values, other)},
            }[name]
            found.append(dataclasses.replace(case, **given))
        return tuple(found)  # type: ignore[return-value]

    return make


def _by_direction() -> tuple[Case, Case, Case]:
    """The input itself, anything, and what is at right angles to it."""
    case = planted()
    other = noise_like(case.x)
    along = (other * case.x).flatten(1).sum(dim=1) / case.x.square().flatten(1).sum(dim=1)
    return tuple(with_values(case, values) for values in (2 * case.x, other, other - along.view(-1, 1, 1, 1) * case.x))  # type: ignore[return-value]


def _by_spread() -> tuple[Case, Case, Case]:
    case = planted()
    one = torch.zeros_like(case.values)
    one[:, 0, 3, 3] = 1.0
    return tuple(with_values(case, values) for values in (one, noise_like(one), torch.ones_like(one)))  # type: ignore[return-value]


ORDERED: dict[str, Callable[[], tuple[Case, Case, Case]]] = {
    "cascading_randomisation": _by_likeness("explain_randomised"),
    "completeness": _by_sums,
    "complexity": _by_spread,
    "deletion": _by_values,
    "faithfulness_correlation": _by_values,
    "infidelity": _by_values,
    "infidelity:perturbation=noise": _by_values,
    "infidelity:scaled=false,relative=false": _by_values,
    "input_invariance": lambda: _by_likeness("explain_shifted")()[::-1],
    "input_alignment": _by_direction,
    "insertion": _by_values,
    "local_lipschitz": _by_neighbours,
    "mask_auc": _by_masks,
    "max_sensitivity": _by_neighbours,
    "model_randomisation": _by_likeness("explain_randomised"),
    "non_sensitivity": _by_zeros,
    "pixel_flipping": _by_values,
    "pointing_game": _by_masks,
    "random_logit": _by_likeness("explain"),
    "relevance_mass": _by_masks,
    "relevance_rank": _by_masks,
    "road": _by_values,
    "sensitivity_n": _by_values,
    "sparseness": _by_spread,
    "spurious_mass": _by_masks,
}


def test_every_metric_is_in_the_table() -> None:
    assert {Spec.parse(name).name for name in ORDERED} == set(quality_metrics.names())


@pytest.mark.parametrize("name", ORDERED)
def test_the_best_a_random_and_the_worst_map_are_in_order(name: str) -> None:
    metric = quality_metrics.create(name)
    best, random, worst = (float(metric(case).nanmean()) for case in ORDERED[name]())
    if metric.higher_is_better:
        assert best > random > worst
    else:
        assert best < random < worst


@pytest.mark.parametrize("name", ORDERED)
def test_values_do_not_depend_on_batches_or_company(name: str) -> None:
    metric = quality_metrics.create(name)
    cases = ORDERED[name]()
    values = [metric(case) for case in cases]
    assert all(found.shape == cases[0].target.shape and found.dtype == torch.float64 for found in values)
    one = dataclasses.replace(cases[1], at_once=1)
    torch.testing.assert_close(metric(one), values[1], rtol=1e-6, atol=1e-9, equal_nan=True)
    if any(getattr(cases[0], field) is not None for field in ("explain", "explain_randomised", "explain_shifted")):
        return
    # Methods may be measured in one stack: samples repeat, with other values.
    fields = [field.name for field in dataclasses.fields(Case)]
    joined = {
        key: torch.cat([getattr(case, key) for case in cases])
        for key in fields
        if isinstance(getattr(cases[0], key), Tensor)
    }
    stack = dataclasses.replace(cases[0], **joined)
    torch.testing.assert_close(metric(stack), torch.cat(values), rtol=1e-6, atol=1e-9, equal_nan=True)


def _table(weight: Tensor, values: Tensor, x: Tensor, **rest: Any) -> Case:
    """Logits (w x, -w x) of features, with a baseline of zeros."""

    def logits(batch: Tensor) -> Tensor:
        z = (batch @ weight.to(batch))[:, None]
        return torch.cat([z, -z], dim=1)

    given: dict[str, Any] = {
        "x": x,
        "values": values,
        "target": torch.zeros(len(x), dtype=torch.long),
        "baseline": torch.zeros_like(x),
        "logits": logits,
        "bounds": Bounds(0.0, 1.0),
    }
    return Case(**{**given, **rest})


WEIGHT = torch.tensor([3.0, -1.0, 0.5, 2.0, 0.0, -2.5], dtype=torch.float64)


def _features(n: int = 5) -> Tensor:
    return torch.rand(n, 6, generator=generator(3), dtype=torch.float64)


def test_deletion_and_insertion_are_those_of_a_naive_loop() -> None:
    x = _features()
    case = _table(WEIGHT, x * WEIGHT, x)
    deleted, inserted = (quality_metrics.create(f"{name}:steps=6")(case) for name in ("deletion", "insertion"))
    for row in range(len(x)):
        order = (x[row] * WEIGHT).argsort(descending=True).tolist()
        for found, start, end in ((deleted, x[row], 0 * x[row]), (inserted, 0 * x[row], x[row])):
            point, curve = start.clone(), []
            for part in (None, *order):
                if part is not None:
                    point[part] = end[part]
                curve.append(1 / (1 + math.exp(-2 * float(point @ WEIGHT))))
            area = sum((a + b) / 2 for a, b in itertools.pairwise(curve)) / 6
            assert float(found[row]) == pytest.approx(area)


def test_pixel_flipping_of_a_linear_model_is_what_the_logit_loses() -> None:
    x = _features()
    case = _table(WEIGHT, x * WEIGHT, x)
    found = quality_metrics.create("pixel_flipping:steps=3,share=0.5")(case)
    flips = case.rng("flips").uniform((6,)).double()
    loss = (x - flips) * WEIGHT
    order = (x * WEIGHT).argsort(dim=1, descending=True)
    lost = loss.gather(1, order)[:, :3].cumsum(dim=1)
    torch.testing.assert_close(found, lost.sum(dim=1) / 4)


@pytest.mark.parametrize("name", ["faithfulness_correlation:share=0.5", "sensitivity_n:shares=[0.2,0.5,0.8]"])
@pytest.mark.parametrize(("factor", "expected"), [(1.0, 1.0), (7.0, 1.0), (-1.0, -1.0), (0.0, 0.0)])
def test_exact_values_of_a_linear_model_correlate_perfectly(name: str, factor: float, expected: float) -> None:
    x = _features()
    found = quality_metrics.create(name)(_table(WEIGHT, factor * x * WEIGHT, x))
    assert found.tolist() == pytest.approx([expected] * len(x), abs=1e-9)


def test_random_sets_have_the_size_asked_for() -> None:
    x = torch.rand(3, 20, generator=generator(), dtype=torch.float64)
    sizes = []
    case = _table(torch.ones(20, dtype=torch.float64), x, x)

    def logits(batch: Tensor) -> Tensor:
        sizes.append((batch == 0).sum(dim=1))
        return case.logits(batch)

    quality_metrics.create("sensitivity_n:shares=[0.1,0.5],sets=4")(dataclasses.replace(case, logits=logits))
    assert torch.cat(sizes).tolist() == [0] * 3 + [2, 2, 2, 2, 10, 10, 10, 10] * 3


@pytest.mark.parametrize("perturbation", ["removal", "noise"])
def test_infidelity_in_closed_form(perturbation: str) -> None:
    x = _features()
    exact = x * WEIGHT if perturbation == "removal" else WEIGHT.expand_as(x)
    plain = quality_metrics.create(f"infidelity:perturbation={perturbation},scaled=false,share=0.5")
    scaled = quality_metrics.create(f"infidelity:perturbation={perturbation},share=0.5")

    def measured(metric: Any, values: Tensor) -> list[float]:
        found: list[float] = metric(_table(WEIGHT, values, x)).tolist()
        return found

    assert measured(plain, exact) == pytest.approx([0.0] * 5, abs=1e-9)
    assert measured(plain, 3 * exact) == pytest.approx([4.0] * 5)
    assert measured(scaled, 3 * exact) == pytest.approx([0.0] * 5, abs=1e-9)
    assert measured(scaled, 0 * exact) == pytest.approx([1.0] * 5)
    assert measured(scaled, -exact) == pytest.approx([1.0] * 5)


@pytest.mark.parametrize("scaled", [False, True])
def test_infidelity_is_captums(scaled: bool) -> None:
    from captum.metrics import infidelity

    case = planted()
    gradient = torch.where(case.values > 0, case.values / (case.x - 0.3), 0.0)
    values = gradient + 0.02 * noise_like(case.values)
    samples = 16
    metric = quality_metrics.create(
        Spec("infidelity", {"perturbation": "noise", "samples": samples, "scaled": scaled, "relative": False})
    )
    rng = case.rng("infidelity")
    noises = [0.05 * rng.normal(tuple(case.x.shape[1:]), step) for step in range(samples)]

    def perturb(inputs: Tensor) -> tuple[Tensor, Tensor]:
        noise = noises.pop(0)
        return noise, inputs - noise

    reference = infidelity(
        lambda batch: case.logits(batch)[:, 0],
        perturb,
        case.x,
        values,
        n_perturb_samples=samples,
        max_examples_per_batch=N,
        normalize=scaled,
    )
    torch.testing.assert_close(metric(with_values(case, values)), reference.double(), rtol=1e-4, atol=1e-9)


def test_max_sensitivity_is_captums() -> None:
    from captum.metrics import sensitivity_max

    case = planted()

    def explain(x: Tensor, target: Tensor | None = None) -> Tensor:
        return (x**2 + x.roll(1, -1)).double()

    case = with_values(case, explain(case.x), explain=explain)
    rng = case.rng("neighbours")
    noises = [rng.uniform(tuple(case.x.shape[1:]), step, low=-1.0, high=1.0) for step in range(5)]

    def perturb(x: Tensor) -> Tensor:
        return (x + 0.02 * noises.pop(0)).clamp(0, 1)

    reference = sensitivity_max(
        lambda inputs: (explain(inputs if isinstance(inputs, Tensor) else inputs[0]),),
        case.x,
        lambda x: perturb(x if isinstance(x, Tensor) else x[0]),
        n_perturb_samples=5,
        max_examples_per_batch=N,
    )
    found = quality_metrics.create("max_sensitivity:samples=5")(case)
    torch.testing.assert_close(found, reference.double(), rtol=1e-5, atol=1e-9)


def test_local_lipschitz_of_a_linear_explainer() -> None:
    x = _features()
    case = _table(WEIGHT, x, x, bounds=Bounds(-1.0, 3.0), explain=lambda x, target: x)
    # The change of the map is that of the input, which is measured against the box: 4 wide in 6 features.
    expected = 4 * 6**0.5 / x.norm(dim=1)
    torch.testing.assert_close(quality_metrics.create("local_lipschitz")(case), expected)


def test_imputed_pixels_solve_the_linear_equations() -> None:
    x = torch.rand(3, 2, 6, 7, generator=generator(4), dtype=torch.float64)
    gone = torch.rand(3, 1, 6, 7, generator=generator(5)) < torch.tensor([0.2, 0.6, 0.9]).view(3, 1, 1, 1)
    noise = 0.01 * torch.randn(x.shape, generator=generator(6), dtype=torch.float64)
    found = impute(x, gone, noise)
    before = found - noise * gone
    for sample in range(3):
        for channel in range(2):
            matrix, right = torch.eye(42, dtype=torch.float64), x[sample, channel].flatten().clone()
            for cell in gone[sample, 0].flatten().nonzero().flatten().tolist():
                row, column = divmod(cell, 7)
                right[cell], total = 0.0, 0.0
                for step in ((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)):
                    r, c = row + step[0], column + step[1]
                    if 0 <= r < 6 and 0 <= c < 7:
                        weight = 1 / 6 if 0 in step else 1 / 12
                        matrix[cell, r * 7 + c], total = -weight, total + weight
                matrix[cell, cell] = total
            expected = torch.linalg.solve(matrix, right).view(6, 7)
            torch.testing.assert_close(before[sample, channel], expected, rtol=0, atol=5e-3)
    assert torch.equal(found[~gone.expand_as(x)], x[~gone.expand_as(x)])


def test_road_is_that_of_a_naive_loop() -> None:
    case = planted()
    found = quality_metrics.create("road:shares=[0.25,0.5],noise=0.0")(case)
    for row in range(N):
        order, kept = case.ranks()[row].argsort(), []
        for share in (0.25, 0.5):
            count = round(share * SIDE * SIDE)
            scores = []
            for part in (order[:count], order[-count:]):
                gone = torch.zeros(SIDE * SIDE, dtype=torch.bool)
                gone[part] = True
                image = impute(case.x[row : row + 1], gone.view(1, 1, SIDE, SIDE), torch.zeros_like(case.x[:1]))
                scores.append(float(case.logits(image.clamp(0, 1)).softmax(dim=1)[0, 0]))
            kept.append((scores[1] - scores[0]) / 2)
        assert float(found[row]) == pytest.approx(sum(kept) / 2, abs=1e-5)


@pytest.mark.parametrize("name", ["deletion", "insertion", "pixel_flipping", "infidelity", "sensitivity_n", "road"])
def test_the_target_chooses_the_logit(name: str) -> None:
    metric, case = quality_metrics.create(name), planted()
    other = dataclasses.replace(case, target=torch.ones_like(case.target))
    exact = with_values(other, -case.values)
    better, worse = float(metric(exact).mean()), float(metric(other).mean())
    assert better > worse if metric.higher_is_better else better < worse


@pytest.mark.parametrize("name", ["model_randomisation", "cascading_randomisation"])
def test_a_map_turned_round_is_still_the_same_map(name: str) -> None:
    case = planted()
    turned = dataclasses.replace(case, explain_randomised=lambda layers: -case.values, layers=("a", "b"))
    assert quality_metrics.create(name)(turned).tolist() == pytest.approx([1.0] * N)


def test_input_invariance_is_relative_to_the_map_as_it_was() -> None:
    case = planted()
    moved = dataclasses.replace(case, explain_shifted=lambda shift: (case.values, 3 * shift * case.values))
    assert quality_metrics.create("input_invariance")(moved).tolist() == pytest.approx([2.0] * N)
    assert quality_metrics.create("input_invariance:shift=0.5")(moved).tolist() == pytest.approx([0.5] * N)


def test_cascades_go_from_the_output_down() -> None:
    asked: list[Any] = []
    case = planted()

    def explain(layers: Any) -> Tensor:
        asked.append(layers)
        return case.values

    case = dataclasses.replace(case, explain_randomised=explain, layers=tuple("abcdefgh"))
    assert quality_metrics.create("cascading_randomisation:stages=4")(case).tolist() == pytest.approx([1.0] * N)
    assert ["".join(layers) for layers in asked] == ["hg", "hgfe", "hgfedc", "hgfedcba"]


def test_another_class_is_never_the_same() -> None:
    case = planted(n=60)
    seen: list[Tensor] = []

    def explain(x: Tensor, target: Tensor) -> Tensor:
        seen.append(target)
        return case.values

    def logits(batch: Tensor) -> Tensor:
        return torch.zeros(len(batch), 4)

    target = torch.arange(60) % 4
    quality_metrics.create("random_logit")(dataclasses.replace(case, explain=explain, target=target, logits=logits))
    assert not bool((seen[0] == target).any())
    assert set(seen[0].tolist()) == {0, 1, 2, 3}


def test_two_classes_tell_nothing_about_another() -> None:
    case = planted(n=4)
    two = dataclasses.replace(
        case, explain=lambda x, target: case.values, logits=lambda batch: torch.zeros(len(batch), 2)
    )
    with pytest.raises(UnsupportedError, match="random_logit needs three classes or more, got 2"):
        quality_metrics.create("random_logit")(two)


@pytest.mark.parametrize(
    ("values", "gini", "entropy"),
    [
        ([1.0, 1.0, 1.0, 1.0], 0.0, 1.0),
        ([0.0, 0.0, 0.0, -2.0], 0.75, 0.0),
        ([0.0, 0.0, 0.0, 0.0], 0.0, 1.0),
        ([0.0, 0.0, 3.0, -3.0], 0.5, 0.5),
        ([1.0, 2.0, 3.0, 4.0], 0.25, 0.923),
    ],
)
def test_concentration_in_closed_form(values: list[float], gini: float, entropy: float) -> None:
    given = torch.tensor([values])
    case = _table(WEIGHT[:4], given, torch.ones(1, 4))
    assert float(quality_metrics.create("sparseness")(case)) == pytest.approx(gini)
    assert float(quality_metrics.create("complexity")(case)) == pytest.approx(entropy, abs=1e-3)
    # Padding counts for nothing.
    padded = torch.cat([given, torch.full((1, 3), 9.0)], dim=1)
    where = torch.tensor([[True] * 4 + [False] * 3])
    case = _table(torch.ones(7), padded, torch.ones(1, 7), where=where)
    assert float(quality_metrics.create("sparseness")(case)) == pytest.approx(gini)
    assert float(quality_metrics.create("complexity")(case)) == pytest.approx(entropy, abs=1e-3)


def test_completeness_is_measured_from_the_methods_own_baseline() -> None:
    x = _features()
    own = torch.full_like(x, 0.5)
    case = _table(WEIGHT, (x - own) * WEIGHT, x)
    metric = quality_metrics.create("completeness")
    assert metric(dataclasses.replace(case, reference=own)).tolist() == pytest.approx([0.0] * 5, abs=1e-9)
    change, total = x @ WEIGHT, ((x - own) * WEIGHT).sum(dim=1)
    torch.testing.assert_close(metric(case), (total - change).abs() / change.abs())


def test_non_sensitivity_counts_parts_that_disagree() -> None:
    x = 0.5 + _features() / 2
    weight = torch.tensor([3.0, 0.0, 0.5, 2.0, 0.0, -2.5], dtype=torch.float64)
    values = weight.abs().expand_as(x).clone()
    metric = quality_metrics.create("non_sensitivity")
    assert metric(_table(weight, values, x)).tolist() == [0.0] * 5
    values[0, 1] = 1.0
    values[1, 0] = 0.0
    values[1, 4] = 1.0
    assert metric(_table(weight, values, x)).tolist() == pytest.approx([1 / 6, 2 / 6, 0, 0, 0])


def test_localisation_by_hand() -> None:
    values = torch.tensor([[5.0, 1.0, -3.0, 2.0], [1.0, 4.0, 0.0, 3.0], [-1.0, -2.0, -3.0, -4.0]])
    masks = torch.tensor([[True, False, False, True], [True, False, True, False], [False] * 4])
    case = _table(WEIGHT[:4], values, torch.ones(3, 4), masks=masks, spurious_masks=masks)

    def found(name: str) -> list[float]:
        measured: list[float] = quality_metrics.create(name)(case).tolist()
        assert math.isnan(measured[2]), "without evidence there is nothing to find"
        return measured[:2]

    assert found("pointing_game") == [1.0, 0.0]
    assert found("relevance_mass") == pytest.approx([7 / 8, 1 / 8])
    assert found("spurious_mass") == pytest.approx([7 / 8, 1 / 8])
    assert found("relevance_rank") == [1.0, 0.0]
    assert found("mask_auc") == [1.0, 0.0]


def test_the_area_against_the_mask_is_that_under_the_roc_curve() -> None:
    values = torch.randint(0, 6, (8, 30), generator=generator(7)).double()
    masks = torch.rand(8, 30, generator=generator(8)) < 0.3
    case = _table(torch.ones(30), values, torch.ones(8, 30), masks=masks)
    expected = [area_under_curve(row, inside) for row, inside in zip(values, masks, strict=True)]
    assert quality_metrics.create("mask_auc")(case).tolist() == pytest.approx(expected)


def test_ties_are_no_advantage() -> None:
    n = 400
    masks = torch.zeros(n, 20, dtype=torch.bool)
    masks[:, :5] = True
    x = torch.rand(n, 20, generator=generator(9))
    case = _table(torch.ones(20), torch.zeros(n, 20), x, masks=masks)
    assert float(quality_metrics.create("relevance_rank")(case).mean()) == pytest.approx(0.25, abs=0.03)
    assert float(quality_metrics.create("pointing_game")(case).mean()) == pytest.approx(0.25)
    assert float(quality_metrics.create("mask_auc")(case).mean()) == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["deletion", "faithfulness_correlation:share=0.4", "insertion", "pixel_flipping"])
def test_padding_is_never_removed(name: str) -> None:
    words = torch.randint(1, 50, (4, 8), generator=generator(10))
    words[:, 5:] = 0
    kept = torch.randn(60, generator=generator(11), dtype=torch.float64)
    kept[0] = 0.0

    def logits(batch: Tensor) -> Tensor:
        assert not bool(batch[:, 5:].any())
        z = kept[batch].sum(dim=1, keepdim=True)
        return torch.cat([z, -z], dim=1)

    values = kept[words]
    values[:, 5:] = 100.0
    case = Case(
        x=words,
        values=values,
        target=torch.zeros(4, dtype=torch.long),
        baseline=torch.full_like(words, 59) * (words > 0),
        logits=logits,
        where=words > 0,
    )
    metric = quality_metrics.create(name)
    short = {
        key: value[:, :5] for key in ("x", "values", "baseline", "where") if (value := getattr(case, key)) is not None
    }

    def short_logits(batch: Tensor) -> Tensor:
        z = kept[batch].sum(dim=1, keepdim=True)
        return torch.cat([z, -z], dim=1)

    if name in ("deletion", "insertion"):
        torch.testing.assert_close(metric(case), metric(dataclasses.replace(case, **short, logits=short_logits)))
    assert metric(case).isfinite().all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pointing_game", "pointing_game needs data whose evidence is known, with masks"),
        ("spurious_mass", "spurious_mass needs data with a spurious cue"),
        ("max_sensitivity", "max_sensitivity needs inputs that take noise, not words"),
        ("infidelity:perturbation=noise", "infidelity needs inputs that take noise, not words"),
        ("model_randomisation", "model_randomisation needs a model whose weights can be drawn again"),
        ("input_invariance", "input_invariance needs inputs that can be shifted"),
        ("road", r"road needs images, got inputs \(6,\)"),
        ("random_logit", "random_logit needs the explainer itself"),
    ],
)
def test_what_a_case_lacks_is_said(name: str, message: str) -> None:
    x = _features()
    with pytest.raises(UnsupportedError, match=message):
        quality_metrics.create(name)(_table(WEIGHT, x, x, bounds=None))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("deletion:steps=0", "expected `steps` >= 1, got 0"),
        ("pixel_flipping:share=0.0", r"expected `share` in \(0, 1\], got 0"),
        ("faithfulness_correlation:share=1.0", "expected `share` between 0 and 1, got 1"),
        ("sensitivity_n:shares=[]", "expected at least one of `shares`"),
        ("infidelity:samples=1", "at least two random sets or samples, got 1"),
        ("infidelity:scale=0", "expected `scale` > 0, got 0"),
        ("road:noise=-1", "expected `noise` >= 0, got -1"),
        ("max_sensitivity:radius=0", "expected `radius` > 0, got 0"),
        ("cascading_randomisation:stages=0", "expected `stages` >= 1, got 0"),
        ("non_sensitivity:parts=0", "expected `parts` >= 1, got 0"),
        ("input_invariance:shift=0", "expected `shift` other than 0"),
        ("delection", "unknown metric 'delection'; did you mean 'deletion'"),
    ],
)
def test_bad_parameters_are_one_clear_line(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        quality_metrics.create(name)


def test_shapes_that_differ_are_refused() -> None:
    x = _features()
    with pytest.raises(InputError, match=r"of one shape, got \(5, 6\), \(5, 5\), \(5, 6\)"):
        _table(WEIGHT, x[:, :5], x)
    with pytest.raises(InputError, match=r"expected `masks` as \(5, 6\) of bool, got \(5, 5\) torch.bool"):
        _table(WEIGHT, x, x, masks=torch.ones(5, 5, dtype=torch.bool))


def test_completeness_is_what_the_method_promises_where_it_does() -> None:
    case = planted()
    gap = torch.linspace(0, 1, N)
    assert torch.equal(quality_metrics.create("completeness")(dataclasses.replace(case, gap=gap)), gap.double())
    assert float(quality_metrics.create("completeness")(case).max()) < 1e-6


@pytest.mark.parametrize("name", ["max_sensitivity", "local_lipschitz"])
def test_no_change_is_relative_to_an_empty_map(name: str) -> None:
    case = planted()
    values = case.values.clone()
    values[1] = 0
    found = quality_metrics.create(name)(
        dataclasses.replace(case, values=values, explain=lambda x, target: case.values)
    )
    assert found.isnan().tolist() == [row == 1 for row in range(N)]


@pytest.mark.parametrize("name", ["model_randomisation", "cascading_randomisation"])
def test_an_empty_map_of_a_random_model_says_nothing(name: str) -> None:
    case = planted()
    empty = case.values.clone()
    empty[2] = 3.0
    case = dataclasses.replace(case, explain_randomised=lambda layers: empty, layers=("a", "b"))
    assert quality_metrics.create(name)(case).isnan().tolist() == [row == 2 for row in range(N)]
