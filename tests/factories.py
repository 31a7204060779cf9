"""Classifiers with known weights, as ``factories:name`` for `load_model`; closed forms say what they must do."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xaibench.classifiers import KerasClassifier, TorchClassifier
from xaibench.data import Data, load_data
from xaibench.types import Capability, Classifier

GOOD, BAD = ("good", "warm", "lovely"), ("bad", "dull", "silly")
SCRIPT = "<script>alert(1)</script>"


def ridge(data: Data) -> tuple[Tensor, Tensor]:
    """Weights (classes, features) and biases (classes,) of least squares on one-hot labels, sharpened."""
    assert isinstance(data.inputs, Tensor)
    x = torch.cat([data.inputs.flatten(1), torch.ones(len(data), 1)], dim=1).double()
    y = nn.functional.one_hot(data.labels, len(data.class_names)).double()
    solution = torch.linalg.solve(x.T @ x + 1e-2 * torch.eye(x.shape[1]), x.T @ y).T * 8
    return solution[:, :-1].float(), solution[:, -1].float()


def linear(data: Data) -> nn.Linear:
    weight, bias = ridge(data)
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def digits() -> Classifier:
    data = load_data("digits", "train")
    module = nn.Sequential(nn.Flatten(), linear(data))
    return TorchClassifier(module, input_shape=(1, 8, 8), class_names=data.class_names)


class Gradientless(TorchClassifier):
    """A classifier that hides its gradients and says why."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities - {Capability.GRADIENTS}

    @property
    def limits(self) -> dict[Capability, str]:
        return {Capability.GRADIENTS: "they are kept secret"}


def digits_gradientless() -> Classifier:
    module = nn.Sequential(nn.Flatten(), linear(load_data("digits", "train")))
    return Gradientless(module, input_shape=(1, 8, 8))


def digits_keras() -> Classifier:
    import keras

    data = load_data("digits", "train")
    weight, bias = ridge(data)
    dense = keras.layers.Dense(10)
    model = keras.Sequential([keras.layers.Input((8, 8, 1)), keras.layers.Flatten(), dense])
    dense.set_weights([weight.T.numpy(), bias.numpy()])
    return KerasClassifier(model, class_names=data.class_names)


def cancer() -> Classifier:
    data = load_data("breast-cancer", "train")
    module = linear(data)
    return TorchClassifier(module, task="tabular", bounds=data.bounds, input_shape=(30,))


class Words(nn.Module):
    """The logit of class 0 is the sum of the words' values, that of class 1 its negative."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(torch.tensor(values)[:, None], freeze=False, padding_idx=0)

    def forward(self, tokens: Tensor) -> Tensor:
        score = self.embedding(tokens).sum(dim=(1, 2))
        return torch.stack([score, -score], dim=1)


def words() -> Classifier:
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = ["", "[UNK]", *GOOD, *BAD, "film", SCRIPT]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8, pad_id=0, pad_token="")
    module = Words([0.0, 0.0, 1.0, 2.0, 3.0, -1.0, -2.0, -3.0, 0.0, 0.5])
    return TorchClassifier(
        module, task="text", tokenizer=tokenizer, input_shape=(8,), class_names=(SCRIPT, "<b>bad</b>")
    )


def words_table(path: str) -> str:
    """Write the texts that `words` classifies as a CSV file; its classes, sorted, are in another order."""
    rows = [
        f'"{word} film {SCRIPT}",{name}'
        for name, some in (("<b>bad</b>", BAD), (SCRIPT, GOOD))
        for word in some
        for _ in "12"
    ]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(["text,label", *rows]))
    return path
