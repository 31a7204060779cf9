"""Attention explainers against hand computation, naive loops and finite differences; and which attention is seen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_models import (
    attentive_image_net,
    attentive_token_net,
    inputs_for,
    keras_attentive_token_net,
    table_mlp,
    torch_cnn,
)
from torch import Tensor, nn

from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers import explain
from xaibench.types import Capability

METHODS = ("attention_raw", "attention_rollout", "attention_gradient")
FIRST = torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.2, 0.2, 0.6]])
SECOND = torch.tensor([[0.1, 0.6, 0.3], [0.3, 0.3, 0.4], [0.0, 0.5, 0.5]])


class _Fixed(nn.Module):
    """Attention of one head whose weights are given; what it attends to are the tokens themselves."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights

    def attention_weights(self, x: Tensor) -> Tensor:
        return self.weights.expand(len(x), 1, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return (self.attention_weights(x) @ x[:, None]).squeeze(1)


class _Tokens(nn.Module):
    """Three tokens with values 1, -2, 3 and so on, two layers of given weights, and the sum of some rows."""

    def __init__(self, rows: slice) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 2)
        self.first, self.second = _Fixed(FIRST), _Fixed(SECOND)
        self.rows = rows
        with torch.no_grad():
            self.embedding.weight.copy_(torch.arange(18.0).reshape(9, 2) * torch.tensor([1.0, -0.5]) - 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        x = x + self.first(x)
        x = x + self.second(x)
        return x[:, self.rows].sum(1)


def _tokens(rows: slice) -> TorchClassifier:
    return TorchClassifier(_Tokens(rows), task="text", input_shape=(3,))


TOKENS = torch.tensor([[3, 1, 7], [2, 8, 5]])


def test_raw_attention_is_the_row_that_the_logit_reads() -> None:
    model = _tokens(slice(0, 1))
    torch.testing.assert_close(explain(model, TOKENS, 0, method="attention_raw").values, SECOND[0].expand(2, 3))
    found = explain(model, TOKENS, 0, method="attention_raw", layer="first").values
    torch.testing.assert_close(found, FIRST[0].expand(2, 3))
    both = explain(_tokens(slice(1, 3)), TOKENS, 0, method="attention_raw").values
    torch.testing.assert_close(both, SECOND[1:].mean(0).expand(2, 3))
    every = explain(model, TOKENS, 0, method="attention_raw", queries="all").values
    torch.testing.assert_close(every, SECOND.mean(0).expand(2, 3))
    first = explain(_tokens(slice(2, 3)), TOKENS, 0, method="attention_raw", queries="first").values
    torch.testing.assert_close(first, SECOND[0].expand(2, 3))


def test_rollout_is_the_product_worked_out_by_hand() -> None:
    # (A1 + I) / 2 and row 0 of (A2 + I) / 2, multiplied on paper.
    one = torch.tensor([[0.75, 0.125, 0.125], [0.0, 1.0, 0.0], [0.1, 0.1, 0.8]])
    expected = 0.55 * one[0] + 0.3 * one[1] + 0.15 * one[2]
    torch.testing.assert_close(expected, torch.tensor([0.4275, 0.38375, 0.18875]))
    found = explain(_tokens(slice(0, 1)), TOKENS, 0, method="attention_rollout").values
    torch.testing.assert_close(found, expected.expand(2, 3))


def test_gradient_weighted_relevance_is_its_recursion() -> None:
    model = _tokens(slice(0, 1))
    found = explain(model, TOKENS, torch.tensor([0, 1]), method="attention_gradient").values
    for row, target in enumerate((0, 1)):
        embedded = model.embed(TOKENS[row : row + 1])[0, :, target].detach()
        after_first = embedded + FIRST @ embedded
        # d logit / d A2[q, k] = [q = 0] x1[k]; d logit / d A1[q, k] = (e0 (I + A2))[q] x0[k].
        second = torch.zeros(3, 3)
        second[0] = after_first
        first = (torch.eye(3) + SECOND)[0][:, None] * embedded[None, :]
        relevance = torch.eye(3)
        for weights, gradient in ((FIRST, first), (SECOND, second)):
            relevance = relevance + (weights * gradient).clamp(min=0) @ relevance
        torch.testing.assert_close(found[row], (relevance - torch.eye(3))[0])


def test_shipped_kinds_of_layers_equal_a_naive_loop() -> None:
    for model in (attentive_token_net(), keras_attentive_token_net()):
        x = inputs_for(model, 4)
        x[1:, 5:] = 0
        weights, target = model.attention(x), model.predict(x)
        pairs = model.attention_gradient(x, target)
        rolled, related = (explain(model, x, method=method).values for method in METHODS[1:])
        for row in range(4):
            read = (x[row] != 0).nonzero().squeeze(1).tolist() if model.framework == "torch" else range(7)
            flow, relevance = torch.eye(7), torch.eye(7)
            for name, (own, gradient) in pairs.items():
                torch.testing.assert_close(own, weights[name], rtol=1e-4, atol=1e-6)
                flow = 0.5 * (torch.eye(7) + sum(own[row, head] for head in range(2)) / 2) @ flow
                step = sum((own[row, head] * gradient[row, head]).relu() for head in range(2)) / 2
                relevance = relevance + step @ relevance
            for found, naive in ((rolled, flow), (related, relevance - torch.eye(7))):
                mean = sum(naive[query] for query in read) / len(read)
                torch.testing.assert_close(found[row], mean, rtol=1e-4, atol=1e-6)
        padding = rolled[1:, 5:]
        assert bool(padding.any()) == (model.framework == "keras"), "where masked, it is not attended to, nor read"


def test_keras_nets_that_compute_otherwise_when_observed_are_refused() -> None:
    import keras

    from xaibench.classifiers import KerasClassifier

    keras.utils.set_random_seed(9)
    layers = keras.layers
    tokens = layers.Input((7,), dtype="int32")
    words = layers.Embedding(30, 6, embeddings_initializer="orthogonal")(tokens)
    keep = keras.ops.not_equal(tokens, 0)
    # Padding attends to no key, where Keras's two ways of attending differ, and the head reads what comes of it.
    mixed = layers.MultiHeadAttention(2, 4)(words, words, attention_mask=keep[:, :, None] & keep[:, None])
    model = KerasClassifier(keras.Model(tokens, layers.Dense(3)(layers.Flatten()(mixed))), task="text")
    x = inputs_for(model, 3)
    assert explain(model, x, method="attention_raw").values.shape == (3, 7)
    x[:, 5:] = 0
    with pytest.raises(UnsupportedError, match="Keras gives other logits when it forms the weights"):
        explain(model, x, method="attention_raw")


def test_patches_become_pixels() -> None:
    model = attentive_image_net()
    x = inputs_for(model, 3)
    found = explain(model, x, method="attention_raw", layer="blocks.0.attention")
    weights = model.attention(x)["blocks.0.attention"].mean(1)[:, 0, 1:]
    for patch in range(4):
        row, column = divmod(patch, 2)
        block = found.values[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        torch.testing.assert_close(block, weights[:, patch, None, None, None].expand(3, 2, 4, 4).contiguous())
    assert "tokens read as 2 x 2 patches after a class token" in found.trust.notes
    assert any("same for every class" in note for note in found.trust.notes)


def test_rows_of_pixels_need_their_grid() -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.MultiheadAttention(6, 2, batch_first=True)
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            rows = x.squeeze(1)
            return self.head(rows + self.mix(rows, rows, rows)[0]).mean(1)

    torch.manual_seed(0)
    model = TorchClassifier(Rows(), input_shape=(1, 5, 6))
    x = torch.rand(2, 1, 5, 6)
    with pytest.raises(UnsupportedError, match=r"expected `grid`, .* for 5 tokens do not form square patches of 5 x 6"):
        explain(model, x, method="attention_rollout")
    with pytest.raises(InputError, match="expected `grid` as rows and columns of 5 tokens, got 3 x 2"):
        explain(model, x, method="attention_rollout", grid=(3, 2))
    with pytest.raises(InputError, match=r"expected `grid` as rows and columns, got \(5,\)"):
        explain(model, x, method="attention_rollout", grid=(5,))
    found = explain(model, x, method="attention_raw", grid=(5, 1)).values
    weights = model.attention(x)["mix"].mean(1).mean(1)
    torch.testing.assert_close(found, weights[:, None, :, None].expand(2, 1, 5, 6).contiguous())


@pytest.mark.parametrize("method", METHODS)
def test_models_without_attention_are_refused_in_one_line(method: str) -> None:
    for model in (torch_cnn(), table_mlp()):
        with pytest.raises(UnsupportedError, match=f"^{method} needs attention of the model: the model has no .*$"):
            explain(model, inputs_for(model, 2), method=method)


def test_unknown_attention_layers_are_refused_with_those_that_exist() -> None:
    model = attentive_token_net()
    with pytest.raises(InputError, match=r"unknown attention layer 'head'.* known: blocks\.0\.attention, blocks\.1"):
        explain(model, inputs_for(model, 2), method="attention_raw", layer="head")


class _Block(nn.Module):
    """Attention by a function of torch, within a class-token net; ``split`` attends within halves of the input."""

    def __init__(self, *, split: bool = False, cut: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 8)
        self.inner = nn.Linear(8, 24)
        self.head = nn.Linear(8, 3)
        self.split, self.cut = split, cut

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for layer in range(2):
            query, key, value = self.inner(x).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
            if self.split:
                parts = [part.unflatten(2, (2, 4)).transpose(1, 2).flatten(0, 1) for part in (query, key, value)]
                mixed = F.scaled_dot_product_attention(*parts).unflatten(0, (-1, 2)).transpose(1, 2).flatten(2, 3)
            elif self.cut and layer:
                mixed = F.scaled_dot_product_attention(query[:, :, :1], key, value).expand_as(value)
            else:
                mask = (tokens != 0)[:, None, None]
                mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.9)
            x = x + mixed.transpose(1, 2).flatten(2)
        return self.head(x[:, 0])


def _block(**options: bool) -> TorchClassifier:
    torch.manual_seed(1)
    return TorchClassifier(_Block(**options), task="text", input_shape=(8,))


def test_calls_of_torchs_attention_are_seen_without_a_layer_for_them() -> None:
    model = _block()
    assert Capability.ATTENTION in model.capabilities
    x = torch.randint(1, 30, (3, 8))
    x[0, 5:] = 0
    layers = model.attention(x)
    assert list(layers) == ["attention", "attention#2"]
    assert not layers["attention"][0, :, :, 5:].any()
    torch.testing.assert_close(layers["attention"].sum(-1), torch.ones(3, 2, 8))
    found = explain(model, x, method="attention_gradient").values
    assert bool((found[1] > 0).any())
    last = model.attention_gradient(x, model.predict(x))["attention#2"].gradient
    assert not last[:, :, 1:].any(), "the logit reads the first token alone"
    with torch.no_grad():
        torch.testing.assert_close(model.logits(x), model.module.eval()(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"split": True}, r"over the whole input .* has \(6, 2, 4, 4\)"), ({"cut": True}, "has 1 queries and 8 keys")],
)
def test_attention_that_does_not_chain_over_the_input_is_refused(options: dict[str, bool], message: str) -> None:
    model, x = _block(**options), torch.randint(1, 30, (3, 8))
    for method in METHODS[1:]:
        with pytest.raises(UnsupportedError, match=message):
            explain(model, x, method=method)


