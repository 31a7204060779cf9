"""What every attack promises, tried on every attack: a new one joins by a row in ``METHODS``."""

from collections.abc import Callable, Iterable
from functools import cache
from types import MappingProxyType
from typing import Any

import pytest
import torch
from small_models import inputs_for, keras_cnn, linear, table_mlp, token_net, torch_cnn
from torch import Tensor

from xaibench.attacks import Attack, attacks
from xaibench.attacks.base import attacks_for
from xaibench.errors import InputError, UnsupportedError
from xaibench.registry import Spec
from xaibench.threats import Linf, Threat, contains, feature_scale, threat
from xaibench.types import Capability, Classifier

METHODS = [
    "fgsm",
    "fgsm:random_start=true,loss=margin",
    "pgd:steps=8",
    "pgd:steps=5,restarts=2,momentum=0.75,loss=dlr,step_size=0.3",
    "pgd:steps=5,random_start=false,loss=margin",
    "fab:steps=6",
    "fab_t:steps=10,targets=3",
    "fab_t:steps=6,targets=2,restarts=2",
    "square:queries=60",
    "square:queries=20,restarts=2",
    "apgd_ce:steps=8,restarts=2",
    "apgd_dlr:steps=8",
    "apgd_t:steps=8,targets=2",
    "carlini_wagner:steps=20,binary_search_steps=4",
    "deepfool:steps=10",
    "ddn:steps=20",
    "fmn:steps=20",
    "ead:steps=20,binary_search_steps=4",
    "newton_fool:steps=20",
    "virtual_adversarial:steps=2",
    "sparse_l1_descent:steps=8",
    "brendel_bethge:steps=20,learning_rate=0.02",
    "boundary:steps=200",
    "hop_skip_jump:steps=3,initial_evaluations=20",
    "pointwise",
    "gen_attack:steps=4",
    "gaussian_noise:repeats=20",
    "uniform_noise:repeats=20",
    "blended_noise:steps=20",
    "salt_and_pepper:steps=50",
    "contrast_reduction:target=0.2",
    "contrast_search",
    "gaussian_blur:steps=20",
    "inversion",
    "transfer:source=small_models:torch_cnn,attack=pgd:steps=5",
]
WITHOUT_L0 = ("apgd_ce", "apgd_dlr", "apgd_t", "fab", "fab_t", "square")
WITHOUT_GRADIENTS = ("square", "transfer")
WITHOUT_PROJECTION = ("fab", "fab_t")
SETTINGS: dict[str, tuple[Callable[[], Classifier], str, float]] = {
    "torch-linf": (torch_cnn, "linf", 0.05),
    "torch-l2": (torch_cnn, "l2", 0.4),
    "torch-l1": (torch_cnn, "l1", 2.0),
    "torch-l0": (torch_cnn, "l0", 3),
    "keras-linf": (keras_cnn, "linf", 0.02),
    "keras-l2": (keras_cnn, "l2", 0.15),
    "table-linf": (table_mlp, "linf", 0.1),
    "table-l1": (table_mlp, "l1", 0.2),
}
N = 24
# Attacks that ask a model very often, one sample at a time, or that know one model, are tried on that alone.
TRIED_ON = {
    "boundary": ("torch-l2",),
    "brendel_bethge": ("torch-l2",),
    "carlini_wagner": ("torch-l2",),
    "ead": ("torch-l1",),
    "gen_attack": ("torch-linf",),
    "hop_skip_jump": ("torch-linf",),
    "pointwise": ("torch-l0",),
    "transfer": ("torch-linf",),
}
# What no one aims need not hit.
AIMLESS = ("blended_noise", "contrast_reduction", "contrast_search", "gaussian_blur", "inversion")


@cache
def _setting(name: str) -> tuple[Classifier, Threat, Tensor, Tensor]:
    """A model, a threat, inputs and labels; every sixth label is wrong."""
    build, norm, eps = SETTINGS[name]
    model = build()
    ball = threat(norm, eps, feature_scale(model.task, model.bounds))
    x = inputs_for(model, N)
    y = model.predict(x)
    y[::6] = (y[::6] + 1) % model.num_classes
    return model, ball, x, y


