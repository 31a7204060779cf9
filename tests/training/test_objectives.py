"""Every objective's loss and the step it takes, against formulas written out for a small net, in torch and Keras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from xaibench.errors import InputError
from xaibench.rng import SampleRng
from xaibench.threats import L1, L2, Linf, Threat
from xaibench.training.keras_learner import KerasLearner
from xaibench.training.learner import Normalisation
from xaibench.training.objectives import Forward, Objective, Replaying, TrainingLoss, objectives
from xaibench.training.recipe import Recipe
from xaibench.training.torch_learner import TorchLearner
from xaibench.types import Bounds

RECIPE = Recipe.of({"name": "tiny", "data": "digits", "architecture": {"name": "mlp"}, "optimizer": {"name": "sgd"}})
BOX, EPS, RATE = Bounds(0.0, 2.0), 0.2, 0.5
CLASSES = 3
OPTIONS: dict[str, Any] = {"task": "tabular", "class_names": ("a", "b", "c"), "input_shape": (4,)}
X = 2 * torch.rand((7, 4), generator=torch.Generator().manual_seed(1))
Y = torch.arange(7) % CLASSES
Weights = tuple[Tensor, Tensor, Tensor, Tensor]
FRAMEWORKS = pytest.mark.parametrize("framework", ["torch", "keras"])


def weights() -> Weights:
    """Of a net of one hidden layer: (5, 4), (5,), (3, 5), (3,), float64."""
    shapes = (5, 4), (5,), (CLASSES, 5), (CLASSES,)
    generator = torch.Generator().manual_seed(0)
    first, second, third, fourth = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    return first, second, third, fourth


def learner(framework: str) -> TorchLearner | KerasLearner:
    first, bias, second, shift = (value.float() for value in weights())
    if framework == "torch":
        module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, CLASSES))
        module.load_state_dict({"0.weight": first, "0.bias": bias, "2.weight": second, "2.bias": shift})
        return TorchLearner(module, RECIPE, Normalisation(), BOX, **OPTIONS)
    from keras import Input, Sequential, layers

    model = Sequential([Input((4,)), layers.Dense(5, activation="tanh"), layers.Dense(CLASSES)])
    model.set_weights([value.numpy() for value in (first.T, bias, second.T, shift)])
    return KerasLearner(model, RECIPE, Normalisation(), BOX, **OPTIONS)


def read(given: TorchLearner | KerasLearner) -> list[Tensor]:
    found = list(given.weights().values())
    if isinstance(given, KerasLearner):
        found = [value.T if value.ndim == 2 else value for value in found]
    return [value.double() for value in found]


@dataclass
class Watched:
    """An objective, and what it was given and gave."""

    inner: Any
    adversarial: ClassVar[bool] = True
    perturbed: Tensor = field(default_factory=lambda: torch.empty(0))
    rng: SampleRng | None = None

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        self.perturbed, self.rng = self.inner.perturb(forward, x, y), forward.rng
        return self.perturbed

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        result: TrainingLoss = self.inner.loss(forward, x, perturbed, y)
        return result


def hidden(w: Weights, x: Tensor) -> Tensor:
    return torch.tanh(x @ w[0].T + w[1])


def probabilities(w: Weights, x: Tensor) -> Tensor:
    raised = torch.exp(hidden(w, x) @ w[2].T + w[3])
    return raised / raised.sum(1, keepdim=True)


def slopes(w: Weights, x: Tensor, y: Tensor) -> Tensor:
    """The gradient of each sample's cross entropy towards its input, by the chain rule."""
    above = probabilities(w, x) - torch.eye(CLASSES, dtype=torch.float64)[y]
    return ((above @ w[2]) * (1 - hidden(w, x) ** 2)) @ w[0]


Formula = Callable[[Weights, Tensor, Tensor, SampleRng], Tensor]
"""From weights, clean inputs, perturbed inputs (float64) and the batch's random numbers to the loss."""


