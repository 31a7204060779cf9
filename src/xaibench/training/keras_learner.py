"""Training a Keras model: its weights, optimiser and average; what objectives see of it is in `keras_forward`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xaibench.classifiers import KerasClassifier
from xaibench.classifiers.bridge import to_tensorflow
from xaibench.errors import InputError
from xaibench.rng import SampleRng, derive_seed
from xaibench.threats import Threat
from xaibench.training.keras_forward import KerasForward, KerasPasses, unchanged
from xaibench.training.learner import Normalisation, StepResult, classifier_options, is_decayed
from xaibench.training.objectives import Objective
from xaibench.training.recipe import Recipe
from xaibench.types import Bounds, Classifier

__all__ = ["KerasLearner"]

_UNIT_BOX = Bounds()


class KerasLearner:
    """A `Learner` over a `keras.Model` on the TensorFlow backend."""

    weights_file = "model.keras"
    is_main = True

    def __init__(
        self, model: Any, recipe: Recipe, normalise: Normalisation, bounds: Bounds = _UNIT_BOX, **options: Any
    ) -> None:
        import tensorflow as tf

        if recipe.precision != "no":
            raise InputError(f"expected `precision` = 'no' for a Keras model, got {recipe.precision!r}")
        self._model, self._recipe, self._normalise, self.bounds = model, recipe, normalise, bounds
        self._moving = _moving(model, recipe.freeze)
        self._still = _still_layers(model, self._moving)
        for layer in self._still:
            layer.trainable = False  # a batch norm that is frozen keeps its running statistics too
        self._optimizer = _optimizer(recipe)
        self._optimizer.build(self._moving)
        self._average = [tf.Variable(v, trainable=False) for v in model.variables] if recipe.ema else None
        self._updates = 0
        self._kept = [(v, _nonzero(v)) for v in self._moving if recipe.keep_zeros and is_decayed(tuple(v.shape))]
        self._passes = KerasPasses(model, normalise)
        self._leaves = [torch.zeros(tuple(v.shape), requires_grad=True) for v in self._moving]
        self._apply = tf.function(self._apply_gradients)
        self._memory: dict[str, Tensor] = {}
        # The classifier looks for the softmax before its outputs itself, as the passes do.
        self.classifier = KerasClassifier(model, **classifier_options(normalise, bounds, {"outputs": "auto"} | options))

    def wait(self) -> None:
        """One process: nothing to wait for."""

    def agreed(self, figures: dict[str, Any]) -> dict[str, Any]:
        """One process: they are its own."""
        return figures

    def _apply_gradients(self, gradients: list[Any], decay: Any) -> None:
        import tensorflow as tf

        config = self._recipe.optimizer
        if self._recipe.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self._recipe.clip_norm)
        if config.weight_decay and config.name != "adamw":
            gradients = [
                g + config.weight_decay * v if is_decayed(tuple(v.shape)) else g
                for g, v in zip(gradients, self._moving, strict=True)
            ]
        self._optimizer.apply(gradients, self._moving)
        for variable, kept in self._kept:
            variable.assign(variable * kept)
        for average, variable in zip(self._average or [], self._model.variables, strict=False):
            value = tf.convert_to_tensor(variable)
            average.assign(average + (1.0 - decay) * (value - average) if value.dtype.is_floating else value)

    def step(
        self,
        batches: list[tuple[Tensor, Tensor]],
        objective: Objective,
        *,
        rate: float,
        seed: int,
        progress: float = 1.0,
        threat: Threat | None = None,
    ) -> StepResult:
        """One optimiser step on the mean loss over ``batches``."""
        import tensorflow as tf

        _seed_random_layers(self._model, seed)
        total = StepResult()
        for leaf in self._leaves:
            leaf.grad = None
        for index, (x, y) in enumerate(batches):
            rng = SampleRng(torch.arange(len(y)), derive_seed(seed, index), "objective")
            forward = self._forward(rng, progress, threat)
            with forward.ascended:
                result = objective.loss(forward, x, objective.perturb(forward, x, y), y)
                (result.loss / len(batches)).backward()
            total.add(result, y)
        self._optimizer.learning_rate.assign(rate)
        self._updates += 1
        decay = min(self._recipe.ema or 0.0, (1 + self._updates) / (10 + self._updates))
        self._apply(list(map(_gradient, self._leaves)), tf.constant(decay, tf.float32))
        return total

    def _forward(self, rng: SampleRng, progress: float, threat: Threat | None) -> KerasForward:
        return KerasForward(
            self._passes,
            self._moving,
            self._leaves,
            self._model.non_trainable_weights,
            self.classifier,
            self._memory,
            self.bounds,
            rng,
            progress,
            threat,
            attack_training=self._recipe.attack_mode == "train",
        )

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        if self._average is None:
            yield
            return
        with unchanged(self._model.variables):
            for variable, average in zip(self._model.variables, self._average, strict=True):
                variable.assign(average)
            yield

    @contextmanager
    def averaged(self) -> Iterator[Classifier]:
        """The classifier with the averaged weights."""
        with self._averaged():
            yield self.classifier

    def logits(self, x: Tensor) -> Tensor:
        """Logits (n, classes)."""
        with self._averaged():
            return self._passes.logits(x, training=False)

    def weights(self) -> dict[str, Tensor]:
        """A copy of all variables by position."""
        source = self._model.variables if self._average is None else self._average
        return {str(index): _copy(variable) for index, variable in enumerate(source)}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Set all variables, and the average with them."""
        for index, variable in enumerate(self._model.variables):
            variable.assign(weights[str(index)].numpy())
            if self._average is not None:
                self._average[index].assign(weights[str(index)].numpy())

    def _slots(self) -> dict[str, list[Any]]:
        slots = {"weights": self._model.variables, "optimizer": self._optimizer.variables}
        return slots if self._average is None else slots | {"average": self._average}

    def state(self) -> dict[str, Tensor]:
        """Weights, average and optimiser variables by position."""
        state = {
            f"{kind}.{index}": _copy(variable)
            for kind, variables in self._slots().items()
            for index, variable in enumerate(variables)
        }
        state |= {f"memory.{key}": value.clone() for key, value in self._memory.items()}
        return state | {"updates": torch.tensor(self._updates)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a state."""
        for kind, variables in self._slots().items():
            for index, variable in enumerate(variables):
                variable.assign(state[f"{kind}.{index}"].numpy())
        memory = "memory."
        self._memory = {k.removeprefix(memory): v for k, v in state.items() if k.startswith(memory)}
        self._updates = int(state["updates"])

    def save(self, path: Path) -> None:
        """Write a `.keras` file without optimiser state."""
        for layer in self._still:
            layer.trainable = True
        try:
            with self._averaged():
                self._model.save(path, include_optimizer=False)
        finally:
            for layer in self._still:
                layer.trainable = False


def _gradient(leaf: Tensor) -> Any:
    """The gradient that torch gathered, for TensorFlow; zero where the loss does not depend on the weight."""
    return to_tensorflow(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad)


def _nonzero(variable: Any) -> Any:
    """1 where the variable is not zero, else 0."""
    import tensorflow as tf

    return tf.cast(tf.not_equal(tf.convert_to_tensor(variable), 0), variable.dtype)


def _copy(variable: Any) -> Tensor:
    """The value on its own memory; integers of every width as int64, which all of them fit."""
    import numpy as np

    value = np.array(variable.numpy())
    return torch.from_numpy(value if value.dtype.kind == "f" else value.astype(np.int64))


def _moving(model: Any, patterns: tuple[str, ...]) -> list[Any]:
    paths = [v.path for v in model.trainable_variables]
    for pattern in patterns:
        if not any(fnmatch(path, pattern) for path in paths):
            raise InputError(
                f"expected `freeze` patterns that match weights, got {pattern!r}; there are: {', '.join(paths)}"
            )
    moving = [v for v in model.trainable_variables if not any(fnmatch(v.path, p) for p in patterns)]
    if not moving:
        raise InputError(f"expected `freeze` to leave something to train, got {', '.join(patterns)}")
    return moving


def _still_layers(model: Any, moving: list[Any]) -> list[Any]:
    """Layers without sublayers that could move, and do not."""
    moved = {variable.path for variable in moving}
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if layer.trainable_variables and not any(variable.path in moved for variable in layer.trainable_variables)
    ]


def _seed_random_layers(model: Any, seed: int) -> None:
    for index, layer in enumerate(model._flatten_layers()):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign([(seed + index) & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF])


def _optimizer(recipe: Recipe) -> Any:
    from keras import optimizers

    config = recipe.optimizer
    rate = config.learning_rate
    match config.name:
        case "sgd":
            return optimizers.SGD(rate, momentum=config.momentum, nesterov=config.nesterov)
        case "adam":
            return optimizers.Adam(rate, epsilon=1e-8)
        case "adamw":
            made = optimizers.AdamW(rate, weight_decay=config.weight_decay, epsilon=1e-8)
            made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
            return made
        case "rmsprop":
            # Keras adds epsilon under the root, torch beside it: its square makes both alike.
            return optimizers.RMSprop(rate, rho=0.9, momentum=config.momentum, epsilon=1e-16)