def _attack(text: str) -> Attack:
    return attacks.create(text)


def _name(method: str) -> str:
    return Spec.parse(method).name


def _norms(method: str) -> tuple[str, ...]:
    """The norms that a method is defined for."""
    every = ("linf", "l2", "l1") if _name(method) in WITHOUT_L0 else ("linf", "l2", "l1", "l0")
    return getattr(attacks.get(_name(method)), "norms", every)


def _home(method: str) -> str:
    """A setting that a method is tried on."""
    usual = f"torch-{'linf' if 'linf' in _norms(method) else _norms(method)[0]}"
    return TRIED_ON.get(_name(method), (usual,))[0]


def _follows_gradients(method: str) -> bool:
    entry = getattr(attacks.get(_name(method)), "entry", None)
    return _name(method) not in WITHOUT_GRADIENTS if entry is None else Capability.GRADIENTS in entry.needs


def _params(methods: Iterable[str], settings: Iterable[str] = ("",)) -> list[Any]:
    """Methods, with each of those settings that they are tried on; slow if its optimiser has to be compiled."""
    return [
        pytest.param(*filter(None, (method, setting)), marks=[pytest.mark.slow] * (_name(method) == "brendel_bethge"))
        for method in methods
        for setting in settings
        if not setting
        or (
            setting in TRIED_ON.get(_name(method), SETTINGS)
            and (not setting.startswith("table") or _name(method) in attacks_for("tabular"))
        )
    ]


every_method = pytest.mark.parametrize("method", _params(METHODS))


def test_every_attack_is_in_the_table() -> None:
    # Rotations and translations are a threat of their own.
    known = {*attacks_for("image"), *attacks_for("tabular")} - {"spatial"}
    assert {_name(method) for method in METHODS} == known


@pytest.mark.parametrize(("method", "setting"), _params(METHODS, SETTINGS))
def test_successes_hold_and_all_else_is_clean(method: str, setting: str) -> None:
    model, ball, x, y = _setting(setting)
    if ball.norm not in _norms(method):
        with pytest.raises(UnsupportedError, match=f"is defined for [l012inf, ]+, got a threat in {ball.norm}"):
            _attack(method)(model, x, y, ball)
        return
    before, digest = (x.clone(), y.clone()), model.digest
    found = _attack(method)(model, x, y, ball)
    assert found.shape == x.shape
    assert found.dtype == x.dtype
    assert not found.requires_grad
    assert bool(contains(ball, found, x, model.bounds).all())
    moved = (found != x).flatten(1).any(dim=1)
    assert torch.equal(moved, (model.predict(found) != y) & (model.predict(x) == y))
    assert moved.any() or _name(method) in AIMLESS, "nothing was broken: the setting tests nothing"
    assert not moved[::6].any()
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])
    assert model.digest == digest


@pytest.mark.parametrize(
    ("method", "setting"),
    _params(METHODS, ("torch-linf", "torch-l2", "torch-l1", "torch-l0", "keras-l2", "table-linf")),
)
def test_results_depend_on_sample_and_seed_alone(method: str, setting: str) -> None:
    model, ball, x, y = _setting(setting)
    if ball.norm not in _norms(method):
        return
    n = 8 if _name(method) in TRIED_ON else N
    attack, x, y, ids = _attack(method), x[:n], y[:n], torch.arange(n) * 7 + 3
    found = attack(model, x, y, ball, ids=ids, seed=5)
    assert torch.equal(attack(model, x, y, ball, ids=ids, seed=5), found)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    shuffled = attack(model, x[order], y[order], ball, ids=ids[order], seed=5)
    shards = [attack(model, x[a:b], y[a:b], ball, ids=ids[a:b], seed=5) for a, b in ((0, 5), (5, 6), (6, n))]
    spec = attacks.spec(attack)
    small_batches = attacks.create(Spec(spec.name, {**spec.params, "batch_size": 7}))
    for other in (shuffled[order.argsort()], torch.cat(shards), small_batches(model, x, y, ball, ids=ids, seed=5)):
        # Kernels for other batch shapes may differ in the last bit of a gradient.
        agree = ((other - found).abs() <= 1e-4 * (1 + found.abs())).flatten(1).all(dim=1)
        assert int(agree.sum()) >= n - 1


