"""LRP against matrix algebra, conservation, a second derivation of AttnLRP, and Captum where it applies."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_models import inputs_for, torch_cnn
from torch import Tensor, nn

from xaibench.architectures import architectures
from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers import Attribution, explain
from xaibench.explainers.relevance.linear import Epsilon
from xaibench.registry import Spec

RULES = ("epsilon", "gamma", "z_plus", "composite")
Share = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def _lrp(model: TorchClassifier, x: Tensor, target: Any = None, **params: Any) -> Attribution:
    return explain(model, x, target, method="lrp", trust="quick", **{"epsilon": 1e-9, **params})


def _tabular(module: nn.Module, features: int) -> TorchClassifier:
    return TorchClassifier(module.double(), task="tabular", bounds=(-3.0, 4.0), input_shape=(features,))


def _uniform(n: int, *shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.rand(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) - 1


def _share(products: Tensor, bias: Tensor, relevance: Tensor) -> Tensor:
    """Relevance (out,) to inputs by products (out, in) and what the bias adds (out,)."""
    return (products / (products.sum(1) + bias)[:, None] * relevance[:, None]).sum(0)


def _epsilon(x: Tensor, weight: Tensor, bias: Tensor, relevance: Tensor) -> Tensor:
    return _share(weight * x, bias, relevance)


def _z_plus(x: Tensor, weight: Tensor, bias: Tensor, relevance: Tensor) -> Tensor:
    return _share((weight * x).clamp_min(0), bias.clamp_min(0), relevance)


def _gamma(x: Tensor, weight: Tensor, bias: Tensor, relevance: Tensor) -> Tensor:
    sign = torch.sign(weight @ x + bias)
    products = weight * x
    more = products + 0.25 * torch.where(products * sign[:, None] > 0, products, 0.0)
    return _share(more, bias + 0.25 * torch.where(bias * sign > 0, bias, 0.0), relevance)


SHARES: dict[str, Share] = {"epsilon": _epsilon, "gamma": _gamma, "z_plus": _z_plus, "composite": _epsilon}


@pytest.mark.parametrize("rule", RULES)
def test_dense_layers_by_matrix_algebra(rule: str) -> None:
    torch.manual_seed(0)
    a, b, c = nn.Linear(6, 8), nn.Linear(8, 7), nn.Linear(7, 3)
    model = _tabular(nn.Sequential(a, nn.Tanh(), b, nn.ReLU(), c), 6)
    x = _uniform(4, 6)
    found = _lrp(model, x, 1, rule=rule)
    for n in range(4):
        values = [x[n]]
        for layer, squash in ((a, torch.tanh), (b, torch.relu), (c, lambda y: y)):
            values.append(squash(layer(values[-1])).detach())
        relevance = values[-1] * torch.tensor([0.0, 1.0, 0.0])
        for layer, value in ((c, values[2]), (b, values[1]), (a, values[0])):
            relevance = SHARES[rule](value, layer.weight.detach(), layer.bias.detach(), relevance)
        torch.testing.assert_close(found.values[n], relevance, rtol=1e-5, atol=1e-7)
    assert found.completeness_gap is None
    share = found.values.sum(1) / model.logits(x)[:, 1].detach()
    assert found.trust.kept is not None
    torch.testing.assert_close(found.trust.kept, share.float())
    low, high = float(share.min()), float(share.max())
    assert found.trust.notes == (f"values add up to {low:.2f} to {high:.2f} times the logit, the rest goes to biases",)


def _as_matrix(layer: nn.Conv2d, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Weights (out, in) and bias (out,) of a convolution on images of a shape."""
    size = torch.Size(shape).numel()
    with torch.no_grad():
        bias = layer(torch.zeros(1, *shape, dtype=torch.float64))
        weight = layer(torch.eye(size, dtype=torch.float64).view(size, *shape)) - bias
    return weight.flatten(1).T, bias.flatten()


