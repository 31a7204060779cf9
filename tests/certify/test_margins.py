"""The interface: what does not matter to a bound, what is left alone, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from certified_nets import BUILDERS, SHAPE, randomise
from small_models import inputs_for, token_net
from torch import Tensor, nn

from xaibench.certify import bounds, margin_bounds, prove
from xaibench.classifiers import ExportedClassifier, TorchClassifier
from xaibench.errors import InputError, UnsupportedError
from xaibench.threats import L0, L2, Linf

N = 7


def setting(name: str) -> tuple[TorchClassifier, Tensor, Tensor]:
    torch.manual_seed(0)
    module = BUILDERS[name]()
    randomise(module, 0)
    model = TorchClassifier(module.eval(), input_shape=SHAPE)
    x = torch.rand(N, *SHAPE)
    return model, x, model.predict(x)


def test_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = setting("residual")
    expected = margin_bounds(model, x, y, L2(0.2))
    order = torch.arange(N).flip(0)
    torch.testing.assert_close(margin_bounds(model, x[order], y[order], L2(0.2), batch_size=2)[order], expected)
    monkeypatch.setattr(bounds, "_CHUNK", 500)
    torch.testing.assert_close(margin_bounds(model, x, y, L2(0.2), batch_size=3), expected)


def test_nodes_too_large_for_linear_bounds_keep_their_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = setting("dense")
    full, loose = (margin_bounds(model, x, y, Linf(0.05), method=method) for method in ("crown", "interval"))
    monkeypatch.setattr(bounds, "_LARGEST", 0)
    between = margin_bounds(model, x, y, Linf(0.05))
    assert bool((loose <= between + 1e-9).all() and (between <= full + 1e-9).all())
    assert bool((between < full - 1e-3).any())


def test_proofs_are_positive_margins_of_right_answers() -> None:
    model, x, y = setting("dense")
    y[0] = (y[0] + 1) % 3
    proved = prove(model, x, y, Linf(0.01), batch_size=3)
    others = torch.arange(3) != y[:, None]
    margins = margin_bounds(model, x, y, Linf(0.01))
    assert torch.equal(proved, ((margins > 0) | ~others).all(dim=1))
    assert not bool(proved[0])
    assert 0 < int(proved.sum()) < N


def test_the_model_is_left_alone() -> None:
    torch.manual_seed(0)
    module = BUILDERS["residual"]().train()
    module.shortcut.eval()
    model = TorchClassifier(module, input_shape=SHAPE)
    x = torch.rand(2, *SHAPE)
    digest, attributes = model.digest, [sorted(vars(part)) for part in module.modules()]
    versions = [value._version for value in module.state_dict().values()]
    prove(model, x, torch.tensor([0, 1]), Linf(0.1))
    assert model.digest == digest
    assert [sorted(vars(part)) for part in module.modules()] == attributes
    assert [value._version for value in module.state_dict().values()] == versions
    assert module.training
    assert module.norm.training
    assert not module.shortcut.training
    assert all(value.requires_grad and value.grad is None for value in module.parameters())


@pytest.mark.parametrize("batch", [1, 3, None])
def test_exported_programs_have_the_same_bounds(batch: int | None) -> None:
    model, x, y = setting("curved")
    dynamic = None if batch else ({0: torch.export.Dim("batch")},)
    program = torch.export.export(model.module, (x[: batch or 2],), dynamic_shapes=dynamic)
    exported = ExportedClassifier(program)
    torch.testing.assert_close(margin_bounds(exported, x, y, Linf(0.1)), margin_bounds(model, x, y, Linf(0.1)))


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.head = nn.Linear(72, 3)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.head(x.flatten(1)))


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "gelu": (nn.functional.gelu, "^bounds do not know the operation 'gelu'$"),
    "products": (lambda x: x * x, "'mul' of the network's values with constants"),
    "batch": (lambda x: x - x.mean(dim=0), "change with the other samples in its batch"),
    "slope": (lambda x: nn.functional.leaky_relu(x, 1.5), "slopes between 0 and 1, got 1.5"),
    "half": (lambda x: x.half().float(), "computes in torch.float16"),
    "branch": (lambda x: x if x.sum() > 0 else 2 * x, "cannot be traced as a graph"),
    "rounding": (lambda x: torch.div(x, 0.1, rounding_mode="floor"), "without rounding"),
    "constant": (lambda x: torch.ones(len(x), 3), "do not depend"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_bounds_is_refused_by_name(name: str) -> None:
    function, message = REFUSED[name]
    model = TorchClassifier(Function(function), input_shape=SHAPE, outputs="logits")
    with pytest.raises(UnsupportedError, match=message) as error:
        prove(model, torch.rand(2, *SHAPE), torch.tensor([0, 1]), Linf(0.1))
    assert "\n" not in str(error.value)


def test_the_layer_is_named() -> None:
    model = TorchClassifier(nn.Sequential(nn.Flatten(), nn.Linear(72, 3), nn.Softplus()), input_shape=SHAPE)
    with pytest.raises(UnsupportedError, match=r"^layer '2' \(Softplus\): bounds do not know the operation"):
        prove(model, torch.rand(2, *SHAPE), torch.tensor([0, 1]), Linf(0.1))


def test_a_graph_that_hides_what_the_model_does_is_refused() -> None:
    class Shifty(nn.Module):
        """Computes something else whenever it is not being traced."""

        def forward(self, x: Tensor) -> Tensor:
            z = x.flatten(1)[:, :3]
            return z if torch.compiler.is_compiling() else 2 * z

    model = TorchClassifier(Shifty(), input_shape=SHAPE)
    with pytest.raises(UnsupportedError, match="expected equal logits"):
        prove(model, torch.rand(2, *SHAPE), torch.tensor([0, 1]), Linf(0.1))


def test_text_is_refused() -> None:
    model = token_net()
    with pytest.raises(UnsupportedError, match="got a model of text"):
        prove(model, inputs_for(model, 2), torch.tensor([0, 1]), Linf(0.1))


def test_bad_input_is_named() -> None:
    model, x, y = setting("dense")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"threat": L0(3)}, r"expected a convex ball \(linf, l2 or l1\), got l0|need a convex ball"),
        ({"threat": Linf(1.5)}, "expected 0 < eps <= 1"),
        ({"y": y[:-1]}, "expected 7 class indices, got torch.int64"),
        ({"y": y + 3}, r"expected classes in 0\.\.2"),
        ({"x": x[:0], "y": y[:0]}, "expected a batch of floating-point inputs"),
        ({"method": "simplex"}, "expected method as interval, crown-ibp, crown, got 'simplex'"),
    ]
    for change, message in wrong:
        with pytest.raises(InputError, match=message):
            margin_bounds(**{"model": model, "x": x, "y": y, "threat": Linf(0.1), **change})