def entropy(smoothing: float = 0.0) -> Formula:
    def formula(w: Weights, x: Tensor, perturbed: Tensor, rng: SampleRng) -> Tensor:
        logs = [p.log() for p in probabilities(w, perturbed)]
        terms = [(1 - smoothing) * row[y] + smoothing * row.mean() for row, y in zip(logs, Y.tolist(), strict=True)]
        return -sum(terms) / len(terms)  # type: ignore[return-value]

    return formula


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p / q).log()).sum()


def trades(w: Weights, x: Tensor, perturbed: Tensor, rng: SampleRng) -> Tensor:
    moved = [kl(p, q) for p, q in zip(probabilities(w, x), probabilities(w, perturbed), strict=True)]
    return entropy(0.1)(w, x, x, rng) + 3.0 * sum(moved) / len(x)


def mart(w: Weights, x: Tensor, perturbed: Tensor, rng: SampleRng) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for p, q, y in zip(probabilities(w, x), probabilities(w, perturbed), Y.tolist(), strict=True):
        wrong = torch.stack([q[k] for k in range(CLASSES) if k != y]).max()
        total = total - q[y].log() - (1 - wrong).log() + 5.0 * kl(p, q) * (1 - p[y])
    return total / len(x)


def penalty(w: Weights, x: Tensor, perturbed: Tensor, rng: SampleRng) -> Tensor:
    span = 2.0
    return entropy()(w, x, x, rng) + 0.7 * ((span * slopes(w, x, Y)) ** 2).sum() / len(x)


def alignment(w: Weights, x: Tensor, perturbed: Tensor, rng: SampleRng) -> Tensor:
    random = Linf(EPS).sample(rng, x.float(), BOX).double()
    pairs = zip(slopes(w, x, Y), slopes(w, random, Y), strict=True)
    turned = [1 - (a * b).sum() / (a.norm() * b.norm()) for a, b in pairs]
    return entropy()(w, x, perturbed, rng) + 0.4 * sum(turned) / len(x)


def raised(formula: Formula, gamma: float) -> Formula:
    """The formula at weights moved up its own gradient; derivatives do not see the move."""

    def at_raised(w: Weights, x: Tensor, perturbed: Tensor, rng: SampleRng) -> Tensor:
        leaves = tuple(value.detach().requires_grad_() for value in w)
        up = torch.autograd.grad(formula(leaves, x, perturbed, rng), leaves)  # type: ignore[arg-type]
        moves = [gamma * v.detach().norm() * g / g.norm() if v.ndim > 1 else 0 * g for v, g in zip(w, up, strict=True)]
        return formula(tuple(v + m for v, m in zip(w, moves, strict=True)), x, perturbed, rng)  # type: ignore[arg-type]

    return at_raised


CASES: list[tuple[str, Formula]] = [
    ("standard", entropy()),
    ("standard:label_smoothing=0.2", entropy(0.2)),
    ("pgd_at:steps=2", entropy()),
    ("pgd_at:steps=2,label_smoothing=0.3", entropy(0.3)),
    ("adversarial:attack=fgsm", entropy()),
    ("trades:beta=3,steps=2,label_smoothing=0.1", trades),
    ("mart:beta=5,steps=2", mart),
    ("fgsm_rs", entropy()),
    ("n_fgsm:label_smoothing=0.1", entropy(0.1)),
    ("free", entropy()),
    ("grad_align:weight=0.4", alignment),
    ("input_gradient_penalty:weight=0.7", penalty),
    ("gaussian_noise:sigma=0.3", entropy()),
    ("epsilon_ensemble:objective=fgsm_rs", entropy()),
    ("awp:gamma=0.1,objective=fgsm_rs", raised(entropy(), 0.1)),
    ("awp:gamma=0.1,objective=standard", raised(entropy(), 0.1)),
]