def test_offered_weights_that_forward_does_not_use_have_no_gradient() -> None:
    class Beside(_Fixed):
        def forward(self, x: Tensor) -> Tensor:
            return (self.weights @ x[:, None]).squeeze(1)

    module = _Tokens(slice(0, 1))
    module.second = Beside(SECOND)
    model = TorchClassifier(module, task="text", input_shape=(3,))
    torch.testing.assert_close(model.attention(TOKENS)["second"][0, 0], SECOND)
    with pytest.raises(UnsupportedError, match="layer 'second' computes its weights beside the pass"):
        explain(model, TOKENS, 0, method="attention_gradient")


@pytest.mark.parametrize("fails", [False, True])
def test_modules_are_left_as_they_were(fails: bool) -> None:
    module = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).train()
    fixed = _Fixed(FIRST)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.layer, self.fixed, self.head = nn.Embedding(9, 4), module, fixed, nn.Linear(4, 2)
            self.fails = False

        def forward(self, x: Tensor) -> Tensor:
            if self.fails:
                raise RuntimeError("broken")
            return self.head(self.fixed(self.layer(self.words(x))).mean(1))

    net = Net()
    model = TorchClassifier(net, task="text", input_shape=(3,))
    model.predict(TOKENS)
    before = {name: (dict(vars(part)), part.training) for name, part in net.named_modules()}
    kernels = F.multi_head_attention_forward, F.scaled_dot_product_attention
    net.fails = fails
    if fails:
        with pytest.raises(InputError, match="broken"):
            model.attention_gradient(TOKENS, torch.tensor([0, 1]))
    else:
        assert list(model.attention_gradient(TOKENS, torch.tensor([0, 1]))) == ["layer.self_attn", "fixed"]
    net.fails = False
    assert {name: (dict(vars(part)), part.training) for name, part in net.named_modules()} == before
    assert (F.multi_head_attention_forward, F.scaled_dot_product_attention) == kernels
    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in net.modules())