@pytest.mark.parametrize("method", ["fgsm:random_start=true", "pgd:steps=3"])
def test_another_seed_gives_another_start(method: str) -> None:
    model, ball, x, y = _setting("torch-linf")
    first, second = (_attack(method)(model, x, y, ball, seed=seed) for seed in (0, 1))
    assert not torch.equal(first, second)


@every_method
def test_specs_make_the_attack_again(method: str) -> None:
    attack = _attack(method)
    assert attacks.create(attacks.spec(attack)) == attack
    assert attacks.create(Spec.parse(str(attacks.spec(attack)))) == attack


@every_method
def test_training_mode_and_gradients_are_left_as_they_were(method: str) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(16), torch.nn.Linear(16, 3)).train()
    module[1].eval()
    from xaibench.classifiers import TorchClassifier

    model = TorchClassifier(module, input_shape=(1, 4, 4))
    x = inputs_for(model, 6)
    if _name(method) == "transfer":
        return  # its source takes other inputs
    _attack(method)(model, x, model.predict(x), threat(_setting(_home(method))[1].norm, 1))
    assert [part.training for part in module] == [True, False, True]
    assert all(value.requires_grad and value.grad is None for value in module.parameters())
    assert not module[1].running_mean.any()


@every_method
def test_what_cannot_be_attacked_is_refused(method: str) -> None:
    text = token_net()
    with pytest.raises(UnsupportedError, match="does not exist for task 'text'; these do: character_edits, hotflip, "):
        _attack(method)(text, inputs_for(text, 2), torch.tensor([0, 1]), Linf(0.1))
    model, ball, x, y = _setting(_home(method))
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"threat": threat(ball.norm, 999)}, "expected 0 < eps <= .* got 999"),
        ({"y": y[:-1]}, r"expected 24 class indices, got torch.int64 \(23,\)"),
        ({"y": y.float()}, "expected 24 class indices, got torch.float32"),
        ({"y": y + 4}, r"expected classes in 0\.\.3, got 4\.\."),
        ({"ids": torch.arange(3)}, r"expected 24 sample ids, whole numbers, got torch.int64 \(3,\)"),
        ({"x": x[:0], "y": y[:0]}, "expected a batch of floating-point inputs"),
        ({"x": x * float("nan")}, "got NaN"),
    ]
    for change, message in wrong:
        arguments = {"model": model, "x": x, "y": y, "threat": ball, **change}
        with pytest.raises(InputError, match=message):
            _attack(method)(**arguments)


@pytest.mark.parametrize("method", _params(filter(_follows_gradients, METHODS)))
def test_a_model_without_gradients_is_refused(method: str) -> None:
    class Blind:
        task, capabilities, limits = "image", frozenset[str](), MappingProxyType[str, str]({})

    with pytest.raises(UnsupportedError, match="needs gradients of the model"):
        _attack(method)(Blind(), torch.zeros(1, 2), torch.tensor([0]), Linf(0.1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "method",
    _params(
        method
        for method in METHODS
        if _name(method) not in (*WITHOUT_PROJECTION, *AIMLESS, "transfer") and "linf" in _norms(method)
    ),
)
def test_claims_are_checked_again(method: str) -> None:
    class Leaky(Linf):
        def project(self, x: Tensor, clean: Tensor, bounds: Any) -> Tensor:
            return x + 0.3 * (x - clean).sign()

        def sample(self, rng: Any, x: Tensor, bounds: Any, step: int = 0) -> Tensor:
            return x + 0.5

    model = linear(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([0.0, -1.1]))
    x, y = torch.tensor([[0.5, 0.5]]), torch.tensor([0])
    assert not torch.equal(_attack(method)(model, x, y, Linf(0.2)), x)
    assert torch.equal(_attack(method)(model, x, y, Leaky(0.2)), x)
