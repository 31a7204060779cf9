"""What metrics try out lies in the box and at the scale asked for, where a box neither starts at 0 nor is 1 wide."""

import dataclasses

import pytest
import torch
from metric_cases import generator, planted
from torch import Tensor

from xaibench.metrics import Case, quality_metrics
from xaibench.types import Bounds

LOW, HIGH = -3.0, 1.0


def _wide(n: int = 6) -> Case:
    """`metric_cases.planted` in another box."""
    case = planted(n)

    def logits(batch: Tensor) -> Tensor:
        return case.logits((batch - LOW) / (HIGH - LOW))

    x, baseline = (LOW + (HIGH - LOW) * part for part in (case.x, case.baseline))
    return dataclasses.replace(case, x=x, baseline=baseline, logits=logits, bounds=Bounds(LOW, HIGH))


def _asked(name: str, case: Case) -> Tensor:
    """All inputs (m, ...) of which the metric asks for logits."""
    seen = []

    def logits(batch: Tensor) -> Tensor:
        seen.append(batch)
        return case.logits(batch)

    quality_metrics.create(name)(dataclasses.replace(case, logits=logits))
    return torch.cat(seen)


def test_flipped_pixels_are_uniform_in_the_box() -> None:
    case = _wide()
    batch = _asked("pixel_flipping:share=1.0,steps=1", case).view(6, 2, -1)
    assert torch.equal(batch[:, 0], case.x.flatten(1))
    flipped = batch[:, 1]
    assert LOW <= float(flipped.min()) < LOW + 0.05
    assert HIGH - 0.05 < float(flipped.max()) <= HIGH
    assert float(flipped.mean()) == pytest.approx((LOW + HIGH) / 2, abs=0.15)


def test_noise_of_road_is_a_share_of_the_range() -> None:
    # In the middle of the box, where nothing is cut off.
    case = _wide()
    middle = dataclasses.replace(case, x=torch.full_like(case.x, -1.0) + 0.1 * case.x)
    plain = _asked("road:shares=[0.5],noise=0.0", middle)
    noisy = _asked("road:shares=[0.5],noise=0.05", middle)
    added = (noisy - plain)[noisy != plain]
    assert added.numel() == plain.numel() // 2
    assert float(added.std()) == pytest.approx(0.05 * (HIGH - LOW), rel=0.1)


def test_noise_of_infidelity_is_a_share_of_the_range() -> None:
    case = _wide()
    batch = _asked("infidelity:perturbation=noise,scale=0.1,samples=8", case)
    moved = torch.cat([batch[:-6].view(6, 8, -1) - case.x.flatten(1)[:, None]])
    assert float(moved.std()) == pytest.approx(0.1 * (HIGH - LOW), rel=0.05)


@pytest.mark.parametrize("name", ["max_sensitivity", "local_lipschitz"])
def test_neighbours_are_within_a_share_of_the_range(name: str) -> None:
    case, seen = _wide(), []

    def explain(x: Tensor, target: Tensor) -> Tensor:
        seen.append(x)
        return x.double()

    metric = quality_metrics.create(f"{name}:radius=0.1,samples=4")
    found = metric(dataclasses.replace(case, values=case.x.double(), explain=explain))
    moved = (torch.stack(seen) - case.x).double()
    assert float(moved.abs().max()) == pytest.approx(0.1 * (HIGH - LOW), rel=0.02)
    assert float(torch.stack(seen).min()) >= LOW
    assert float(torch.stack(seen).max()) <= HIGH
    # The map is the input, so its change is that of the input.
    size = moved.flatten(2).norm(dim=2)
    distance = size / (HIGH - LOW) / case.x[0].numel() ** 0.5
    expected = size.amax(dim=0) if name == "max_sensitivity" else (size / distance).amax(dim=0)
    torch.testing.assert_close(found, expected / case.x.double().flatten(1).norm(dim=1), rtol=1e-5, atol=0)


def test_random_values_of_non_sensitivity_lie_in_the_box() -> None:
    batch = _asked("non_sensitivity:parts=100", _wide())
    assert LOW <= float(batch.min()) < LOW + 0.1
    assert HIGH - 0.1 < float(batch.max()) <= HIGH


