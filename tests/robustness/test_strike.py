"""One watched attack on one sample: its notes are those of a loop by hand, and its ends are checked."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from small_models import keras_cnn, linear, token_net, torch_cnn
from torch import Tensor

from xaibench.attacks import FGSM, PGD, HotFlip, Square
from xaibench.attacks.aim import Aimed
from xaibench.attacks.base import attacks_for
from xaibench.attacks.foolbox import DDN, FMN
from xaibench.errors import InputError
from xaibench.robustness import Trajectory, edge, noise, strike
from xaibench.threats import L2, Linf, Words, contains
from xaibench.types import Classifier


def sample(model: Classifier, seed: int = 0) -> tuple[Tensor, int]:
    shape = model.input_shape
    assert shape is not None
    x = torch.rand(1, *map(int, filter(None, shape)), generator=torch.Generator().manual_seed(seed))
    return x, int(model.predict(x))


def test_the_trajectory_of_pgd_is_that_of_a_loop_by_hand() -> None:
    model = torch_cnn()
    x, label = sample(model)
    eps, steps = 0.02, 6
    result = strike(model, x, label, Linf(eps), PGD(steps=steps, random_start=False))
    y = torch.tensor([label])
    points = [x]
    for _ in range(steps):
        gradient = model.loss_gradient(points[-1], y).gradient
        step = points[-1] + eps * 2.5 / steps * gradient.sign()
        points.append(torch.minimum(torch.maximum(step, x - eps), x + eps).clamp(0, 1))
    with torch.no_grad():
        expected = torch.cat([model.logits(point) for point in points])
    wrong = (expected.argmax(dim=1) != label).nonzero().flatten().tolist()
    passes = wrong[0] + 1 if wrong else steps + 1
    assert result.broken == bool(wrong)
    logits = result.trajectory.logits[:passes]
    assert torch.allclose(logits, expected[: len(logits)], atol=1e-4)
    assert len(logits) >= min(passes, steps)
    losses = torch.nn.functional.cross_entropy(expected[: len(logits)], y.expand(len(logits)), reduction="none")
    assert torch.allclose(result.trajectory.losses[: len(logits)], losses, atol=1e-4)
    reached = [float((point - x).abs().amax()) for point in points[: len(logits)]]
    assert result.trajectory.distances[: len(logits)] == pytest.approx(reached, abs=1e-6)


@pytest.mark.parametrize("build", [torch_cnn, keras_cnn])
@pytest.mark.parametrize("attack", [PGD(), FMN(steps=30), Square(queries=200)])
def test_what_is_found_is_what_the_attack_finds_alone(build: type, attack: PGD) -> None:
    model = build()
    x, label = sample(model)
    result = strike(model, x, label, Linf(0.3), attack)
    assert result.broken
    assert int(model.predict(result.found)) == int(result.after.argmax()) != label
    assert bool(contains(Linf(0.3), result.found, x, model.bounds))
    with torch.no_grad():
        assert torch.allclose(result.before, model.logits(x)[0].double().softmax(dim=0), atol=1e-6)
    alone = attack(model, x, torch.tensor([label]), Linf(0.3), ids=torch.tensor([0]))
    assert torch.equal(alone, result.found)


@pytest.mark.parametrize("attack", [PGD(), DDN(steps=100)])
def test_a_targeted_attack_ends_at_its_target_alone(attack: PGD) -> None:
    model = torch_cnn()
    x, label = sample(model)
    for target in set(range(model.num_classes)) - {label}:
        result = strike(model, x, label, L2(6.0), attack, target=target)
        assert result.broken == (int(result.after.argmax()) == target)
        assert result.broken
        small = strike(model, x, label, L2(1e-4), attack, target=target)
        assert not small.broken
        assert torch.equal(small.found, x)


def test_an_aimed_model_answers_one_where_the_target_is_the_answer() -> None:
    model = torch_cnn()
    x = torch.rand(200, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    answers = model.predict(x)
    for target in range(model.num_classes):
        aimed = Aimed(model, target)
        assert torch.equal(aimed.predict(x) == 1, answers == target)
        answer = aimed.loss_gradient(x[:3], torch.zeros(3, dtype=torch.int64), "margin")
        point = x[:3].clone().requires_grad_()
        pair = model.logits(point)
        others = torch.cat([pair[:, :target], pair[:, target + 1 :]], dim=1).amax(dim=1)
        (gradient,) = torch.autograd.grad((pair[:, target] - others).sum(), point)
        assert torch.allclose(answer.gradient, gradient, atol=1e-6)
    with pytest.raises(InputError, match=r"expected a target in 0\.\.3, got 4"):
        Aimed(model, 4)


def test_texts_are_attacked_word_by_word() -> None:
    model = token_net()
    x = torch.tensor([[3, 7, 12, 5, 9, 2, 4]])
    label = int(model.predict(x))
    result = strike(model, x, label, Words(6), HotFlip())
    assert result.broken
    assert result.trajectory.lowest(6) < float(result.before[label])
    assert 1 <= int((result.found != x).sum()) <= 6
    assert 0 <= noise(model, x, label, Words(3)) <= 1


def test_limits_end_an_attack_with_what_it_has_seen() -> None:
    model = torch_cnn()
    x, label = sample(model)
    whole = strike(model, x, label, L2(10.0), DDN(steps=100))
    assert whole.broken
    assert not whole.stopped
    cut = strike(model, x, label, L2(10.0), DDN(steps=100), looks=60)
    assert cut.stopped
    assert cut.trajectory.looks == 60
    assert cut.broken
    assert bool(contains(L2(10.0), cut.found, x, model.bounds))
    assert float(L2(1.0).distance(cut.found, x)) >= float(L2(1.0).distance(whole.found, x)) - 1e-6
    none = strike(model, x, label, Linf(1e-5), PGD(steps=500), looks=20)
    assert none.stopped
    assert not none.broken
    assert torch.equal(none.found, x)
    assert strike(model, x, label, Linf(1e-5), PGD(steps=10**6), seconds=0.3).seconds < 3


def test_looks_count_points_and_not_the_copies_that_fill_a_batch() -> None:
    model = torch_cnn()
    x, label = sample(model)
    seen: list[int] = []
    result = strike(model, x, label, Linf(1e-5), PGD(steps=7), watch=lambda notes: seen.append(notes.looks))
    assert seen == sorted(seen)
    assert result.trajectory.looks == seen[-1] == len(result.trajectory) == 1 + 7 + 1


def test_others_get_their_turn_between_two_passes() -> None:
    model = torch_cnn()
    x, label = sample(model)
    lock = threading.RLock()
    free: list[bool] = []

    def try_it(notes: Trajectory) -> None:
        def take() -> None:
            free.append(lock.acquire(blocking=False))
            lock.release()

        other = threading.Thread(target=take)
        other.start()
        other.join()

    strike(model, x, label, Linf(1e-5), PGD(steps=5), watch=try_it, guard=lock)
    assert free == [True] * len(free)
    assert len(free) >= 5


class Busy:
    """A model whose graph others trace whenever they can: its device is then none that holds numbers."""

    def __init__(self, classifier: Classifier, lock: Any) -> None:
        self._classifier, self._lock = classifier, lock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._classifier, name)

    @property
    def device(self) -> torch.device:
        return self._classifier.device if self._lock._is_owned() else torch.device("meta")


@pytest.mark.parametrize("attack", [PGD(), FMN(steps=30), Square(queries=50)])
def test_nothing_is_asked_of_a_model_while_others_trace_it(attack: PGD) -> None:
    model, lock = torch_cnn(), threading.RLock()
    x, label = sample(model)
    busy: Any = Busy(model, lock)
    assert torch.equal(
        strike(busy, x, label, Linf(0.3), attack, guard=lock).found, strike(model, x, label, Linf(0.3), attack).found
    )


def test_a_label_that_the_model_does_not_give_is_refused() -> None:
    model = torch_cnn()
    x, label = sample(model)
    for wrong, target in (((label + 1) % 4, None), (label, label)):
        with pytest.raises(InputError, match="expected a label that the model gives"):
            strike(model, x, wrong, Linf(0.1), FGSM(), target=target)


def test_edges_of_a_linear_model_are_its_distances() -> None:
    model = linear(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([0.0, -0.5]))
    x = torch.tensor([[0.3, 0.5]])
    found = edge(lambda eps: strike(model, x, 0, Linf(eps), FGSM()).broken, 1.0, steps=10)
    assert found.yes is not None
    assert found.no < 0.2 + 1e-3
    assert found.yes == pytest.approx(0.2, abs=1e-3)
    assert found.yes > found.no
    assert edge(lambda _: False, 0.7, steps=9).yes is None
    assert noise(model, x, 0, Linf(0.1)) == 0
    assert noise(model, x, 0, Linf(0.4)) == pytest.approx(0.25, abs=0.15)


def test_attacks_are_listed_by_norm() -> None:
    assert "spatial" in attacks_for("image", "spatial")
    assert attacks_for("image", "spatial") == ("spatial",)
    assert {"apgd_ce", "square", "fab"}.isdisjoint(attacks_for("image", "l0"))
    assert {"pgd", "fmn", "pointwise"} <= set(attacks_for("tabular", "l0"))
    assert attacks_for("text", "words") == attacks_for("text")
    assert attacks_for("text", "linf") == ()