class _HandsOut(nn.Module):
    """The interface of Hugging Face models: attention in plain operations, handed out where the config says so."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(output_attentions=False, _attn_implementation="eager")
        self.embedding = nn.Embedding(30, 6)
        self.mix = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))
        self.head = nn.Linear(6, 3)

    def forward(self, tokens: Tensor) -> Any:
        x, kept = self.embedding(tokens), []
        for mix in self.mix:
            weights = (mix(x) @ x.transpose(1, 2)).softmax(-1)[:, None]
            kept.append(weights)
            x = x + (weights @ x[:, None]).squeeze(1)
        return _Output(self.head(x[:, 0]), tuple(kept) if self.config.output_attentions else None)


class _Output(dict[str, Any]):
    def __init__(self, logits: Tensor, attentions: tuple[Tensor, ...] | None) -> None:
        super().__init__(logits=logits)
        self.attentions = attentions


def test_models_that_hand_out_their_attention_are_asked_to() -> None:
    torch.manual_seed(2)
    module = _HandsOut()
    model = TorchClassifier(module, task="text", input_shape=(7,))
    x = torch.randint(1, 30, (3, 7))
    assert list(model.attention(x)) == ["attentions.0", "attentions.1"]
    assert module.config.output_attentions is False
    pairs = model.attention_gradient(x, torch.zeros(3, dtype=torch.long))
    first = model.embed(x)
    second = first + (pairs["attentions.0"].weights @ first[:, None]).squeeze(1)
    expected = (second @ module.head.weight[0])[:, None].detach()
    torch.testing.assert_close(pairs["attentions.1"].gradient[:, :, 0], expected, rtol=1e-4, atol=1e-6)
    assert not pairs["attentions.1"].gradient[:, :, 1:].any()
    values = explain(model, x, method="attention_rollout").values
    torch.testing.assert_close(values.sum(1), torch.ones(3))
