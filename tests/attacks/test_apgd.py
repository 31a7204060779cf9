"""Auto-PGD against closed forms, its published schedule, and the method written out once more."""

from __future__ import annotations

import pytest
import torch
from small_models import inputs_for, linear, torch_cnn
from torch import Tensor

from xaibench.attacks import APGDCE, APGDDLR, APGDT, attacks
from xaibench.attacks.apgd import Ascent, checkpoints
from xaibench.attacks.engine import Jobs, Problem, Rows, drive
from xaibench.errors import UnsupportedError
from xaibench.losses import TARGETED
from xaibench.threats import L0, L1, L2, Linf, Threat

METHODS = ["apgd_ce", "apgd_dlr", "apgd_t"]


def test_checkpoints_of_the_paper() -> None:
    assert list(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("ball", "dual"), [(Linf(0.03), 1), (L2(0.1), 2), (L1(0.2), float("inf"))])
def test_on_a_linear_model_it_breaks_what_can_be_broken(method: str, ball: Threat, dual: float) -> None:
    # Far from the box the distance to the boundary of classes a and b is (z_a - z_b) / |w_a - w_b| in the dual norm.
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(4, 12, generator=generator), torch.zeros(4)
    model = linear(weight, bias)
    x = (0.5 + 0.1 * torch.randn(300, 12, generator=generator)).clamp(0.25, 0.75)
    logits = model.logits(x).detach()
    y = logits.argmax(dim=1)
    gaps = logits.gather(1, y[:, None]) - logits
    lengths = torch.linalg.vector_norm(weight[y][:, None] - weight, ord=dual, dim=2)
    distance = (gaps / lengths.clamp_min(1e-9)).scatter(1, y[:, None], torch.inf).amin(dim=1)
    found = attacks.create(method)(model, x, y, ball)
    broken = model.predict(found) != y
    assert 30 < int(broken.sum()) < 270
    assert not bool(broken[distance > ball.eps * 1.001].any())
    # Only the targeted form tries every class; a loss over all may follow one that lies further off.
    assert float(broken[distance < ball.eps * 0.9].double().mean()) >= (1.0 if method == "apgd_t" else 0.85)


def _by_hand(problem: Problem, eps: float, steps: int, start: Tensor, targets: Tensor) -> Tensor:
    """Targeted Auto-PGD in Linf for one sample at a time, without any of the batching."""
    model, x, y = problem.model, problem.x, problem.y

    def ask(point: Tensor, row: int) -> tuple[float, Tensor, bool]:
        point = point.detach()[None].requires_grad_()
        logits = model.logits(point)
        loss = TARGETED["dlr"](logits, y[row : row + 1], targets[row : row + 1])
        return float(loss.detach()), torch.autograd.grad(loss.sum(), point)[0][0], int(logits.argmax()) != int(y[row])

    result = x.clone()
    due = set(checkpoints(steps))
    for row in range(len(x)):
        clip = lambda p, c=x[row]: torch.minimum(torch.maximum(p, c - eps), c + eps).clamp(0, 1)  # noqa: E731
        point = before = best = start[row]
        size, best_loss, checked, halved, losses, last = 2 * eps, -1e9, -1e9, True, list[float](), 0
        for step in range(steps + 1):
            loss, gradient, fooled = ask(point, row)
            if fooled:
                result[row] = point
                break
            losses.append(loss)
            if loss > best_loss:
                best, best_loss, best_gradient = point, loss, gradient
            if step in due:
                rises = sum(a > b for a, b in zip(losses[last + 1 :], losses[last:-1], strict=True))
                halve = rises <= 0.75 * (step - last) or (not halved and checked >= best_loss)
                if halve:
                    size, point, gradient = size / 2, best, best_gradient
                halved, checked, last = halve, best_loss, step
            ahead = clip(point + size * gradient.sign())
            share = 0.75 if step else 1.0
            point, before = clip(point + share * (ahead - point) + (1 - share) * (point - before)), point
    return result


def test_the_method_written_out_once_more() -> None:
    model = torch_cnn()
    x = inputs_for(model, 24, seed=4)
    logits = model.logits(x).detach()
    y, targets = logits.topk(2, dim=1).indices.unbind(dim=1)
    eps, steps = 0.012, 30
    problem = Problem(model, x, y, torch.arange(24), Linf(eps), 0)
    walk = Ascent(problem=problem, steps=steps, stream="apgd_t", loss_name="dlr", targeted=True)
    rows = Rows(x, y, targets, problem.ids, *(torch.zeros_like(y) for _ in range(3)))
    expected = _by_hand(problem, eps, steps, walk.begin(rows)["x"], targets)
    found = drive(problem, walk, Jobs.targeted(problem, logits, 1), batch_size=16)
    assert 3 < int(found.broken.sum()) < 21
    close = (found.adversarials - expected).abs().flatten(1).amax(dim=1) < 1e-5
    assert int(close.sum()) >= 22, "a sign that flips by rounding sends a point elsewhere"


def test_more_steps_restarts_and_targets_are_never_weaker() -> None:
    model = torch_cnn()
    x = inputs_for(model, 64, seed=5)
    y = model.predict(x)
    for few, many in [
        (APGDCE(steps=3), APGDCE(steps=40)),
        (APGDDLR(steps=6), APGDDLR(steps=6, restarts=4)),
        (APGDT(steps=6, targets=1), APGDT(steps=6, targets=3)),
    ]:
        counts = [int((model.predict(attack(model, x, y, Linf(0.03))) != y).sum()) for attack in (few, many)]
        assert counts[0] <= counts[1]
        assert counts[1] > 0


def test_averaging_gradients_sees_through_noise() -> None:
    class Noisy(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            weight = 0.1 + 0.6 * torch.randn(x.shape[1])  # one draw a pass
            return torch.stack([(x * weight).sum(dim=1), torch.full((len(x),), 2.0)], dim=1)

    from xaibench.classifiers import TorchClassifier

    model = TorchClassifier(Noisy(), task="tabular", input_shape=(60,))
    x, y = torch.full((40, 60), 0.5), torch.zeros(40, dtype=torch.long)
    lowered = []
    for eot in (1, 60):
        torch.manual_seed(0)
        problem = Problem(model, x, y, torch.arange(40), Linf(0.2))
        ends: list[Tensor] = []
        walk = Ascent(
            problem=problem, steps=1, stream="apgd_ce", loss_name="margin", repeats=eot, start=lambda r: r.clean
        )
        drive(
            problem,
            walk,
            Jobs.untargeted(problem),
            batch_size=40,
            retire=lambda _, state, ends=ends: ends.append(state["x"]),
        )
        lowered.append(float((x[0] - torch.cat(ends)).mean()))
    # The mean weight is positive, so the right direction is down everywhere, by 0.2.
    assert lowered[0] < 0.1
    assert lowered[1] > 0.13


def test_the_larger_balls_come_first_and_the_result_lies_in_the_smallest() -> None:
    model = torch_cnn()
    x = inputs_for(model, 32, seed=6)
    y = model.predict(x)
    for larger in (False, True):
        found = APGDCE(steps=20, larger_eps=larger)(model, x, y, L1(1.5))
        assert float(L1(1.5).distance(found, x).max()) <= 1.5 + 1e-6
        assert bool((found != x).any())


def test_l0_is_refused_by_name() -> None:
    model = torch_cnn()
    x = inputs_for(model, 2)
    with pytest.raises(UnsupportedError, match="apgd_ce is defined for linf, l2, l1, got a threat in l0"):
        APGDCE()(model, x, model.predict(x), L0(3))