@FRAMEWORKS
@pytest.mark.parametrize(("spec", "formula"), CASES, ids=[spec for spec, _ in CASES])
def test_loss_and_step_are_those_of_the_formula(spec: str, formula: Formula, framework: str) -> None:
    taught, watched = learner(framework), Watched(objectives.create(spec))
    result = taught.step([(X, Y)], watched, rate=RATE, seed=3, threat=Linf(EPS))
    leaves = tuple(value.requires_grad_() for value in weights())
    assert watched.rng is not None
    loss = formula(leaves, X.double(), watched.perturbed.double(), watched.rng)  # type: ignore[arg-type]
    assert result.loss / len(X) == pytest.approx(float(loss.detach()), rel=2e-5)
    gradients = torch.autograd.grad(loss, leaves)
    for value, leaf, gradient in zip(read(taught), leaves, gradients, strict=True):
        torch.testing.assert_close(value, leaf.detach() - RATE * gradient, rtol=1e-4, atol=1e-5)


def perturbed(spec: str, framework: str = "torch", threat: Threat | None = None) -> tuple[Tensor, SampleRng]:
    watched = Watched(objectives.create(spec))
    learner(framework).step([(X, Y)], watched, rate=0.0, seed=3, threat=threat or Linf(EPS))
    assert watched.rng is not None
    return watched.perturbed, watched.rng


def signs(x: Tensor) -> Tensor:
    return slopes(weights(), x.double(), Y).sign().float()


