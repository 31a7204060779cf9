"""The fast forward path: never another model's logits, whatever was asked before."""

import pytest
import torch
from small_models import inputs_for, torch_cnn
from torch import Tensor, nn

from xaibench.classifiers import TorchClassifier


def test_a_scorer_gives_the_logits() -> None:
    model = torch_cnn()
    x = inputs_for(model, 20)
    torch.testing.assert_close(model.scorer(x)(x), model.logits(x).detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.scorer(x[:1])(x), model.logits(x).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("change", ["optimiser", "data", "state", "layer", "buffer"])
def test_a_scorer_made_after_a_change_of_the_model_knows_it(change: str) -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    model = TorchClassifier(module, input_shape=(1, 8, 8))
    x = torch.rand(5, 1, 8, 8)
    before = model.scorer(x)
    old = before(x)
    if change == "optimiser":
        with torch.no_grad():
            module[4].bias.add_(1e-4)
    elif change == "data":
        module[4].bias.data[:] = 1.0
    elif change == "state":
        module.load_state_dict({name: value * 1.001 for name, value in module.state_dict().items()})
    elif change == "buffer":
        module[1].running_mean[0] += 1e-3  # type: ignore[index, operator]
    else:
        module[2] = nn.Tanh()
    after = model.scorer(x)(x)
    torch.testing.assert_close(after, model.logits(x).detach(), rtol=1e-6, atol=1e-6)
    assert not torch.equal(after, old)
    torch.testing.assert_close(before(x), old)


def test_a_change_of_code_is_noticed() -> None:
    class Switch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sign = 1.0
            self.linear = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.sign * self.linear(x)
            return out

    module = Switch()
    model = TorchClassifier(module, task="tabular", input_shape=(4,))
    x = torch.rand(5, 4)
    model.scorer(x)
    module.sign = -1.0
    torch.testing.assert_close(model.scorer(x)(x), model.logits(x).detach())


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_batch_size_that_is_written_into_the_trace_is_noticed(n: int) -> None:
    class Token(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.rand(1, 2))
            self.linear = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.linear(torch.cat([self.token.expand(len(x), -1), x], dim=1))
            return out

    model = TorchClassifier(Token(), task="tabular", input_shape=(4,))
    x = torch.rand(7, 4)
    torch.testing.assert_close(model.scorer(x[:n])(x), model.logits(x).detach())


def test_the_second_scorer_is_not_traced_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch_cnn()
    x = inputs_for(model, 4)
    model.scorer(x)
    monkeypatch.setattr(torch.jit, "trace", lambda *_, **__: pytest.fail("traced again"))
    torch.testing.assert_close(model.scorer(x[:1])(x), model.logits(x).detach(), rtol=1e-4, atol=1e-5)
