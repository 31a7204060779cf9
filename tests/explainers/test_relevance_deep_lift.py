"""DeepLIFT is complete on every network, agrees with closed forms, and with Captum where that is right."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_models import inputs_for, keras_cnn, table_mlp, torch_cnn
from torch import Tensor, nn

from xaibench.architectures import architectures
from xaibench.classifiers import ExportedClassifier, KerasClassifier, TorchClassifier
from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers import Attribution, explain
from xaibench.registry import Spec
from xaibench.types import Bounds, Classifier

IMAGE, WORDS = {"input_shape": (2, 8, 8), "classes": 3}, {"input_shape": (6,), "classes": 3, "vocabulary": 20}
SHIPPED: dict[str, dict[str, Any]] = {
    "small_cnn": IMAGE,
    "strided_cnn": IMAGE,
    "deep_cnn": {"input_shape": (2, 16, 16), "classes": 3, "widths": (4, 5), "hidden": 6},
    "lenet": {"input_shape": (2, 16, 16), "classes": 3},
    "resnet": {**IMAGE, "widths": (4, 8)},
    "vit": {**IMAGE, "dim": 8, "depth": 2, "heads": 2},
    "mlp": {"input_shape": (7,), "classes": 3},
    "gru": {**WORDS, "dim": 5, "hidden": 4, "bidirectional": True},
    "text_transformer": {**WORDS, "dim": 8, "heads": 2},
    "keras_mlp": {**IMAGE, "hidden": (9,)},
    "keras_cnn": {"input_shape": (2, 16, 16), "classes": 3, "widths": (4, 5)},
    "keras_autoencoder": {**IMAGE, "hidden": (9,), "code": 4},
    "keras_text_cnn": {**WORDS, "classes": 2, "dim": 5, "width": 4, "kernel": 2, "pool": 2},
    "keras_lstm": {**WORDS, "classes": 2, "dim": 5, "hidden": 4},
}


def _built(name: str) -> Classifier:
    import keras

    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    architecture: Any = architectures.create(Spec(name, SHIPPED[name]))
    task = {6: "text", 7: "tabular"}.get(architecture.input_shape[0], "image")
    options: dict[str, Any] = {"task": task, "input_shape": architecture.input_shape}
    if architecture.framework == "keras":
        return KerasClassifier(architecture.build(), **options)
    module = architecture.build()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -1, 1)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.uniform_(part.weight, -1, 1)
            nn.init.uniform_(part.bias, -1, 1)
    return TorchClassifier(module, **options)


def _two(model: Classifier, n: int = 5) -> tuple[Tensor, Tensor]:
    """Inputs, and baselines that are as random."""
    shape = tuple(map(int, model.input_shape or ()))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    if model.task == "text":
        x = torch.randint(0, 20, (2 * n, *shape), generator=generator)
        return x[:n], x[n:]
    both = torch.rand(2 * n, *shape, generator=generator)
    return both[:n], both[n:]


def _lift(model: Classifier, x: Tensor, baseline: Tensor, **more: Any) -> Attribution:
    return explain(model, x, method="deep_lift", baseline=baseline, trust="quick", **more)


def _gap(found: Attribution) -> float:
    assert found.completeness_gap is not None
    return float(found.completeness_gap.max())


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_complete_on_every_shipped_architecture(name: str) -> None:
    assert set(SHIPPED) == set(architectures.names()) - {"timm", "transformers"}
    model = _built(name)
    x, baseline = _two(model)
    found = _lift(model, x, baseline)
    assert _gap(found) < 1e-3
    assert found.trust.uncovered == ()
    if isinstance(model, TorchClassifier):
        assert _gap(_lift(model.double(), x if model.task == "text" else x.double(), baseline)) < 1e-6


class _Functional(nn.Module):
    """A network of features whose middle is any function."""

    def __init__(self, middle: Any, width: int = 12) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(7, 12), middle, nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self.first(x)).flatten(1))


def _attention(x: Tensor) -> Tensor:
    q = x.view(len(x), 4, 3)
    return F.scaled_dot_product_attention(q, 2 * q, q.flip(1))


def _windows(x: Tensor) -> Tensor:
    return F.max_pool2d(x.view(len(x), 1, 3, 4), 2, stride=1, padding=1)


class _Reusing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.act(x) - 0.3)


class _Viewed(nn.Module):
    """A layer that takes features as (4, 3)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        found = self.layer(x.view(-1, 4, 3))
        return found[0] if isinstance(found, tuple) else found


