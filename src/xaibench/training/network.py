"""The network that a recipe asks for: new, or a copy of an existing model's, with what its inputs go through before."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xaibench.architectures import architectures
from xaibench.card import ArchitectureConfig, Card, DataConfig
from xaibench.cards import package_versions
from xaibench.classifiers.weights import load_keras, read_state
from xaibench.data import Data
from xaibench.errors import InputError, first_line
from xaibench.files import file_digest, write_json
from xaibench.registry import Spec
from xaibench.rng import derive_seed
from xaibench.training.learner import Learner, Normalisation, numbers
from xaibench.training.recipe import Augmentation, Recipe
from xaibench.training.tokenizer import train_tokenizer
from xaibench.zoo import model_folder

__all__ = ["Network", "make_network"]


@dataclass(frozen=True)
class Network:
    """A learner, its architecture, and the encoding and normalisation of its inputs."""

    learner: Learner
    framework: str
    architecture: ArchitectureConfig
    normalise: Normalisation
    tokenizer: Any
    initial_weights: str | None = None
    """SHA-256 of the weights file that a fine-tuning starts from."""

    def encode(self, rows: Data) -> Tensor:
        """Inputs as the learner takes them: in input units, or as token ids."""
        if isinstance(rows.inputs, Tensor):
            return rows.inputs
        encoded = self.tokenizer.encode_batch_fast(list(rows.inputs), add_special_tokens=False)
        return torch.tensor([item.ids for item in encoded], dtype=torch.int64)

    def write(self, folder: Path, recipe: Recipe, rows: Data, history: Sequence[Mapping[str, Any]] = ()) -> None:
        """Write weights, tokenizer and `config.json` (without metrics) to a new folder."""
        folder.mkdir(exist_ok=True)
        self.learner.save(folder / self.learner.weights_file)
        if self.tokenizer is not None:
            self.tokenizer.save(str(folder / "tokenizer.json"))
        card = Card(
            name=recipe.name,
            summary=recipe.summary,
            task=rows.task,
            framework=self.framework,  # type: ignore[arg-type]
            architecture=self.architecture,
            input_shape=self.architecture.params["input_shape"],
            bounds=(rows.bounds.lower, rows.bounds.upper),
            mean=numbers(self.normalise.mean),
            std=numbers(self.normalise.std),
            class_names=rows.class_names,
            feature_names=rows.feature_names,
            data=DataConfig(
                name=recipe.data, digest=rows.digest, train_split=recipe.train_split, test_split=recipe.test_split
            ),
            recipe=recipe.model_dump(mode="json", exclude_unset=True),
            history=tuple(dict(line) for line in history),
            versions=package_versions(),
        )
        write_json(folder / "config.json", card.model_dump(mode="json"))


def make_network(recipe: Recipe, rows: Data) -> Network:
    """The network of ``recipe`` for these training rows; its initial weights depend on the recipe's seed alone."""
    _check_augmentation(recipe.augmentation, rows)
    source = None if recipe.init is None else model_folder(recipe.init)
    before = None if source is None else Card.read(source / "config.json")
    if before is None:
        assert recipe.architecture is not None
        name, params = recipe.architecture.name, dict(recipe.architecture.params)
        if taken := {"classes", "input_shape", "vocabulary"} & params.keys():
            raise InputError(f"expected no `{min(taken)}` among the architecture's parameters: the data decides it")
        normalise = _statistics(rows) if recipe.normalize else Normalisation()
    else:
        name, params = before.architecture.name, dict(before.architecture.params)
        normalise = Normalisation(_column(before.mean, rows.task), _column(before.std, rows.task))
    tokenizer = _tokenizer(recipe, rows, source)
    shape = [recipe.text.length] if tokenizer is not None else list(_tensor(rows).shape[1:])
    if tokenizer is not None:
        shape = [tokenizer.padding["length"]]
        params["vocabulary"] = tokenizer.get_vocab_size()
    if before is not None and tuple(shape) != before.input_shape:
        raise InputError(
            f"expected inputs of shape {before.input_shape} to fine-tune {before.name}, got {tuple(shape)}"
        )
    params |= {"input_shape": shape, "classes": len(rows.class_names)}
    architecture = architectures.create(Spec(name, params))
    try:
        with _seeded(derive_seed(recipe.seed, "weights")):
            module = architecture.build()
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise _misfit(name, rows, error) from None
    initial = None if source is None else _copy_weights(module, source)
    config = ArchitectureConfig(name=name, params=params)
    options = {"task": rows.task, "class_names": rows.class_names, "input_shape": shape, "tokenizer": tokenizer}
    if architecture.framework == "torch":
        from xaibench.training.torch_learner import TorchLearner

        learner: Learner = TorchLearner(module, recipe, normalise, rows.bounds, **options)
    else:
        from xaibench.training.keras_learner import KerasLearner

        learner = KerasLearner(module, recipe, normalise, rows.bounds, **options)
    network = Network(learner, architecture.framework, config, normalise, tokenizer, initial)
    try:
        learner.logits(network.encode(rows.take([0])))
    except Exception as error:  # whatever a framework raises where layers and inputs do not fit
        raise _misfit(name, rows, error) from None
    return network