def test_non_sensitivity_takes_its_tolerance_relative_to_the_largest() -> None:
    weight = torch.tensor([40.0, 30.0, 10.0, 2.0], dtype=torch.float64)
    x = torch.ones(3, 4, dtype=torch.float64)

    def logits(batch: Tensor) -> Tensor:
        z = (batch * weight).sum(dim=1, keepdim=True)
        return torch.cat([z, -z], dim=1)

    values = weight * torch.tensor([[1.0], [0.01], [100.0]], dtype=torch.float64)
    target = torch.zeros(3, dtype=torch.long)
    case = Case(x=x, values=values, target=target, baseline=torch.zeros_like(x), logits=logits)
    assert quality_metrics.create("non_sensitivity:tolerance=0.5")(case).tolist() == [0.0] * 3
    # A part that only the method names is one of four on which they disagree.
    third = torch.tensor([0.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    named = dataclasses.replace(case, values=values + 15 * third * values[:, :1] / 40)
    assert quality_metrics.create("non_sensitivity:tolerance=0.5")(named).tolist() == [0.25] * 3


def test_a_change_of_next_to_nothing_counts_as_a_thousandth() -> None:
    x = torch.ones(2, 3, dtype=torch.float64)

    def logits(batch: Tensor) -> Tensor:
        z = 1e-6 * batch.sum(dim=1, keepdim=True)
        return torch.cat([z, -z], dim=1)

    target = torch.tensor([0, 1])
    case = Case(x=x, values=0 * x + 0.01, target=target, baseline=torch.zeros_like(x), logits=logits)
    expected = torch.tensor([(0.03 - 3e-6) / 1e-3, (0.03 + 3e-6) / 1e-3], dtype=torch.float64)
    torch.testing.assert_close(quality_metrics.create("completeness")(case), expected)


def test_other_classes_are_all_as_likely() -> None:
    n, classes = 300, 4
    x = torch.rand(n, 5, generator=generator(3))
    target = torch.arange(n) % classes
    seen: list[Tensor] = []

    def explain(x: Tensor, target: Tensor) -> Tensor:
        seen.append(target)
        return x

    case = Case(
        x=x,
        values=x,
        target=target,
        baseline=torch.zeros_like(x),
        logits=lambda batch: torch.zeros(len(batch), classes),
        explain=explain,
    )
    quality_metrics.create("random_logit")(case)
    steps = ((seen[0] - target) % classes).bincount(minlength=classes)
    assert int(steps[0]) == 0
    assert int(steps[1:].min()) > n / 3 - 40


@pytest.mark.parametrize(("tolerance", "size"), [(1e-3, 1.0), (0.3, 1.0), (0.3, 1e-4), (0.0, 1.0)])
def test_non_sensitivity_is_that_of_a_naive_loop(tolerance: float, size: float) -> None:
    n, d = 8, 9
    weight = torch.randn(d, generator=generator(4), dtype=torch.float64) * torch.tensor([0.0, 1.0, 0.1] * 3)
    x = LOW + (HIGH - LOW) * torch.rand(n, d, generator=generator(5), dtype=torch.float64)
    baseline = torch.full_like(x, -1.0)
    # Some parts have the value of the baseline: whether they matter is up to the random value.
    baseline[:, ::2] = x[:, ::2]
    values = torch.randn(n, d, generator=generator(6), dtype=torch.float64) * weight.abs() ** 0.5
    values[:, 0] = 0.4
    where = torch.rand(n, d, generator=generator(7)) < 0.7

    def logits(batch: Tensor) -> Tensor:
        z = size * (batch * weight).sum(dim=1, keepdim=True) - 5.0
        return torch.cat([z, -z], dim=1)

    target = torch.arange(n) % 2
    case = Case(
        x=x, values=values, target=target, baseline=baseline, logits=logits, where=where, bounds=Bounds(LOW, HIGH)
    )
    random = LOW + (HIGH - LOW) * case.rng("values").uniform((d,)).to(x.dtype)
    expected = []
    for row in range(n):
        parts = where[row].nonzero().flatten().tolist()
        effects = {}
        for part in parts:
            changes = [abs(float(size * weight[part] * (x[row, part] - new[row, part]))) for new in (baseline, random)]
            effects[part] = max(changes)
        now = abs(float(logits(x[row : row + 1])[0, 0]))
        least = max(tolerance * max(effects.values()), 1e-6 * max(now, 1.0))
        most = max(abs(float(values[row, part])) for part in parts)
        differ = [(effects[part] > least) != (abs(float(values[row, part])) > tolerance * most) for part in parts]
        expected.append(sum(differ) / len(parts))
    assert 0 < sum(expected) < n
    found = quality_metrics.create(f"non_sensitivity:tolerance={tolerance}")(case)
    assert found.tolist() == pytest.approx(expected)


def test_changes_below_the_noise_of_float32_logits_do_not_matter() -> None:
    x = torch.ones(2, 3, dtype=torch.float64)
    change = torch.tensor([1.5e-6, 0.5e-6, 0.0], dtype=torch.float64)
    given = {"x": x, "values": x, "target": torch.tensor([0, 1]), "baseline": torch.zeros_like(x)}

    def at(level: float) -> list[float]:
        """The share of parts with a value that do not matter, for a logit of that size."""

        def logits(batch: Tensor) -> Tensor:
            z = ((batch - 1) @ change)[:, None] + level
            return torch.cat([z, -z], dim=1)

        return quality_metrics.create("non_sensitivity:tolerance=0.0")(Case(**given, logits=logits)).tolist()  # type: ignore[arg-type, no-any-return]

    assert at(0.0) == at(-1.0) == pytest.approx([2 / 3] * 2)
    assert at(0.1) == pytest.approx([2 / 3] * 2)
    assert at(-4.0) == [1.0, 1.0]