@pytest.mark.parametrize("first", ["flat", "box", "gamma", "z_plus", "epsilon"])
def test_convolutions_and_what_enters_them_by_matrix_algebra(first: str) -> None:
    torch.manual_seed(1)
    conv, head = nn.Conv2d(2, 3, 3, stride=2, padding=1, groups=1).double(), nn.Linear(12, 3).double()
    module = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), head)
    mean, std = (0.3, 0.6), (0.5, 0.25)
    model = TorchClassifier(module, input_shape=(2, 4, 4), mean=mean, std=std)
    x = torch.rand(3, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    composite = first in {"flat", "box"}
    rule = "composite" if composite else first
    found = _lrp(model, x, 2, rule=rule, box=first == "box")
    weight, bias = _as_matrix(conv, (2, 4, 4))
    low, high = (
        ((limit - torch.tensor(mean)) / torch.tensor(std)).double().repeat_interleave(16) for limit in (0.0, 1.0)
    )
    for n in range(3):
        point = ((x[n] - torch.tensor(mean).view(2, 1, 1)) / torch.tensor(std).view(2, 1, 1)).flatten()
        hidden = (weight @ point + bias).relu()
        out = head(hidden).detach() * torch.tensor([0.0, 0.0, 1.0])
        relevance = SHARES[rule](hidden, head.weight.detach(), head.bias.detach(), out)
        if first == "flat":
            # Every weight of the kernel counts, whatever its value.
            field = (weight != 0).double()
            expected = (field / field.sum(1, keepdim=True) * relevance[:, None]).sum(0)
        elif first == "box":
            products = weight * point - weight.clamp_min(0) * low - weight.clamp_max(0) * high
            expected = _share(products, torch.zeros_like(bias), relevance)
        else:
            expected = SHARES[rule](point, weight, bias, relevance)
        torch.testing.assert_close(found.values[n].flatten(), expected, rtol=1e-4, atol=1e-6)


class _Normed(nn.Module):
    """Convolution and batch norm, or the two in one."""

    def __init__(self, folded: bool, turned: bool) -> None:
        super().__init__()
        torch.manual_seed(2)
        conv, self.norm, self.head = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(4 * 36, 3)
        for values in (self.norm.weight, self.norm.bias, self.norm.running_mean):
            nn.init.uniform_(values, -1, 1)  # type: ignore[arg-type]
        nn.init.uniform_(self.norm.running_var, 0.3, 2)  # type: ignore[arg-type]
        self.conv, self.folded, self.turned = conv, folded, turned
        if folded:
            fused = nn.utils.fusion.fuse_conv_bn_eval(conv.eval().double(), self.norm.eval().double())
            self.conv = fused

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if not self.folded and self.turned:
            scale = self.norm.weight * (self.norm.running_var + self.norm.eps) ** -0.5  # type: ignore[operator]
            y = ((y.permute(0, 2, 3, 1) - self.norm.running_mean) * scale + self.norm.bias).permute(0, 3, 1, 2)
        elif not self.folded:
            y = self.norm(y)
        return self.head(y.relu().flatten(1))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("turned", [False, True])
def test_batch_norm_is_a_part_of_the_layer_before_it(rule: str, turned: bool) -> None:
    x = torch.rand(3, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    apart, folded = (
        _lrp(TorchClassifier(_Normed(one, turned).double(), input_shape=(2, 8, 8)), x, 0, rule=rule).values
        for one in (False, True)
    )
    torch.testing.assert_close(apart, folded, rtol=1e-4, atol=1e-6)


class _Residual(nn.Module):
    def __init__(self, bias: bool) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.a, self.b, self.c = (nn.Conv2d(n, 4, 3, padding=1, bias=bias) for n in (2, 4, 4))
        self.norm, self.head = nn.LayerNorm(4, bias=bias), nn.Linear(4, 3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        x = x + F.relu(self.b(x))
        x = F.max_pool2d(F.relu(self.c(x)) + x, 2)
        return self.head(self.norm(x.mean((2, 3))))


@pytest.mark.parametrize("rule", [*RULES, "box"])
def test_without_biases_the_logit_is_conserved(rule: str) -> None:
    model = TorchClassifier(_Residual(bias=False).double(), input_shape=(2, 8, 8))
    params = {"rule": "composite", "box": True} if rule == "box" else {"rule": rule}
    found = _lrp(model, torch.rand(4, 2, 8, 8, dtype=torch.float64), **params)
    assert found.completeness_gap is not None
    assert float(found.completeness_gap.max()) < 1e-5
    assert found.trust.notes == ()
    biased = TorchClassifier(_Residual(bias=True).double(), input_shape=(2, 8, 8))
    assert _lrp(biased, torch.rand(4, 2, 8, 8, dtype=torch.float64), **params).completeness_gap is None


class _Attentive(nn.Module):
    """Attention whose relevance can also be had from a gradient: ``modified`` cuts and halves it where AttnLRP does."""

    def __init__(self, modified: bool = False) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.enter, self.qkv, self.out = nn.Linear(3, 6), nn.Linear(6, 18), nn.Linear(6, 6)
        self.up, self.down, self.head = nn.Linear(6, 12), nn.Linear(12, 6), nn.Linear(6, 3)
        self.modified = modified

    def norm(self, x: Tensor) -> Tensor:
        if not self.modified:
            return F.layer_norm(x, (6,))
        return self.passed(x, F.layer_norm(x, (6,)))

    def passed(self, x: Tensor, y: Tensor) -> Tensor:
        """y, with gradients that hand x G on as y G is."""
        return x * (y / x).detach() if self.modified else y

    def halved(self, x: Tensor) -> Tensor:
        return x / 2 + x.detach() / 2 if self.modified else x

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x.view(-1, 4, 3))
        q, k, v = (part.view(-1, 4, 2, 3).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, dim=2))
        weights = ((self.halved(q) @ self.halved(k).transpose(2, 3)) / 3**0.5).softmax(-1)
        mixed = (self.halved(weights) @ self.halved(v)).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        hidden = self.up(self.norm(x))
        x = x + self.down(self.passed(hidden, F.gelu(hidden)))
        return self.head(self.norm(x).mean(1))


def test_attention_is_the_input_times_a_modified_gradient() -> None:
    model, x = _tabular(_Attentive(), 12), _uniform(5, 12)
    found = _lrp(model, x, 1, rule="epsilon", epsilon=1e-12)
    modified = _Attentive(modified=True).double()
    point = x.clone().requires_grad_()
    # With epsilon gone, each of these rules is a gradient times the value before it.
    (gradient,) = torch.autograd.grad(modified(point)[:, 1].sum(), point)
    torch.testing.assert_close(found.values, x * gradient, rtol=1e-5, atol=1e-7)


class _Unbiased(nn.Module):
    """Attention, or a constant token, or neither, and no bias anywhere."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.enter, self.head = nn.Linear(3, 6, bias=False), nn.Linear(6, 3, bias=False)
        self.kind, self.token = kind, nn.Parameter(torch.randn(1, 1, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x.view(-1, 4, 3))
        if self.kind == "attention":
            x = x + (x @ x.transpose(1, 2)).softmax(-1) @ x
        if self.kind == "token":
            x = torch.cat([self.token.expand(len(x), 1, 6), x], dim=1)
        if self.kind == "floor":
            x = torch.maximum(x, self.token)
        if self.kind == "zeros":
            x = F.pad(torch.cat([0 * self.token.expand(len(x), 1, 6), x], dim=1), (0, 0, 1, 1))
        return self.head(x.relu().mean(1))


@pytest.mark.parametrize(
    ("kind", "takers"),
    [("", None), ("zeros", None), ("attention", "attention"), ("token", "biases"), ("floor", "biases")],
)
def test_only_what_takes_relevance_is_said_to(kind: str, takers: str | None) -> None:
    found = _lrp(_tabular(_Unbiased(kind), 12), _uniform(5, 12), 1, rule="epsilon")
    if takers is None:
        assert found.completeness_gap is not None
        assert float(found.completeness_gap.max()) < 1e-5
        assert (found.trust.kept, found.trust.notes) == (None, ())
    else:
        assert found.completeness_gap is None
        assert found.trust.kept is not None
        assert float((found.trust.kept - 1).abs().max()) > 0.01
        assert found.trust.notes[0].endswith(f"times the logit, the rest goes to {takers}")


def test_what_reaches_units_without_positive_products_is_lost_to_epsilon() -> None:
    first, last = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
        last.weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 1.0]]))
    model = _tabular(nn.Sequential(first, nn.Tanh(), last), 2)
    # Of the first logit, tanh 1 + tanh 2, the second half reaches a unit whose only product is negative.
    found = _lrp(model, torch.tensor([[1.0, 2.0]], dtype=torch.float64), 0, rule="z_plus")
    halves = torch.tensor([1.0, 2.0]).tanh()
    torch.testing.assert_close(found.values[0].float(), torch.tensor([float(halves[0]), 0.0]))
    assert found.trust.kept is not None
    torch.testing.assert_close(found.trust.kept, halves[:1] / halves.sum())
    assert found.trust.notes == ("values add up to 0.44 times the logit, the rest goes to epsilon",)
    assert _lrp(model, torch.tensor([[1.0, 2.0]], dtype=torch.float64), 0, rule="epsilon").trust.notes == ()


def test_composite_steadies_dense_layers_of_attentive_nets_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    x = _uniform(3, 12)
    plain, attentive = _tabular(_Unbiased(""), 12), _tabular(_Attentive(), 12)
    assert torch.equal(_lrp(plain, x, 1).values, _lrp(plain, x, 1, rule="epsilon").values)
    gamma = _lrp(attentive, x, 1, rule="gamma", gamma=1.0).values
    steadied = _lrp(attentive, x, 1).values
    assert 1e-3 < float((steadied - gamma).norm() / gamma.norm()) < 0.3
    monkeypatch.setattr("xaibench.explainers.relevance.lrp._ATTENTIVE_EPSILON", 0.0)
    assert torch.equal(_lrp(attentive, x, 1).values, gamma)


def test_a_relative_epsilon_is_one_of_the_root_mean_square_along_the_last_axis() -> None:
    found = Epsilon(absolute=0.1, relative=0.5).stable(torch.tensor([[3.0, -4.0], [0.0, -2.0]]))
    rows = [0.1 + 0.5 * 12.5**0.5, 0.1 + 0.5 * 2**0.5]
    torch.testing.assert_close(found, torch.tensor([[3 + rows[0], -4 - rows[0]], [rows[1], -2 - rows[1]]]))


@pytest.mark.parametrize("name", ["mnist-vit", "imdb-transformer"])
def test_transformers_get_steady_values_of_the_size_of_the_logit(name: str) -> None:
    from xaibench import load_data, load_model

    model = load_model(name)
    assert model.card is not None
    inputs: Any = load_data(model.card.data.name, n=8).inputs
    found = explain(model, inputs, method="lrp")
    assert found.trust.kept is not None
    assert found.trust.stability is not None
    assert 0.1 < float(found.trust.kept.min()) <= float(found.trust.kept.max()) < 2
    assert float(found.trust.stability.median()) > 0.8
    note = "times the logit, the rest goes to biases and attention"
    assert found.trust.notes[0].endswith(note)


def test_gates_leave_everything_to_the_signal() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(2, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            signal, gate, other = x.chunk(3, dim=1)
            return self.head(signal * torch.sigmoid(gate) + other * (1 - torch.sigmoid(gate)) + signal * other)

    model, x = _tabular(Gated(), 6), _uniform(4, 6)
    found = _lrp(model, x, 0, rule="epsilon").values
    assert not found[:, 2:4].any()
    gate, weight = torch.sigmoid(x[:, 2:4]), model.module.get_submodule("head").weight[0].detach()  # type: ignore[union-attr, index]
    product = weight * x[:, :2] * x[:, 4:] / 2
    torch.testing.assert_close(found[:, :2], weight * x[:, :2] * gate + product, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(found[:, 4:], weight * x[:, 4:] * (1 - gate) + product, rtol=1e-5, atol=1e-7)


class _Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.pool = nn.Conv2d(2, 6, 3), nn.ReLU(), nn.MaxPool2d(2)
        self.dense, self.again, self.head = nn.Linear(54, 24), nn.ReLU(), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.again(self.dense(self.pool(self.act(self.conv(x))).flatten(1))))


def test_captum_agrees() -> None:
    from captum.attr import LRP
    from captum.attr._utils.lrp_rules import EpsilonRule

    torch.manual_seed(0)
    module = _Pooled().double()
    model = TorchClassifier(module, input_shape=(2, 8, 8))
    x = torch.rand(5, 2, 8, 8, dtype=torch.float64)
    target = torch.tensor([0, 1, 2, 3, 0])
    found = _lrp(model, x, target, rule="epsilon").values
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.rule = EpsilonRule(1e-9)  # type: ignore[assignment]
    reference = LRP(module.eval()).attribute(x.clone().requires_grad_(), target=target)
    torch.testing.assert_close(found, reference.detach(), rtol=1e-5, atol=1e-7)


def test_recurrent_nets_and_transformers_on_texts() -> None:
    torch.manual_seed(0)
    for spec in ("gru", "text_transformer"):
        options = {"input_shape": (6,), "classes": 3, "vocabulary": 20, "dim": 8}
        network: Any = architectures.create(Spec(spec, options))
        model = TorchClassifier(network.build().double(), task="text", input_shape=(6,))
        tokens = torch.tensor([[3, 4, 5, 6, 7, 8], [3, 4, 5, 0, 0, 0]])
        found = _lrp(model, tokens, rule="epsilon").values
        assert bool(found.isfinite().all())
        assert not found[1, 3:].any() or spec == "gru"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"epsilon": 0.0}, "expected `epsilon` > 0, got 0.0"),
        ({"gamma": -1.0}, "expected `gamma` >= 0, got -1.0"),
        ({"rule": "gamma", "box": True}, "expected `box` with rule 'composite' alone, got rule 'gamma'"),
        ({"rule": "alpha"}, "expected `rule` of explainer lrp as 'epsilon' or"),
    ],
)
def test_bad_parameters_are_one_clear_line(params: dict[str, Any], message: str) -> None:
    model = torch_cnn()
    with pytest.raises(InputError, match=message):
        explain(model, inputs_for(model, 2), method="lrp", **params)


def test_what_has_no_rule_is_refused_by_name() -> None:
    module = nn.Sequential(nn.Linear(5, 4), nn.LogSoftmax(dim=1), nn.Linear(4, 2))
    with pytest.raises(UnsupportedError, match=r"^lrp: no rule is known for the operation '_log_softmax' of layer '1'"):
        _lrp(_tabular(module, 5), _uniform(2, 5))


class _Turned(nn.Module):
    """The linear layers of a network as products with the input on either side."""

    def __init__(self, plain: nn.Sequential) -> None:
        super().__init__()
        self.first: Any = plain[0]
        self.last: Any = plain[2]

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(torch.matmul(self.first.weight, x[:, :, None]).squeeze(2) + self.first.bias)
        return torch.addmm(self.last.bias, hidden, self.last.weight.T)


@pytest.mark.parametrize("rule", ["epsilon", "gamma", "z_plus"])
def test_products_with_the_input_on_either_side_are_layers(rule: str) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    x = torch.rand(3, 4)
    expected, found = (
        explain(TorchClassifier(module, task="tabular", input_shape=(4,)), x, 1, method="lrp", rule=rule, trust="quick")
        for module in (plain, _Turned(plain))
    )
    assert float(expected.values.abs().max()) > 1e-2
    torch.testing.assert_close(found.values, expected.values, rtol=1e-4, atol=1e-6)
    assert found.trust.uncovered == expected.trust.uncovered == ()


@pytest.mark.parametrize("method", ["lrp", "deep_lift"])
def test_memory_format_changes_nothing(method: str) -> None:
    """Pooling to one place gives other strides where channels lie last in memory."""
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    last = copy.deepcopy(layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    expected, found = (
        explain(TorchClassifier(module, input_shape=(3, 6, 6)), x, method=method).values for module in (layers, last)
    )
    torch.testing.assert_close(found, expected)