JUMPS = {"by condition", "by comparison"}
MIDDLES: dict[str, tuple[Any, int]] = {
    "functional ReLU": (F.relu, 12),
    "reused ReLU": (_Reusing(), 12),
    "GELU": (F.gelu, 12),
    "SiLU": (F.silu, 12),
    "mish": (F.mish, 12),
    "hard swish": (F.hardswish, 12),
    "ELU": (F.elu, 12),
    "PReLU": (nn.PReLU(12), 12),
    "ReLU6": (lambda x: F.relu6(20 * x), 12),
    "soft plus": (F.softplus, 12),
    "clamp": (lambda x: x.clamp(-0.2, 0.3), 12),
    "by condition": (lambda x: torch.where(x > 0.1, x, -2 * x.flip(1)), 12),
    "by comparison": (lambda x: torch.where(x <= x.flip(1), x.sin(), x.new_zeros(())), 12),
    "square": (lambda x: x**2, 12),
    "square root": (lambda x: (x.abs() + 0.1).sqrt() + (x.exp() + 1).log(), 12),
    "residual": (lambda x: x + F.relu(x), 12),
    "product": (lambda x: x * torch.tanh(x.flip(1)), 12),
    "quotient": (lambda x: x / (1 + x.flip(1) ** 2), 12),
    "reciprocal": (lambda x: 1 / (1 + x**2), 12),
    "gated": (lambda x: F.glu(x, dim=1), 6),
    "maximum": (lambda x: torch.maximum(x, x.flip(1)) - torch.minimum(x, 0.1 * x.flip(1)), 12),
    "largest": (lambda x: x.view(-1, 4, 3).amax(dim=1), 3),
    "largest of all": (lambda x: torch.cat([x.view(-1, 4, 3).max(dim=2)[0], x.amax((1,), keepdim=True)], 1), 5),
    "overlapping windows": (_windows, 20),
    "softmax": (lambda x: (3 * x).softmax(1), 12),
    "log softmax": (lambda x: x.log_softmax(1), 12),
    "log sum exp": (lambda x: x.view(-1, 4, 3).logsumexp(2), 4),
    "layer norm": (nn.LayerNorm(12), 12),
    "group norm": (_Viewed(nn.GroupNorm(2, 4)), 12),
    "instance norm": (lambda x: F.instance_norm(x.view(-1, 2, 6)), 12),
    "RMS norm": (lambda x: F.rms_norm(x, (12,)), 12),
    "length one": (lambda x: F.normalize(x, dim=1), 12),
    "attention": (_attention, 12),
    "LSTM": (_Viewed(nn.LSTM(3, 2, batch_first=True)), 8),
    "interpolated": (lambda x: F.interpolate(F.relu(x).view(-1, 1, 3, 4), scale_factor=2, mode="bilinear"), 48),
}


