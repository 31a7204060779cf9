"""The engine: rows walk alone, memory may run out, and nothing counts that was not checked again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_models import inputs_for, keras_cnn, linear, torch_cnn
from torch import Tensor

from xaibench.attacks import APGDT, PGD, Square
from xaibench.attacks.engine import Answer, Jobs, Problem, Rows, State, drive
from xaibench.attacks.shapes import halving, scoring, shapes
from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError
from xaibench.threats import Linf
from xaibench.types import Classifier


class _Wrapped:
    """A classifier that does something else in its passes."""

    def __init__(self, model: Classifier) -> None:
        self.model, self.largest = model, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def loss_gradient(self, x: Tensor, y: Tensor, loss: Any = "ce", **rest: Any) -> Any:
        self.seen(x)
        return self.model.loss_gradient(x, y, loss, **rest)

    def seen(self, x: Tensor) -> None:
        self.largest = max(self.largest, len(x))


class _Small(_Wrapped):
    """Its memory holds eight samples, once it is warm."""

    tight = False

    def seen(self, x: Tensor) -> None:
        if self.tight and len(x) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is")
        super().seen(x)


def test_a_batch_halves_itself_when_memory_runs_out() -> None:
    model = torch_cnn()
    x = inputs_for(model, 40, seed=1)
    y = model.predict(x)
    attack = PGD(steps=6, batch_size=32)
    expected = attack(model, x, y, Linf(0.02))
    assert bool((expected != x).any())
    small = _Small(model)
    attack(small, x, y, Linf(0.02))  # type: ignore[arg-type]
    assert small.largest == 32
    small.tight, small.largest = True, 0
    found = attack(small, x, y, Linf(0.02))  # type: ignore[arg-type]
    assert small.largest == 8
    assert torch.equal(found, expected)


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    sizes: list[tuple[int, ...]] = []

    def run(fitting: tuple[int, ...]) -> None:
        sizes.append(fitting)
        raise ValueError("something else")

    with pytest.raises(ValueError, match="something else"):
        halving(run, (16, 32))
    assert sizes == [(16, 32)]

    def full(fitting: tuple[int, ...]) -> None:
        sizes.append(fitting)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    sizes.clear()
    with pytest.raises(InputError, match="expected memory for a batch of one sample, got none"):
        halving(full, (4, 8))
    assert sizes == [(4, 8), (4,), (2,), (1,)]


@pytest.mark.parametrize("build", [torch_cnn, keras_cnn])
def test_in_the_shapes_that_are_taken_a_row_has_the_same_bits(build: Any) -> None:
    model = build()
    x = inputs_for(model, 50, seed=2)
    y = model.predict(x)
    sizes = shapes(model, x, y)
    assert list(sizes) == sorted(set(sizes))
    index = torch.arange(sizes[-1]) % 50
    whole = model.loss_gradient(x[index], y[index], "margin")
    score, scored = scoring(model, x, sizes)
    for size in sizes:
        few = model.loss_gradient(x[index][:size], y[index][:size], "margin")
        assert torch.equal(few.gradient, whole.gradient[:size])
        if size in scored:
            torch.testing.assert_close(score(x[index][:size]), few.logits, rtol=1e-4, atol=1e-4)


def test_a_model_whose_bits_depend_on_the_batch_keeps_to_one_shape() -> None:
    class Uneven(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            total = x.sum(dim=1, keepdim=True) * (1 + 1e-6 * len(x))
            return torch.cat([total, 1 - total], dim=1)

    model = TorchClassifier(Uneven(), task="tabular", input_shape=(3,))
    x = torch.rand(20, 3)
    assert len(shapes(model, x, model.predict(x))) == 1
    assert shapes(model, x, model.predict(x), 48) == (48,)


class _Given:
    """A walk through given points; all rows take the same."""

    repeats = 1

    def __init__(self, points: Tensor) -> None:
        self.points, self.steps = points, len(points) - 1
        self.asked: list[tuple[int, int]] = []

    def loss(self, rows: Rows) -> None:
        return None

    def begin(self, rows: Rows) -> State:
        return {"x": self.points[rows.restarts % len(self.points)]}

    def move(self, rows: Rows, state: State, answer: Answer) -> None:
        self.asked += [
            (job, step) for job, step in zip(rows.jobs.tolist(), rows.steps.tolist(), strict=True) if job >= 0
        ]
        state["x"] = self.points[(rows.restarts + rows.steps + 1) % len(self.points)]


def _line() -> tuple[Classifier, Tensor, Tensor]:
    """Class 1 from 0.6 on; four samples at 0.5."""
    model = linear(torch.tensor([[0.0], [1.0]]), torch.tensor([0.0, -0.6]))
    return model, torch.full((4, 1), 0.5), torch.zeros(4, dtype=torch.long)


def test_a_success_is_the_first_job_to_succeed_and_ends_the_later_ones() -> None:
    model, x, y = _line()
    problem = Problem(model, x, y, torch.arange(4), Linf(0.3))
    # The third restart starts on an adversarial point, the second reaches it a step later, the first two steps later.
    walk = _Given(torch.tensor([[0.5], [0.55], [0.7], [0.52], [0.51]]))
    found = drive(problem, walk, Jobs.untargeted(problem, 3), batch_size=12)  # type: ignore[arg-type]
    assert bool(found.broken.all())
    assert found.winners.tolist() == [0, 1, 2, 3], "the first restart of each sample"
    assert found.adversarials.flatten().tolist() == pytest.approx([0.7] * 4)
    assert max(step for job, step in walk.asked if job >= 8) == 0, "the last restart ends with its first answer"
    alone = drive(problem, _Given(walk.points), Jobs.untargeted(problem, 3), batch_size=1)  # type: ignore[arg-type]
    assert torch.equal(alone.adversarials, found.adversarials)


def test_points_outside_the_ball_or_the_box_are_no_success() -> None:
    model, x, y = _line()
    problem = Problem(model, x, y, torch.arange(4), Linf(0.3))
    found = drive(problem, _Given(torch.tensor([[0.9], [1.2], [0.81]])), Jobs.untargeted(problem), batch_size=4)  # type: ignore[arg-type]
    assert not bool(found.broken.any())
    assert torch.equal(found.adversarials, x)
    assert float(found.closest.min()) > 0, "misclassified points were seen, but they do not count"


def test_the_point_after_the_last_answer_is_tried() -> None:
    model, x, y = _line()
    problem = Problem(model, x, y, torch.arange(4), Linf(0.3))
    ended: list[int] = []
    found = drive(
        problem,
        _Given(torch.tensor([[0.5], [0.55], [0.7]])),  # type: ignore[arg-type]
        Jobs.untargeted(problem),
        batch_size=4,
        retire=lambda rows, _: ended.extend(rows.jobs.tolist()),
    )
    assert bool(found.broken.all())
    assert ended == []
    drive(
        problem,
        _Given(torch.tensor([[0.5], [0.55], [0.52]])),  # type: ignore[arg-type]
        Jobs.untargeted(problem),
        batch_size=4,
        retire=lambda rows, _: ended.extend(rows.jobs.tolist()),
    )
    assert sorted(ended) == [0, 1, 2, 3]


def test_targets_are_the_likeliest_wrong_classes_in_order() -> None:
    logits = torch.tensor([[5.0, 1.0, 3.0, 4.0], [0.0, 9.0, 2.0, 1.0]])
    problem = Problem(torch_cnn(), torch.zeros(2, 1), torch.tensor([0, 1]), torch.arange(2), Linf(0.1))
    jobs = Jobs.targeted(problem, logits, 2, restarts=2)
    assert jobs.samples.tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    assert jobs.targets.tolist() == [3, 2, 3, 2, 2, 3, 2, 3]
    assert jobs.restarts.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    assert len(Jobs.targeted(problem, logits, 9).samples) == 6, "no more targets than wrong classes"


@pytest.mark.parametrize("attack", [PGD(steps=4), APGDT(steps=4, targets=2), Square(queries=20)])
def test_no_parameter_ever_has_a_gradient(attack: Any) -> None:
    model = torch_cnn()
    x = inputs_for(model, 10, seed=3)
    attack(model, x, model.predict(x), Linf(0.02))
    assert all(value.grad is None and value.requires_grad for value in model.module.parameters())  # type: ignore[attr-defined]


def test_random_models_are_attacked_and_claims_checked_again() -> None:
    class Noisy(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            total = x.sum(dim=1, keepdim=True) + 0.01 * torch.randn(len(x), 1)
            return torch.cat([2 - total, total], dim=1)

    torch.manual_seed(0)
    model = TorchClassifier(Noisy(), task="tabular", input_shape=(4,))
    x, y = torch.full((12, 4), 0.2), torch.zeros(12, dtype=torch.long)
    for attack in (PGD(steps=5), Square(queries=60)):
        found = attack(model, x, y, Linf(0.2))
        assert int((found != x).any(dim=1).sum()) >= 10
    assert torch.equal(PGD(steps=5)(model, x, y, Linf(0.01)), x)
