"""What every objective promises, tried on every objective: a new one joins by a row in ``ROWS``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from test_objectives import BOX, EPS, OPTIONS, RATE, RECIPE, Watched, X, Y, learner
from torch import Tensor, nn

from xaibench.errors import InputError, UnsupportedError
from xaibench.registry import Spec
from xaibench.threats import L1, L2, Constrained, Linf, Threat, contains
from xaibench.training.keras_learner import KerasLearner
from xaibench.training.learner import Normalisation
from xaibench.training.objectives import Replaying, objectives
from xaibench.training.torch_learner import TorchLearner


@dataclass(frozen=True)
class Row:
    """An objective, whether it draws random numbers, and whether its perturbed inputs may leave the ball or stay."""

    spec: str
    random: bool = True
    leaves: bool = False
    moves: bool = True

    def __str__(self) -> str:
        return self.spec


ROWS = [
    Row("standard", random=False),
    Row("standard:label_smoothing=0.1", random=False),
    Row("pgd_at:steps=2"),
    Row("pgd_at:steps=2,random_start=false,step_size=0.4,label_smoothing=0.1", random=False),
    Row("adversarial:attack=pgd:steps=2", random=False, moves=False),
    Row("trades:steps=2"),
    Row("mart:steps=2"),
    Row("fgsm_rs"),
    Row("n_fgsm", leaves=True),
    Row("grad_align", random=False),
    Row("free:replays=2", random=False),
    Row("input_gradient_penalty", random=False),
    Row("gaussian_noise:sigma=0.1", leaves=True),
    Row("epsilon_ensemble:objective=pgd_at:steps=2"),
    Row("awp:warmup=0.2,objective=pgd_at:steps=2"),
    Row("awp:objective=trades:steps=2"),
    Row("awp:objective=gaussian_noise", leaves=True),
]
ELSEWHERE = {"distillation", "free_lb", "reconstruction", "robust_distillation", "word_substitution"}
THREATS: dict[str, Threat] = {
    "linf": Linf(EPS),
    "l2": L2(0.4),
    "l1": L1(0.6),
    "scaled": L2(0.2, scale=(1.0, 2.0, 0.5, 1.0)),
}
IN_KERAS = ("standard", "awp", "free", "pgd_at", "trades")
in_frameworks = pytest.mark.parametrize(
    ("row", "framework"),
    [(row, "torch") for row in ROWS] + [(row, "keras") for row in ROWS if Spec.parse(row.spec).name in IN_KERAS],
    ids=str,
)
every = pytest.mark.parametrize("row", ROWS, ids=str)


def is_adversarial(row: Row) -> bool:
    return objectives.create(row.spec).adversarial


def step(row: Row, threat: Threat | None, *, seed: int = 3, x: Tensor = X, times: int = 1) -> Watched:
    """An objective after as many steps on the same batch, by weights that stay."""
    watched, taught = Watched(objectives.create(row.spec)), learner("torch")
    for _ in range(times):
        taught.step([(x, Y[: len(x)])], watched, rate=0.0, seed=seed, threat=threat)
    return watched


def test_every_objective_is_in_the_table() -> None:
    named = {Spec.parse(row.spec).name for row in ROWS}
    assert named == set(objectives) - ELSEWHERE


@every
def test_perturbed_inputs_depend_on_the_seed_alone(row: Row) -> None:
    first, again, other = (step(row, Linf(EPS), seed=seed).perturbed for seed in (3, 3, 4))
    torch.manual_seed(5)
    assert torch.equal(first, again)
    assert torch.equal(first, other) != row.random
    assert not first.requires_grad


@pytest.mark.parametrize("threat", THREATS.values(), ids=THREATS)
@every
def test_perturbed_inputs_are_allowed(row: Row, threat: Threat) -> None:
    before = X.clone()
    found = step(row, threat, times=3).perturbed
    assert torch.equal(before, X)
    assert found.shape == X.shape
    if not row.leaves:
        assert bool(contains(threat, found, X, BOX).all())
        assert bool((found != X).any()) == (is_adversarial(row) and row.moves)
    if Spec.parse(row.spec).name == "n_fgsm":
        assert bool((BOX.clip(found) == found).all())
        assert not bool(contains(threat, found, X, BOX).all())


@every
def test_perturbed_rows_are_valid_where_a_table_has_rules(row: Row) -> None:
    x = X.clone()
    x[:, 0], x[:, 2:] = x[:, 0].round(), torch.eye(2)[Y % 2]
    ball = Linf(1.0)
    threat = Constrained(ball, immutable=(1,), integer=(0,), one_hot=((2, 3),))
    found = step(row, threat, x=x, times=3).perturbed
    if not is_adversarial(row):
        return
    wide = Constrained(Linf(3.0), immutable=(1,), integer=(0,), one_hot=((2, 3),)) if row.leaves else threat
    assert bool(wide.contains(found, x, BOX).all())
    assert bool((found != x).any()) == row.moves


@in_frameworks
def test_a_step_of_no_length_moves_no_weights(row: Row, framework: str) -> None:
    taught = learner(framework)
    before = taught.weights()
    taught.step([(X, Y)], objectives.create(row.spec), rate=0.0, seed=3, threat=Linf(EPS))
    assert all(torch.equal(value, before[key]) for key, value in taught.weights().items())


@in_frameworks
def test_a_state_holds_all_that_later_steps_depend_on(row: Row, framework: str) -> None:
    def steps(taught: TorchLearner | KerasLearner, seeds: range) -> TorchLearner | KerasLearner:
        for seed in seeds:
            taught.step([(X, Y)], objectives.create(row.spec), rate=RATE, seed=seed, threat=Linf(EPS))
        return taught

    halfway, other = steps(learner(framework), range(2)), learner(framework)
    other.load_state(halfway.state())
    for resumed in (halfway, other):
        steps(resumed, range(2, 4))
    assert all(torch.equal(value, halfway.weights()[key]) for key, value in other.weights().items())


@every
def test_specs_make_the_objective_again(row: Row) -> None:
    made = objectives.create(row.spec)
    spec = objectives.spec(made)
    assert objectives.create(spec) == made
    assert objectives.create(str(spec)) == made


@every
def test_token_ids_are_refused_where_they_do_not_fit(row: Row) -> None:
    module = nn.Sequential(nn.Embedding(9, 2), nn.Flatten(), nn.Linear(8, 3))
    taught = TorchLearner(module, RECIPE, Normalisation(), BOX, **(OPTIONS | {"task": "tabular"}))
    x = torch.arange(28).reshape(7, 4) % 9
    if Spec.parse(row.spec).name == "standard":
        assert taught.step([(x, Y)], objectives.create(row.spec), rate=0.1, seed=0).count == 7
        return
    with pytest.raises((InputError, UnsupportedError), match="expected") as refused:
        taught.step([(x, Y)], objectives.create(row.spec), rate=0.1, seed=0, threat=Linf(EPS))
    assert "\n" not in str(refused.value)


@every
def test_a_threat_is_asked_for_where_one_is_needed(row: Row) -> None:
    if is_adversarial(row):
        with pytest.raises(InputError, match="expected a threat"):
            step(row, None)
    else:
        step(row, None)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("standard:label_smoothing=1", "label_smoothing"),
        ("pgd_at:steps=0", "steps"),
        ("pgd_at:step_size=-1", "step_size"),
        ("pgd_at:label_smoothing=-0.1", "label_smoothing"),
        ("pgd_at:steps=2.5", "steps"),
        ("pgd_at:eps=0.1", "eps"),
        ("adversarial:attack=pgdd", "pgdd"),
        ("adversarial:attack=pgd:steps=0", "steps"),
        ("trades:beta=-1", "beta"),
        ("trades:noise=0", "noise"),
        ("mart:beta=NaN", "beta"),
        ("fgsm_rs:step_size=0", "step_size"),
        ("n_fgsm:noise=0", "noise"),
        ("n_fgsm:step_size=Infinity", "step_size"),
        ("grad_align:weight=-1", "weight"),
        ("free:replays=0", "replays"),
        ("input_gradient_penalty:weight=-1", "weight"),
        ("gaussian_noise:sigma=0", "sigma"),
        ("epsilon_ensemble:fractions=[]", "fractions"),
        ("epsilon_ensemble:fractions=[0]", "fractions"),
        ("epsilon_ensemble:fractions=[0.5,1.5]", "fractions"),
        ("epsilon_ensemble:objective=standard", "adversarial"),
        ("epsilon_ensemble:objective=free", "one step"),
        ("awp:objective=free", "one step"),
        ("awp:objective=pgdat", "pgdat"),
        ("awp:gamma=0", "gamma"),
        ("awp:warmup=1", "warmup"),
    ],
)
def test_parameters_out_of_range_are_refused(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        objectives.create(spec)
    assert "\n" not in str(refused.value)


def test_what_free_training_remembers_is_fitted_to_the_batch() -> None:
    objective: Any = objectives.create("free")
    assert isinstance(objective, Replaying)
    taught = learner("torch")
    for rows in (3, 7, 5):
        watched = Watched(objective)
        taught.step([(X[:rows], Y[:rows])], watched, rate=0.0, seed=0, threat=Linf(EPS))
        # Nothing is remembered for a larger batch, so it begins anew.
        assert torch.equal(watched.perturbed, X[:rows]) == (rows != 5)