@FRAMEWORKS
def test_the_step_from_a_random_start_is_projected(framework: str) -> None:
    found, rng = perturbed("fgsm_rs", framework)
    start = (X + rng.uniform((4,), low=-EPS, high=EPS)).clamp(0, 2)
    expected = torch.minimum(torch.maximum(start + 1.25 * EPS * signs(start), X - EPS), X + EPS).clamp(0, 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@FRAMEWORKS
def test_the_step_from_strong_noise_is_not_projected(framework: str) -> None:
    found, rng = perturbed("n_fgsm", framework)
    start = (X + 2 * rng.uniform((4,), low=-EPS, high=EPS)).clamp(0, 2)
    torch.testing.assert_close(found, (start + EPS * signs(start)).clamp(0, 2), rtol=0, atol=1e-6)
    assert float((found - X).abs().max()) > 1.5 * EPS


def test_aligned_gradients_are_trained_on_one_step_from_the_input() -> None:
    found, _ = perturbed("grad_align")
    torch.testing.assert_close(found, (X + EPS * signs(X)).clamp(0, 2), rtol=0, atol=1e-6)


def test_noise_is_normal_and_leaves_the_box() -> None:
    found, rng = perturbed("gaussian_noise:sigma=0.5")
    torch.testing.assert_close(found, X + 0.5 * rng.normal((4,)))
    assert bool((found < 0).any() | (found > 2).any())


def test_boosted_entropy_is_trained_on_the_ascent_of_plain_entropy() -> None:
    torch.testing.assert_close(perturbed("mart:steps=3")[0], perturbed("pgd_at:steps=3")[0], rtol=0, atol=0)


@pytest.mark.parametrize("scale", [None, (1.0, 2.0, 0.5, 1.0)])
def test_the_ascent_of_the_divergence_starts_beside_the_input(scale: tuple[float, ...] | None) -> None:
    found, rng = perturbed("trades:steps=1,step_size=0.5,noise=0.01", threat=Linf(EPS, scale=scale))
    unit = torch.tensor(scale or (1.0,) * 4)
    start = (X + 0.01 * unit * rng.normal((4,))).clamp(0, 2)
    w, point = weights(), start.double().requires_grad_()
    pairs = zip(probabilities(w, X.double()), probabilities(w, point), strict=True)
    (gradient,) = torch.autograd.grad(sum(kl(p, q) for p, q in pairs), point)  # type: ignore[arg-type]
    end = start + 0.5 * EPS * unit * gradient.sign().float()
    expected = torch.minimum(torch.maximum(end, X - EPS * unit), X + EPS * unit).clamp(0, 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_the_ascent_is_of_the_divergence_from_the_clean_prediction() -> None:
    found, rng = perturbed("trades:steps=1,step_size=0.5,noise=0.01", threat=L2(EPS))
    start = (X + 0.01 * rng.normal((4,))).clamp(0, 2)
    w, point = weights(), start.double().requires_grad_()
    pairs = zip(probabilities(w, X.double()), probabilities(w, point), strict=True)
    (gradient,) = torch.autograd.grad(sum(kl(p, q) for p, q in pairs), point)  # type: ignore[arg-type]
    end = start + (0.5 * EPS * gradient / gradient.norm(dim=1, keepdim=True)).float()
    torch.testing.assert_close(found, end.clamp(0, 2), rtol=0, atol=1e-5)


def test_any_attack_is_made_on_the_model_of_now() -> None:
    from xaibench.attacks import attacks
    from xaibench.classifiers import TorchClassifier

    taught, watched = learner("torch"), Watched(objectives.create("adversarial:attack=pgd:steps=3"))
    assert isinstance(taught, TorchLearner)
    for _ in range(2):
        alone = TorchClassifier(taught._module, bounds=(0.0, 2.0), outputs="logits", **OPTIONS)
        rng = SampleRng(torch.arange(len(X)), watched.rng.seed if watched.rng else 0)
        taught.step([(X, Y)], watched, rate=0.0, seed=3, threat=Linf(EPS))
        assert watched.rng is not None
        expected = attacks.create("pgd:steps=3")(alone, X, Y, Linf(EPS), ids=rng.ids, seed=watched.rng.seed)
        assert torch.equal(watched.perturbed, expected)
        taught.step([(X, Y)], objectives.create("standard"), rate=RATE, seed=0)
    assert not torch.equal(expected, X)


@FRAMEWORKS
def test_free_training_is_the_loop_of_the_paper(framework: str) -> None:
    taught, objective = learner(framework), objectives.create("free:replays=3")
    assert isinstance(objective, Replaying)
    w, delta = weights(), torch.zeros_like(X).double()
    batches = [(X, Y), (X.flip(0), Y.flip(0)), (X[:5], Y[:5])]
    for x, y in batches:
        for replay in range(objective.replays):
            taught.step([(x, y)], objective, rate=RATE, seed=replay, threat=Linf(EPS))
            leaves = tuple(value.detach().requires_grad_() for value in w)
            clean = x.double()
            point = (clean + delta[: len(x)]).clamp(0, 2).requires_grad_()
            loss = -probabilities(leaves, point)[torch.arange(len(y)), y].log().mean()  # type: ignore[arg-type]
            *down, up = torch.autograd.grad(loss, (*leaves, point))
            # Lines 9 and 11 of the paper's algorithm: a step, and the ball alone.
            delta = (delta[: len(x)] + EPS * up.sign()).clamp(-EPS, EPS)
            w = tuple(value - RATE * step for value, step in zip(w, down, strict=True))  # type: ignore[assignment]
    for value, expected in zip(read(taught), w, strict=True):
        torch.testing.assert_close(value, expected.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("threat", [Linf(EPS), L2(EPS), L1(EPS)], ids=lambda threat: threat.norm)
def test_what_the_box_cuts_off_free_training_is_there_for_the_next_batch(threat: Threat) -> None:
    taught, objective = learner("torch"), Watched(objectives.create("free:replays=1"))
    middle = torch.ones_like(X)
    taught.step([(middle, Y)], objective, rate=0.0, seed=0, threat=threat)
    taught.step([(middle, Y)], objective, rate=0.0, seed=1, threat=threat)
    free = objective.perturbed - middle
    assert float(threat.distance(objective.perturbed, middle).min()) > 0.9 * EPS
    corner = torch.where(free > 0, 2.0, 0.0)  # the box leaves no room for the perturbation, but keeps it
    other = learner("torch")
    other.step([(middle, Y)], objective, rate=0.0, seed=0, threat=threat)
    other._memory["free.perturbation"] = free
    other.step([(corner, Y)], objective, rate=0.0, seed=1, threat=threat)
    assert torch.equal(objective.perturbed, corner)
    kept = other._memory["free.perturbation"]
    assert float((kept.abs() > EPS / 10).double().mean()) > 0.2
    assert float(threat.distance(corner + kept, corner).max()) <= EPS + 1e-6


def test_each_sample_draws_its_own_radius() -> None:
    x, y = torch.ones(400, 4), torch.arange(400) % CLASSES
    spec = "epsilon_ensemble:fractions=[0,0.5,1],objective=pgd_at:steps=3"
    watched = Watched(objectives.create(spec))
    learner("torch").step([(x, y)], watched, rate=0.0, seed=3, threat=Linf(EPS))
    sizes = (watched.perturbed - x).abs().amax(1)
    shares = [float((sizes - share * EPS).abs().lt(1e-6).double().mean()) for share in (0.0, 0.5, 1.0)]
    assert sum(shares) == pytest.approx(1)
    assert min(shares) > 0.25
    part = torch.arange(50)
    again = Watched(objectives.create(spec))
    learner("torch").step([(x[part], y[part])], again, rate=0.0, seed=3, threat=Linf(EPS))
    assert torch.equal(again.perturbed, watched.perturbed[part])


@FRAMEWORKS
def test_weights_rise_only_after_the_warm_up(framework: str) -> None:
    def moved(spec: str, progress: float) -> list[Tensor]:
        taught = learner(framework)
        taught.step([(X, Y)], objectives.create(spec), rate=RATE, seed=0, progress=progress, threat=Linf(EPS))
        return read(taught)

    plain, wrapped = "pgd_at:steps=1", "awp:gamma=0.1,warmup=0.5,objective=pgd_at:steps=1"
    for progress, same in ((0.5, True), (0.51, False)):
        pairs = zip(moved(plain, progress), moved(wrapped, progress), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) == same


def batch_normed(framework: str) -> TorchLearner | KerasLearner:
    if framework == "torch":
        torch.manual_seed(0)
        return TorchLearner(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, CLASSES)), RECIPE, Normalisation(), BOX)
    from keras import Input, Sequential, layers

    model = Sequential([Input((4,)), layers.BatchNormalization(), layers.Dense(CLASSES, kernel_initializer="ones")])
    return KerasLearner(model, RECIPE, Normalisation(), BOX)


@FRAMEWORKS
def test_raised_weights_leave_batch_norm_to_learn_once(framework: str) -> None:
    found = []
    for spec in ("standard", "awp:objective=standard"):
        taught = batch_normed(framework)
        taught.step([(X, Y)], objectives.create(spec), rate=0.0, seed=0)
        found.append(taught.weights())
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())


