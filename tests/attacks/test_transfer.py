"""Adversarials of one model tried on another."""

from __future__ import annotations

import pytest
import torch
from small_models import inputs_for, linear, table_mlp, torch_cnn
from torch import Tensor

from xaibench.attacks import PGD, attacks
from xaibench.attacks.transfer import transfer
from xaibench.errors import InputError
from xaibench.registry import Spec
from xaibench.threats import L2, Linf, contains
from xaibench.types import Classifier


def _planes(n: int = 200, d: int = 10) -> tuple[Classifier, Classifier, Tensor, Tensor, Tensor]:
    """Two planes at an angle, and inputs that both get right."""
    generator = torch.Generator().manual_seed(0)
    slope = torch.randn(d, generator=generator)
    other = slope + 0.7 * torch.randn(d, generator=generator)
    x = 0.3 + 0.4 * torch.rand(n, d, generator=generator)
    one, two = (linear(torch.stack([-w, w]), torch.stack([w.sum() / 2, -w.sum() / 2])) for w in (slope, other))
    right = one.predict(x) == two.predict(x)
    return one, two, x[right], one.predict(x[right]), torch.stack([slope, other])


def test_a_model_transfers_to_itself_without_loss() -> None:
    model = torch_cnn()
    x, ids = inputs_for(model, 24), torch.arange(24) * 3
    y = model.predict(x)
    attack = attacks.create("transfer:source=small_models:torch_cnn,attack=pgd:steps=8")
    found = attack(model, x, y, Linf(0.05), ids=ids, seed=4)
    assert torch.equal(found, PGD(steps=8)(model, x, y, Linf(0.05), ids=ids, seed=4))
    assert int((model.predict(found) != y).sum()) > 8


def test_what_crosses_both_planes_transfers_and_nothing_else() -> None:
    one, two, x, y, slopes = _planes()
    ball = L2(0.25)
    attack = PGD(steps=1, step_size=1.0, random_start=False)
    found = transfer(one, two, x, y, ball, attack=attack)
    side = torch.where(y == 1, 1.0, -1.0)[:, None]
    step = x - side * 0.25 * slopes[0] / slopes[0].norm()
    crossed = torch.stack([((step - 0.5) @ slope * side[:, 0]) < 0 for slope in slopes])
    moved = (found != x).any(dim=1)
    assert torch.equal(moved, crossed.all(dim=0))
    assert 0 < int(moved.sum()) < int(crossed[0].sum())
    assert bool(contains(ball, found, x, two.bounds).all())
    direct = attack(two, x, y, ball)
    assert int(moved.sum()) <= int((direct != x).any(dim=1).sum())


def test_sources_that_take_other_inputs_are_refused() -> None:
    model = torch_cnn()
    x = inputs_for(model, 2)
    with pytest.raises(InputError, match="expected a source with the target's task image, got tabular"):
        transfer(table_mlp(), model, x, model.predict(x), Linf(0.1), attack=PGD())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "expected all parameters of attack transfer, got: .*source"),
        ({"source": "a", "attack": "pgdd"}, "unknown attack 'pgdd'; did you mean 'pgd'"),
        ({"source": "a", "attack": "transfer:source=b"}, "expected an attack on a itself, got transfer:source=b"),
        ({"source": "a", "batch_size": 0}, "expected `batch_size` >= 1, got 0"),
    ],
)
def test_bad_parameters_are_refused(params: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        attacks.create(Spec("transfer", params))
