"""Copies with random weights: independent, reproducible, layer by layer, and the original never changes."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import inputs_for, keras_cnn, keras_token_net, linear, table_mlp, token_net, torch_cnn
from torch import nn

from xaibench.classifiers import ExportedClassifier, SavedModelClassifier, TorchClassifier
from xaibench.errors import InputError, UnsupportedError
from xaibench.types import Capability, Classifier


def exported() -> Classifier:
    model: Any = torch_cnn()
    return ExportedClassifier(model.export(inputs_for(model, 4)))


MODELS: dict[str, Callable[[], Classifier]] = {
    "torch": torch_cnn,
    "table": table_mlp,
    "torch-text": token_net,
    "keras": keras_cnn,
    "keras-text": keras_token_net,
    "exported": exported,
}
every_model = pytest.mark.parametrize("name", MODELS)


def _inputs(model: Classifier) -> torch.Tensor:
    return inputs_for(torch_cnn(), 4) if model.framework == "exported" else inputs_for(model, 4)


@every_model
def test_a_copy_answers_otherwise_and_the_original_as_before(name: str) -> None:
    model = MODELS[name]()
    x = _inputs(model)
    digest, logits = model.digest, model.logits(x)
    copy = model.randomised(0)
    drawn = copy.logits(x)
    assert drawn.shape == logits.shape
    assert bool(drawn.isfinite().all())
    assert not torch.allclose(drawn, logits, atol=1e-2)
    assert model.digest == digest
    assert torch.equal(model.logits(x), logits)
    assert copy.capabilities == model.capabilities
    assert copy.layers == model.layers
    y = copy.predict(x)
    gradient = copy.loss_gradient(x, y).gradient
    assert bool((gradient != 0).any())
    assert not torch.allclose(gradient, model.loss_gradient(x, y).gradient, atol=1e-6)


@every_model
def test_seeds_make_copies_again(name: str) -> None:
    model = MODELS[name]()
    x = _inputs(model)
    one, other, again = model.randomised(0), model.randomised(1), model.randomised(0)
    assert torch.equal(one.logits(x), again.logits(x))
    assert not torch.allclose(one.logits(x), other.logits(x), atol=1e-2)


@pytest.mark.parametrize("name", ["torch", "keras"])
def test_layers_are_drawn_one_by_one(name: str) -> None:
    model = MODELS[name]()
    x = _inputs(model)
    head, first = model.layers[-1], model.layers[0]
    top = model.randomised(0, [head])
    assert torch.allclose(top.activations(x, first), model.activations(x, first))
    assert not torch.allclose(top.logits(x), model.logits(x), atol=1e-2)
    both, whole = model.randomised(0, [first, head]), model.randomised(0)
    assert torch.allclose(both.activations(x, first), whole.activations(x, first))
    assert not torch.allclose(both.activations(x, first), model.activations(x, first), atol=1e-2)
    assert torch.equal(model.randomised(0, []).logits(x), model.logits(x))


def test_kernels_keep_their_size_and_vectors_their_numbers() -> None:
    model = torch_cnn()
    copy: Any = model.randomised(3)
    for (name, before), (_, after) in zip(
        model.module.named_parameters(),  # type: ignore[attr-defined]
        copy.module.named_parameters(),
        strict=True,
    ):
        if before.ndim == 1:
            assert torch.equal(before.sort().values, after.sort().values)
        else:
            before, after = before.detach(), after.detach()  # noqa: PLW2901
            size = float(after.square().mean().sqrt() / before.square().mean().sqrt())
            assert size == pytest.approx(1, abs=4 / before.numel() ** 0.5), name
            assert abs(float(torch.corrcoef(torch.stack([before.flatten(), after.flatten()]))[0, 1])) < 0.4


def test_statistics_of_normalisation_stay() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3)
    norm.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))  # type: ignore[union-attr]
    model = TorchClassifier(
        nn.Sequential(nn.Conv2d(2, 3, 3), norm, nn.Flatten(), nn.Linear(108, 4)), input_shape=(2, 8, 8)
    )
    copy = model.randomised(0)
    assert torch.equal(copy.module[1].running_mean, norm.running_mean)  # type: ignore[index, union-attr]


def test_a_training_state_and_hooks_of_the_original_stay() -> None:
    model: Any = torch_cnn()
    model.module.train()
    model.randomised(0).logits(_inputs(model))
    assert model.module.training
    assert all(value.requires_grad for value in model.module.parameters())


def test_copies_of_keras_models_are_used_again_but_never_twice_at_a_time() -> None:
    model: Any = keras_cnn()
    x = _inputs(model)
    one = model.randomised(0)
    first, other = one.logits(x), model.randomised(1)
    assert torch.equal(one.logits(x), first)
    assert one.model is not other.model
    kept, logits = other.model, other.logits(x)
    del other
    gc.collect()
    third = model.randomised(1)
    assert third.model is kept
    assert torch.equal(third.logits(x), logits)
    assert torch.equal(one.logits(x), first)


def test_the_original_can_be_used_by_other_threads_meanwhile() -> None:
    model = torch_cnn()
    x = _inputs(model)
    logits, wrong = model.logits(x), []

    def look() -> None:
        for _ in range(50):
            if not torch.equal(model.logits(x), logits):
                wrong.append(1)

    thread = threading.Thread(target=look)
    thread.start()
    for seed in range(20):
        model.randomised(seed).logits(x)
    thread.join()
    assert not wrong


def test_unknown_layers_are_refused_with_those_that_exist() -> None:
    with pytest.raises(InputError, match=r"unknown layer 'head'.* known: 0, 1"):
        torch_cnn().randomised(0, ["head"])


def test_a_saved_model_has_no_weights_to_draw(tmp_path: Path) -> None:
    model: Any = keras_cnn()
    model.logits(_inputs(model))
    model.model.export(tmp_path / "saved", verbose=False)
    saved = SavedModelClassifier(tmp_path / "saved")
    assert Capability.WEIGHTS not in saved.capabilities
    with pytest.raises(UnsupportedError, match="no weights to draw again: they are constants of the graph"):
        saved.randomised()


def test_what_cannot_be_copied_is_refused_in_one_line() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.lock = threading.Lock()

        def forward(self, x: torch.Tensor) -> Any:
            return self.layer(x)

    with pytest.raises(UnsupportedError, match="the model cannot be copied: cannot pickle"):
        TorchClassifier(Odd(), task="tabular", input_shape=(2,)).randomised()


def test_a_linear_model_keeps_its_form() -> None:
    model = linear(torch.tensor([[1.0, -2.0], [0.5, 3.0]]), torch.tensor([0.1, -0.3]))
    x = torch.rand(5, 2)
    copy = model.randomised(0)
    weight = copy.module.weight  # type: ignore[attr-defined]
    torch.testing.assert_close(copy.logits(x), x @ weight.T + copy.module.bias)  # type: ignore[attr-defined]