@dataclass(frozen=True)
class Failing:
    """Raises in the pass at the raised weights, or before."""

    inner: Objective
    passes: list[int]
    fails_at: int
    adversarial: ClassVar[bool] = False

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        return x

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        self.passes.append(1)
        result = self.inner.loss(forward, x, perturbed, y)
        if len(self.passes) == self.fails_at:
            raise InputError("expected a pass, got none")
        return result


@FRAMEWORKS
@pytest.mark.parametrize("fails_at", [1, 2])
def test_raised_weights_come_back_also_from_errors(framework: str, fails_at: int) -> None:
    taught, objective = batch_normed(framework), objectives.create("awp:objective=standard")
    object.__setattr__(objective, "_inner", Failing(objectives.create("standard"), [], fails_at))
    before = taught.weights()
    with pytest.raises(InputError, match="got none"):
        taught.step([(X, Y)], objective, rate=RATE, seed=0)
    after = taught.weights()
    trained = ("weight", "bias") if framework == "torch" else ("0", "1", "4", "5")
    names = [name for name in before if name.endswith(trained)]
    assert len(names) == 4
    assert all(torch.equal(before[name], after[name]) for name in names)


def test_a_wrapper_finds_its_radius_in_rules_too() -> None:
    from xaibench.threats import Constrained

    rows = torch.tensor([[1.0, 0.4, 1.0, 0.0]]).repeat(40, 1)
    ruled = Constrained(Linf(0.9), immutable=(1,), one_hot=((2, 3),), integer=(0,))
    watched = Watched(objectives.create("epsilon_ensemble:fractions=[0.5],objective=pgd_at:steps=2"))
    learner("torch").step([(rows, torch.arange(40) % CLASSES)], watched, rate=0.0, seed=0, threat=ruled)
    assert bool(replace(ruled, threat=Linf(0.45)).contains(watched.perturbed, rows, BOX).all())