@pytest.mark.parametrize("name", MIDDLES)
def test_every_operation_is_complete(name: str) -> None:
    torch.manual_seed(3)
    middle, width = MIDDLES[name]
    model = TorchClassifier(_Functional(middle, width), task="tabular", bounds=(-5.0, 5.0), input_shape=(7,)).double()
    x = 2 * torch.randn(6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = _lift(model, x, x.roll(1, 0))
    assert _gap(found) < 1e-6
    assert found.trust.uncovered == ()


@pytest.mark.parametrize("name", sorted(set(MIDDLES) - JUMPS))
def test_beside_the_input_the_multiplier_is_the_gradient(name: str) -> None:
    torch.manual_seed(3)
    middle, width = MIDDLES[name]
    model = TorchClassifier(_Functional(middle, width), task="tabular", bounds=(-5.0, 5.0), input_shape=(7,)).double()
    x = 2 * torch.randn(6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    step = 1e-5 * torch.randn(7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradient = -model.loss_gradient(x, model.predict(x), "logit").gradient
    torch.testing.assert_close(
        _lift(model, x, x - step).values.double() / step, gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max())
    )


def _tabular(module: nn.Module, features: int) -> Classifier:
    return TorchClassifier(module.double(), task="tabular", bounds=(-9.0, 9.0), input_shape=(features,))


class _Same(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.one = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.one * self.function(x)
        return torch.cat([y, -y], dim=1)


def test_a_product_is_shared_by_the_means_of_the_other_factor() -> None:
    model = _tabular(_Same(lambda x: x[:, :1] * x[:, 1:]), 2)
    found = _lift(model, torch.tensor([[3.0, 5.0]]), torch.tensor([[1.0, -2.0]]), targets=0)
    # 17 is what it changes by: 2 times the mean of 5 and -2, and 7 times the mean of 3 and 1.
    assert found.values.tolist() == [[pytest.approx(3.0), pytest.approx(14.0)]]


@pytest.mark.parametrize(
    ("x", "baseline", "expected"),
    [
        ([4.0, 1.0, 0.0], [2.0, 3.0, 0.0], [1.0, 0.0, 0.0]),  # up from 3 to 4: the largest now
        ([2.0, 1.0, 0.0], [0.0, 5.0, 0.0], [0.0, -3.0, 0.0]),  # down from 5 to 2: the largest before
        ([2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]),
    ],
)
def test_a_maximum_goes_to_the_place_that_moved_it(
    x: list[float], baseline: list[float], expected: list[float]
) -> None:
    for function in (lambda x: F.max_pool1d(x[:, None], 3)[:, 0], lambda x: x.amax(1, keepdim=True)):
        found = _lift(_tabular(_Same(function), 3), torch.tensor([x]), torch.tensor([baseline]), targets=0)
        assert found.values.tolist() == [pytest.approx(expected)]


def test_softmax_of_two_is_the_sigmoid_of_their_difference() -> None:
    x, baseline = torch.tensor([[2.0, -1.0]]), torch.tensor([[-0.5, 0.3]])
    softmax = _lift(_tabular(_Same(lambda x: x.softmax(1)[:, :1]), 2), x, baseline, targets=0).values
    sigmoid = _lift(_tabular(_Same(lambda x: torch.sigmoid(x[:, :1] - x[:, 1:])), 2), x, baseline, targets=0).values
    multiplier = (1 / (1 + math.exp(-3.0)) - 1 / (1 + math.exp(0.8))) / 3.8
    torch.testing.assert_close(softmax, sigmoid)
    assert softmax.tolist() == [[pytest.approx(2.5 * multiplier), pytest.approx(1.3 * multiplier)]]


def test_the_rescale_rule_by_hand_on_two_layers() -> None:
    torch.manual_seed(0)
    first, last = nn.Linear(4, 5).double(), nn.Linear(5, 2).double()
    model = TorchClassifier(nn.Sequential(first, nn.ReLU(), last), task="tabular", input_shape=(4,))
    x, baseline = torch.rand(3, 4, dtype=torch.float64), torch.rand(3, 4, dtype=torch.float64)
    expected = torch.zeros(3, 4, dtype=torch.float64)
    target = model.predict(x)
    for n in range(3):
        for k in range(5):
            before = float((first.weight[k] @ baseline[n] + first.bias[k]).detach())
            after = float((first.weight[k] @ x[n] + first.bias[k]).detach())
            multiplier = (max(after, 0) - max(before, 0)) / (after - before)
            slope = float(last.weight[target[n], k].detach()) * multiplier
            expected[n] += slope * first.weight[k].detach() * (x[n] - baseline[n])
    torch.testing.assert_close(_lift(model, x, baseline).values, expected)


class _Reused(nn.Module):
    def __init__(self, once: bool) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(7, 9), nn.Linear(9, 9), nn.Linear(9, 3)
        self.act, self.other = nn.ReLU(), nn.ReLU() if once else None

    def forward(self, x: Tensor) -> Tensor:
        return self.c((self.other or self.act)(self.b(self.act(self.a(x)))))


def _captum(module: nn.Module, x: Tensor, baseline: Tensor, target: Tensor) -> Tensor:
    from captum.attr import DeepLift

    found: Tensor = DeepLift(module).attribute(x, baseline, target=target)
    return found.detach()


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks", "ignore:Input Tensor")
def test_captum_agrees_where_it_is_right_and_misses_elsewhere() -> None:
    torch.manual_seed(1)
    conv = (nn.Conv2d(2, 4, 3), nn.ReLU())
    dense = (nn.Flatten(), nn.Linear(144, 12), nn.Tanh(), nn.Linear(12, 3))
    pooled = (nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))
    images, tables = {"input_shape": (2, 8, 8)}, {"task": "tabular", "input_shape": (7,)}
    cases: list[tuple[nn.Module, dict[str, Any], bool]] = [
        (nn.Sequential(*conv, *dense), images, True),
        (_Reused(once=True), tables, True),
        (nn.Sequential(*conv, *pooled), images, False),
        (_Functional(F.relu), tables, False),
        (_Functional(nn.LayerNorm(12)), tables, False),
        (_Functional(F.gelu), tables, False),
    ]
    for module, options, right in cases:
        model = TorchClassifier(module.double(), **options)
        x, baseline = (part.double() for part in _two(model))
        found = _lift(model, x, baseline)
        reference = _captum(module.eval(), x, baseline, found.target)
        logits = model.logits(torch.cat([x, baseline])).gather(1, found.target.repeat(2)[:, None])[:, 0]
        missed = (reference.flatten(1).sum(1) - (logits[:5] - logits[5:])).abs().max()
        assert _gap(found) < 1e-6
        assert (float(missed) < 1e-9) == right
        assert torch.allclose(found.values, reference, atol=1e-9) == right
    with pytest.raises(RuntimeError, match="being used more than once"):
        _captum(_Reused(once=False).double(), *(torch.rand(2, 7).double(),) * 2, torch.zeros(2, dtype=torch.long))


def test_keras_agrees_with_torch_on_the_same_weights() -> None:
    model = keras_cnn()
    x, baseline = _two(model)
    assert isinstance(model, KerasClassifier)
    conv, dense = (model.model.layers[place].get_weights() for place in (0, -1))
    first, head = nn.Conv2d(2, 6, 3), nn.Linear(216, 4)
    assert first.bias is not None
    with torch.no_grad():
        first.weight.copy_(torch.from_numpy(conv[0]).permute(3, 2, 0, 1))
        first.bias.copy_(torch.from_numpy(conv[1]))
        head.weight.copy_(torch.from_numpy(dense[0]).view(6, 6, 6, 4).permute(3, 2, 0, 1).reshape(4, 216))
        head.bias.copy_(torch.from_numpy(dense[1]))
    twin = TorchClassifier(nn.Sequential(first, nn.ReLU(), nn.Flatten(), head), input_shape=(2, 8, 8))
    torch.testing.assert_close(
        _lift(model, x, baseline, targets=1).values, _lift(twin, x, baseline, targets=1).values, rtol=1e-4, atol=1e-6
    )


def test_new_weights_are_seen() -> None:
    model = table_mlp()
    assert isinstance(model, TorchClassifier)
    x = inputs_for(model, 4)
    before = explain(model, x, 0, method="deep_lift", trust="quick").values
    head = model.module.get_submodule("2")
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.mul_(2)
    torch.testing.assert_close(explain(model, x, 0, method="deep_lift", trust="quick").values, 2 * before)
    head.weight = nn.Parameter(head.weight.detach() * 3)
    torch.testing.assert_close(explain(model, x, 0, method="deep_lift", trust="quick").values, 6 * before)
    keras_model = keras_cnn()
    assert isinstance(keras_model, KerasClassifier)
    x = inputs_for(keras_model, 4)
    before = explain(keras_model, x, 0, method="deep_lift", trust="quick").values
    dense = keras_model.model.layers[-1]
    dense.kernel.assign(2 * dense.kernel)
    torch.testing.assert_close(
        explain(keras_model, x, 0, method="deep_lift", trust="quick").values, 2 * before, rtol=1e-4, atol=1e-6
    )


def test_exported_programs_of_one_size_take_any() -> None:
    model = torch_cnn()
    assert isinstance(model, TorchClassifier)
    x, baseline = _two(model)
    program = torch.export.export(model.module.eval(), (torch.rand(3, 2, 8, 8),))
    exported = ExportedClassifier(program, mean=0.4, std=0.2)
    torch.testing.assert_close(
        _lift(exported, x, baseline).values, _lift(model, x, baseline).values, rtol=1e-4, atol=1e-6
    )


class _SizedByBatch(nn.Module):
    """Runs samples one by one, so that a graph of it holds for one size alone."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.tanh(self.head(row)) for row in x[: min(len(x), 64)]])


def test_models_that_are_traced_for_one_size_alone_are_explained() -> None:
    model = TorchClassifier(_SizedByBatch(), task="tabular", input_shape=(7,))
    x, baseline = _two(model)
    assert _gap(_lift(model, x, baseline)) < 1e-4
    assert _gap(_lift(model, x[:2], baseline[:2])) < 1e-4


def test_a_decision_that_differs_is_reported() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(7, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.where((x > 0.5).any(dim=1, keepdim=True), self.head(x), -self.head(x))

    model = TorchClassifier(Branching(), task="tabular", input_shape=(7,))
    x = 0.4 * torch.rand(2, 7)
    x[:, 0] = 0.9
    other = x.clone()
    other[:, 0] = 0.1
    assert _lift(model, x, other).trust.uncovered == ("the operation 'where'",)
    found = _lift(model, x, 0.6 + 0.2 * torch.rand(2, 7, generator=torch.Generator().manual_seed(0)))
    assert found.trust.uncovered == ()
    assert _gap(found) < 1e-4


def test_what_has_no_rule_or_no_graph_is_refused_by_name() -> None:
    class Sorting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sort(dim=1)[0]

    model = TorchClassifier(nn.Sequential(nn.Linear(7, 3), Sorting()), task="tabular", input_shape=(7,))
    with pytest.raises(UnsupportedError, match=r"^deep_lift: no rule is known for the operation 'sort' of layer '1'"):
        explain(model, torch.rand(2, 7), method="deep_lift")

    class Graphless:
        def __getattr__(self, name: str) -> Any:
            if name == "export":
                raise AttributeError(name)
            return "savedmodel" if name == "framework" else getattr(hidden, name)

    hidden = table_mlp()
    with pytest.raises(UnsupportedError, match=r"^deep_lift: .* a model of savedmodel has none to read"):
        explain(Graphless(), inputs_for(hidden, 2), method="deep_lift")  # type: ignore[arg-type]


def test_a_model_that_hides_its_logits_is_refused() -> None:
    class Probabilities(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(7, 3)

        def forward(self, x: Tensor) -> Tensor:
            p = self.head(x).exp()
            return p / p.sum(1, keepdim=True)

    model = TorchClassifier(Probabilities(), task="tabular", bounds=Bounds(-1, 1), input_shape=(7,))
    with pytest.raises(InputError, match="deep_lift needs logits of the model"):
        explain(model, torch.rand(2, 7), method="deep_lift")
