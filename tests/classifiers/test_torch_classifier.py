"""Torch modules of every kind behind the seam, and that they come out of it as they went in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xaibench import InputError, TorchClassifier, UnsupportedError
from xaibench.types import Capability


def dense(*last: nn.Module, classes: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, classes), *last)


class Functional(nn.Module):
    """Squashes its outputs in ``forward``, where no module shows it."""

    def __init__(self, end: Callable[[Tensor], Tensor], classes: int = 3) -> None:
        super().__init__()
        self.body = dense(classes=classes)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.body(x))


X = torch.rand(6, 4, generator=torch.Generator().manual_seed(1))


def table(module: nn.Module, **options: Any) -> TorchClassifier:
    return TorchClassifier(module, task="tabular", **options)


@pytest.mark.parametrize(
    "end",
    [
        nn.Softmax(dim=1),
        nn.LogSoftmax(dim=-1),
        lambda z: F.softmax(z, dim=1),
        lambda z: z.softmax(-1),
        lambda z: torch.softmax(z, 1),
        lambda z: {"features": z * 2, "logits": z},
        lambda z: (z, None),
    ],
)
def test_logits_are_recovered_exactly(end: Any) -> None:
    model = table(Functional(end))
    assert torch.equal(model.logits(X), model.module.get_submodule("body")(X))
    assert Capability.LOGITS in model.capabilities


@pytest.mark.parametrize("end", [nn.Sigmoid(), torch.sigmoid, lambda z: torch.sigmoid(z).squeeze(1), lambda z: z[:, 0]])
def test_one_unit_becomes_two_logits(end: Any) -> None:
    model = table(Functional(end, classes=1))
    z = model.module.get_submodule("body")(X)
    assert torch.equal(model.logits(X), torch.cat([-z / 2, z / 2], dim=1))
    torch.testing.assert_close(model.logits(X).softmax(1)[:, 1:], torch.sigmoid(z))
    slopes = [model.loss_gradient(X, torch.full((len(X),), k), "logit").gradient for k in (0, 1)]
    assert torch.equal(slopes[0], -slopes[1])
    assert bool((slopes[0] != 0).any())
    assert model.class_names == ("0", "1")


def test_hidden_softmax_leaves_log_probabilities_and_says_so() -> None:
    model = table(Functional(lambda z: z.exp() / z.exp().sum(1, keepdim=True)))
    probabilities = model.module(X)
    torch.testing.assert_close(model.logits(X), probabilities.log())
    assert Capability.LOGITS not in model.capabilities
    assert "saturate" in model.limits[Capability.LOGITS]


def test_hidden_sigmoid_must_be_declared() -> None:
    module = Functional(lambda z: 1 / (1 + (-z).exp()), classes=1)
    with pytest.raises(InputError, match="expected `outputs` as 'logits' or 'probabilities'"):
        table(module).logits(X)
    z = module.body(X)
    declared = table(module, outputs="probabilities").logits(X)
    torch.testing.assert_close(declared[:, 1] - declared[:, 0], z[:, 0])


def test_gradients_equal_central_differences_in_float64() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(27, 4), nn.Softmax(1)
    ).double()
    model = TorchClassifier(module, mean=(0.3, 0.6), std=(0.5, 0.7))
    x = torch.rand(2, 2, 4, 4, dtype=torch.float64)
    y = torch.tensor([1, 3])
    gradient = model.loss_gradient(x, y, "ce").gradient
    step = 1e-6
    for index in torch.randperm(x.numel())[:20].tolist():
        shift = torch.zeros(x.numel(), dtype=x.dtype)
        shift[index] = step
        up, down = (model.loss_gradient(x + sign * shift.reshape(x.shape), y).loss.sum() for sign in (1, -1))
        assert gradient.flatten()[index].item() == pytest.approx(((up - down) / (2 * step)).item(), rel=1e-6, abs=1e-9)
    assert torch.autograd.gradcheck(model.logits, x.clone().requires_grad_())


def test_normalisation_is_part_of_the_model() -> None:
    module = dense()
    model = table(module, mean=(1.0, 2.0, 3.0, 4.0), std=2.0)
    mean = torch.tensor([1.0, 2.0, 3.0, 4.0])
    torch.testing.assert_close(model.logits(X), module((X - mean) / 2))


def _everything(model: TorchClassifier, x: Tensor, layer: str) -> None:
    y = torch.zeros(len(x), dtype=torch.int64)
    model.predict(x)
    model.loss_gradient(x, y, "dlr")
    model.activations(x, layer)
    model.activation_gradient(x, layer, y)
    model.logits_from(x, layer, model.activations(x, layer))


def _state(module: nn.Module) -> list[object]:
    hooks = [(len(part._forward_hooks), len(part._forward_pre_hooks), part.training) for part in module.modules()]
    return [
        hooks,
        [(name, value.requires_grad, value.grad, value._version) for name, value in module.named_parameters()],
        [(name, value.tolist()) for name, value in module.named_buffers()],
        torch.backends.mha.get_fastpath_enabled(),
    ]


def test_module_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.ReLU(inplace=True), nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(72, 3)
    )
    module[1].eval()
    module[5].bias.requires_grad_(False)
    model = TorchClassifier(module)
    x = torch.rand(3, 1, 8, 8) - 0.5
    before, digest, copy = _state(module), model.digest, x.clone()
    _everything(model, x, "1")
    assert _state(module) == before
    assert model.digest == digest
    assert torch.equal(x, copy), "inputs are never written to, in-place layers or not"


def test_module_is_left_as_it_was_after_an_error() -> None:
    class Fragile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = dense()
            self.broken = False

        def forward(self, x: Tensor) -> Tensor:
            y = self.body(x)
            if self.broken:
                raise RuntimeError("broken")
            return y

    module = Fragile()
    model = table(module)
    model.predict(X)
    before = _state(module)
    module.broken = True
    y = torch.zeros(6, dtype=torch.int64)
    for call in (
        lambda: model.logits(X),
        lambda: model.loss_gradient(X, y),
        lambda: model.activations(X, "body.1"),
        lambda: model.activation_gradient(X, "body.1", y),
    ):
        with pytest.raises(InputError, match="RuntimeError: broken"):
            call()
    assert _state(module) == before
    module.broken = False
    with pytest.raises(ZeroDivisionError):
        model.loss_gradient(X, y, lambda z, y: z[:, 0] * (1 // 0))
    with pytest.raises(KeyError), model.analysis() as inside:
        _ = {}[inside.training]
    assert _state(module) == before


def test_evaluation_mode_and_frozen_parameters_during_analysis() -> None:
    seen = []

    class Watching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            seen.append((self.training, self.inner.training, self.inner.weight.requires_grad))
            return self.inner(x)

    _everything(table(Watching().train()), X, "inner")
    assert set(seen) == {(False, False, False)}


def test_reused_layers_are_refused() -> None:
    relu = nn.ReLU()
    model = table(nn.Sequential(nn.Linear(4, 4), relu, nn.Linear(4, 3), relu))
    with pytest.raises(UnsupportedError, match="layer '1' runs 2 times in one pass: expected once"):
        model.activations(X, "1")


def test_activations_are_those_before_later_in_place_layers() -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))
    model = table(module)
    torch.testing.assert_close(model.activations(X, "0"), module[0](X))
    gradient = model.activation_gradient(X, "0", torch.ones(6, dtype=torch.int64)).gradient
    torch.testing.assert_close(gradient, (module[0](X) > 0) * module[2].weight[1])


def test_recurrent_layers_show_their_states() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(11, 4)
            self.gru = nn.GRU(4, 5, batch_first=True)
            self.head = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.gru(self.words(x))[0][:, -1])

    model = TorchClassifier(Recurrent().train(), task="text")
    x = torch.randint(0, 11, (3, 6))
    states = model.activations(x, "gru")
    assert states.shape == (3, 6, 5)
    gradient = model.activation_gradient(x, "gru", torch.zeros(3, dtype=torch.int64)).gradient
    assert (gradient[:, :-1] == 0).all()
    torch.testing.assert_close(gradient[:, -1], model.module.get_submodule("head").weight[0].expand(3, 5))  # type: ignore[index,operator]


@pytest.mark.parametrize("padded", [False, True])
def test_encoder_layers_show_attention_that_they_would_not_form(padded: bool) -> None:
    torch.manual_seed(0)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(11, 8)
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2)
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            mask = (x == 0) if padded else None
            return self.head(self.encoder(self.words(x), src_key_padding_mask=mask)[:, 0])

    module = Encoder()
    model = TorchClassifier(module, task="text")
    x = torch.randint(1, 11, (2, 5))
    x[1, 3:] = 0
    weights = model.attention(x)
    assert list(weights) == ["encoder.layers.0.self_attn", "encoder.layers.1.self_attn"]
    torch.testing.assert_close(weights["encoder.layers.0.self_attn"].sum(-1), torch.ones(2, 2, 5))
    assert (weights["encoder.layers.0.self_attn"][1, :, :, 3:] == 0).all() == padded
    torch.testing.assert_close(model.logits(x), module.eval()(x), rtol=1e-4, atol=1e-5)


def test_modules_may_offer_attention_themselves() -> None:
    class Own(nn.Module):
        def attention_weights(self, x: Tensor) -> Tensor:
            return (x @ x.transpose(1, 2)).softmax(-1).unsqueeze(1)

        def forward(self, x: Tensor) -> Tensor:
            return self.attention_weights(x)[:, 0] @ x

    model = TorchClassifier(nn.Sequential(nn.Flatten(1, 2), Own(), nn.Flatten(), nn.Linear(12, 3)))
    x = torch.rand(2, 1, 4, 3)
    ((name, weights),) = model.attention(x).items()
    assert name == "1"
    torch.testing.assert_close(weights, (x[:, 0] @ x[:, 0].transpose(1, 2)).softmax(-1).unsqueeze(1))


def test_callers_that_use_averaged_attention_still_get_it() -> None:
    class Averaging(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            _, weights = self.mix(x[:, None], x[:, None], x[:, None])
            assert weights.shape == (len(x), 1, 1)
            return x[:, :3] * weights[:, 0]

    (weights,) = table(Averaging()).attention(X).values()
    assert weights.shape == (6, 2, 1, 1)


def test_randomness_in_evaluation_mode_is_noticed() -> None:
    model = table(Functional(lambda z: z + F.dropout(torch.ones_like(z), training=True)))
    assert Capability.DETERMINISTIC not in model.capabilities


def test_threads_may_share_a_model() -> None:
    model = table(dense(nn.Dropout(0.5)).train())
    expected = model.logits(X)
    wrong: list[int] = []

    def work(turn: int) -> None:
        for _ in range(30):
            if turn % 2:
                model.activations(X, "0")
            if not torch.equal(model.logits(X), expected):
                wrong.append(turn)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_embeddings_that_change_their_weights_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="max_norm"):
        TorchClassifier(nn.Sequential(nn.Embedding(5, 3, max_norm=1.0)), task="text")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: torch.rand(4), r"expected a batch of shape \(n, 4\), got \(4,\)"),
        (lambda: torch.rand(3, 5), r"expected a batch of shape \(n, 4\), got \(3, 5\)"),
        (lambda: torch.rand(0, 4), "expected at least one sample, got an empty batch"),
        (lambda: torch.zeros(3, 4, dtype=torch.int64), "expected floating-point inputs, got int64"),
        (lambda: torch.full((3, 4), torch.nan), "expected finite inputs, got NaN or infinity"),
        (lambda: torch.full((3, 4), torch.inf), "expected finite inputs, got NaN or infinity"),
        (lambda: [[0.0] * 4], "expected a torch tensor, got list"),
        (X.numpy, "expected a torch tensor, got ndarray"),
    ],
)
def test_bad_inputs_are_named(bad: Callable[[], Any], message: str) -> None:
    model = table(dense(), input_shape=(4,))
    with pytest.raises(InputError, match=message) as caught:
        model.logits(bad())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 2, 0, 1, 3]), r"expected labels within 0\.\.2, got 3"),
        (torch.tensor([0, 1, 2, 0, 1, -1]), r"expected labels within 0\.\.2, got -1"),
        (torch.tensor([0, 1]), r"expected labels \(6,\) as int64, got \(2,\)"),
        (torch.zeros(6), r"expected labels \(6,\) as int64, got \(6,\) of torch.float32"),
        ([0] * 6, r"expected labels \(6,\) as int64, got list"),
    ],
)
def test_bad_labels_are_named(labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        table(dense()).loss_gradient(X, labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "sound"}, "expected task as image, tabular or text, got 'sound'"),
        ({"std": 0.0}, r"expected std > 0, got \(0.0,\)"),
        ({"mean": float("nan")}, "expected mean as finite numbers"),
        ({"bounds": (1, 0)}, "expected bounds with lower < upper"),
        ({"outputs": "odds"}, "expected outputs as auto, logits or probabilities, got 'odds'"),
        ({"task": "text", "mean": 0.5}, "expected no mean and std with task 'text'"),
    ],
)
def test_bad_options_are_named(options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TorchClassifier(dense(), **options)


def test_wrong_number_of_class_names_is_named() -> None:
    with pytest.raises(InputError, match="expected 3 class names, as the model has outputs, got 2"):
        table(dense(), class_names=("a", "b")).logits(X)


def test_unknown_layer_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown layer 'body\.O'; did you mean .*'body\.0'"):
        table(Functional(lambda z: z)).activations(X, "body.O")


def test_token_ids_beyond_the_vocabulary_are_named() -> None:
    model = TorchClassifier(
        nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2)), task="text", input_shape=(2,)
    )
    with pytest.raises(InputError, match=r"expected token ids from 0\.\.4, got 7"):
        model.logits(torch.tensor([[0, 7]]))
    with pytest.raises(InputError, match="expected token ids as int64, got float32"):
        model.logits(torch.rand(1, 2))
    with pytest.raises(UnsupportedError, match="needs a tokenizer"):
        model.logits(["a text"])
