"""Losses against their formulas, written out by hand."""

from __future__ import annotations

import pytest
import torch

from xaibench import InputError, losses
from xaibench.losses import LOSSES, resolve

LOGITS = torch.tensor([[2.0, 5.0, 1.0, -3.0], [0.5, 0.25, 4.0, 3.0], [1.0, 1.0, 1.0, 1.0]])
LABELS = torch.tensor([0, 2, 3])


def test_values_by_hand() -> None:
    z = LOGITS.tolist()
    expected = {
        "ce": [
            -(row[y] - torch.tensor(row).exp().sum().log().item()) for row, y in zip(z, LABELS.tolist(), strict=True)
        ],
        "margin": [5 - 2, 3 - 4, 0],
        "dlr": [(5 - 2) / (5 - 1), (3 - 4) / (4 - 0.5), 0],
        "logit": [-2, -4, -1],
    }
    assert set(expected) == set(LOSSES)
    for name, values in expected.items():
        torch.testing.assert_close(resolve(name)(LOGITS, LABELS), torch.tensor(values, dtype=torch.float32))


def test_dlr_ignores_shift_and_scale_and_falls_back_with_two_classes() -> None:
    dlr, margin = resolve("dlr"), resolve("margin")
    torch.testing.assert_close(dlr(7 * LOGITS[:2] - 3, LABELS[:2]), dlr(LOGITS[:2], LABELS[:2]))
    two = LOGITS[:, :2]
    assert torch.equal(dlr(two, LABELS % 2), margin(two, LABELS % 2))


@pytest.mark.parametrize("name", LOSSES)
def test_ascending_moves_away_from_the_label(name: str) -> None:
    logits = LOGITS[:2].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(resolve(name)(logits, LABELS[:2]).sum(), logits)
    stepped = logits + 0.1 * gradient
    probability = torch.softmax(stepped, 1).gather(1, LABELS[:2, None])
    assert (probability < torch.softmax(logits, 1).gather(1, LABELS[:2, None])).all()


def test_unknown_loss_names_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown loss 'dlrr'; did you mean 'dlr'"):
        resolve("dlrr")


def test_targeted_losses_by_hand() -> None:
    logits, y, target = torch.tensor([[4.0, 1.0, 3.0, 0.5]]), torch.tensor([0]), torch.tensor([1])
    assert float(losses.margin_targeted(logits, y, target)) == 1.0 - 4.0
    assert float(losses.dlr_targeted(logits, y, target)) == pytest.approx((1.0 - 4.0) / (4.0 - (1.0 + 0.5) / 2))
    shares = logits.exp() / logits.exp().sum()
    assert float(losses.ce_targeted(logits, y, target)) == pytest.approx(float(shares[0, 1].log()), abs=1e-6)
    few = logits[:, :3]
    assert float(losses.dlr_targeted(few, y, target)) == 1.0 - 4.0, "no fourth logit: the plain margin"


def test_every_targeted_loss_has_its_plain_form() -> None:
    assert set(losses.TARGETED) <= set(losses.LOSSES)