def _check_augmentation(config: Augmentation, rows: Data) -> None:
    if not (config.flip or config.shift):
        return
    if rows.task != "image":
        raise InputError(f"expected augmentation of images, got {rows.task} data")
    smallest = min(_tensor(rows).shape[2:])
    if config.shift >= smallest:
        raise InputError(f"expected `shift` below the image's {smallest} pixels, got {config.shift}")


def _misfit(architecture: str, rows: Data, error: Exception) -> InputError:
    shape = f" of shape {tuple(rows.inputs.shape[1:])}" if isinstance(rows.inputs, Tensor) else ""
    inputs = f"{rows.task} inputs{shape}"
    return InputError(f"expected an architecture for {inputs}, got {architecture}: {first_line(error)}")


def _copy_weights(module: Any, source: Path) -> str:
    """Copy the weights of a model folder wherever name and shape agree: a head for other classes stays new.

    Returns the digest of their file.
    """
    if isinstance(module, torch.nn.Module):
        path = source / "model.safetensors"
        own, given = module.state_dict(), read_state(path)
        module.load_state_dict(own | {k: v for k, v in given.items() if k in own and v.shape == own[k].shape})
        return file_digest(path)
    path = source / "model.keras"
    for variable, value in zip(module.variables, load_keras(path).variables, strict=True):
        if variable.shape == value.shape:
            variable.assign(value)
    return file_digest(path)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Initial weights from ``seed``, the process's random states left as they were.

    torch draws from its own generator; Keras draws the seeds of its initialisers from Python's.
    """
    state = random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(state)


def _tokenizer(recipe: Recipe, rows: Data, source: Path | None) -> Any:
    if isinstance(rows.inputs, Tensor):
        return None
    if source is None:
        return train_tokenizer(rows.inputs, recipe.text)
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(source / "tokenizer.json"))


def _tensor(rows: Data) -> Tensor:
    assert isinstance(rows.inputs, Tensor)
    return rows.inputs


def _column(values: tuple[float, ...] | None, task: str) -> Tensor | None:
    if values is None:
        return None
    return torch.tensor(values).reshape((-1, 1, 1) if task == "image" else (-1,))


def _statistics(rows: Data) -> Normalisation:
    """Mean and standard deviation by channel (channels, 1, 1) or by feature (features,); nothing for text."""
    if not isinstance(rows.inputs, Tensor):
        return Normalisation()
    axes = (0, 2, 3) if rows.task == "image" else (0,)
    x = rows.inputs.double()
    mean, std = x.mean(axes), x.std(axes).clamp(min=1e-6)
    return Normalisation(_column(tuple(mean.tolist()), rows.task), _column(tuple(std.tolist()), rows.task))
