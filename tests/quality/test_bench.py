"""What all methods are measured on: what removed parts become, and which parts count."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_models import inputs_for, table_mlp, token_net, torch_cnn

from xaibench.classifiers import TorchClassifier
from xaibench.explainers import explainers
from xaibench.metrics import Case
from xaibench.quality import Bench
from xaibench.types import Classifier


def _case(model: Classifier, inputs: Any) -> Case:
    bench = Bench(model=model, inputs=inputs)
    method = explainers.create("saliency")
    return bench.case(method, bench.explain(method))


def _reader() -> TorchClassifier:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"[PAD]": 0, "[UNK]": 1, "good": 2, "bad": 3, "film": 4}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]", length=7)
    plain: Any = token_net()
    return TorchClassifier(plain.module, task="text", input_shape=(7,), tokenizer=tokenizer)


def test_words_give_way_to_padding_which_does_not_count() -> None:
    case = _case(_reader(), ["good film", "bad bad film"])
    assert case.baseline.tolist() == [[0] * 7] * 2
    assert case.bounds is None
    assert case.where is not None
    assert case.where.tolist() == [[True] * 2 + [False] * 5, [True] * 3 + [False] * 4]
    assert case.explain_shifted is None


@pytest.mark.parametrize("make", [torch_cnn, table_mlp])
def test_numbers_give_way_to_those_of_the_mean_input(make: Any) -> None:
    model = make()
    x = inputs_for(model, 3)
    case = _case(model, x)
    low, high = model.bounds.tensors(x)
    torch.testing.assert_close(case.baseline, ((low + high) / 2).expand_as(x))
    assert case.where is None
    assert case.bounds == model.bounds
    assert torch.equal(case.target, model.predict(x))


def test_methods_are_asked_about_shifted_inputs_second() -> None:
    model = table_mlp()
    x = inputs_for(model, 3)
    bench = Bench(model=model, inputs=x)
    method = explainers.create("input_x_gradient")
    case = bench.case(method, bench.explain(method))
    assert case.explain_shifted is not None
    before, after = case.explain_shifted(0.5)
    torch.testing.assert_close(before, case.values)
    low, high = model.bounds.tensors(x)
    torch.testing.assert_close(after, case.values / x * (x + 0.5 * (high - low)), rtol=1e-4, atol=1e-6)
