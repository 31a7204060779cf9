"""Training a Keras model: objectives stay in torch, TensorFlow computes outputs and weight gradients.

One eager tape around a traced forward pass keeps what the backward pass needs, so nothing is computed twice; the
objective's gradient with respect to the outputs crosses the bridge, and the tape turns it into weight gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xaibench.classifiers import KerasClassifier
from xaibench.classifiers.bridge import to_tensorflow, to_torch
from xaibench.errors import InputError
from xaibench.rng import SampleRng, derive_seed
from xaibench.threats import Threat
from xaibench.training.learner import Normalisation, StepResult, as_outputs, classifier_options, given, is_decayed
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
        self._train_forward = tf.function(lambda x: _outputs(model(x, training=True)), reduce_retracing=True)
        self._forward = tf.function(lambda x: _outputs(model(x, training=False)), reduce_retracing=True)
        self._apply = tf.function(self._apply_gradients)
        self._memory: dict[str, Tensor] = {}
        self.classifier = KerasClassifier(model, **classifier_options(normalise, bounds, options))

    def wait(self) -> None:
        """One process: nothing to wait for."""

    def _native(self, x: Tensor) -> Any:
        if not x.is_floating_point():
            return to_tensorflow(x.to(torch.int32))
        x = self._normalise(x)
        return to_tensorflow(x.permute(0, 2, 3, 1) if x.ndim == 4 else x)

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

    def _input_gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
        import tensorflow as tf

        native = self._native(x)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(native)
            outputs = self._forward(native)[0]
        logits = to_torch(outputs).requires_grad_()
        (slope,) = torch.autograd.grad(loss(as_outputs(logits)[0]), logits)
        inner = to_torch(tape.gradient(outputs, native, output_gradients=to_tensorflow(slope)))
        point = x.detach().requires_grad_()
        moved = inner.permute(0, 3, 1, 2) if inner.ndim == 4 else inner
        return torch.autograd.grad(self._normalise(point), point, moved)[0]

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
        gradients, total = _Gradients(self._moving), StepResult()
        for index, (x, y) in enumerate(batches):
            rng = SampleRng(torch.arange(len(y)), derive_seed(seed, index), "objective")
            forward = _TapedForward(self, gradients, 1.0 / len(batches), rng, progress, threat)
            result = objective.loss(forward, x, objective.perturb(forward, x, y), y)
            result.loss.backward()
            total.add(result, y)
        self._optimizer.learning_rate.assign(rate)
        self._updates += 1
        decay = min(self._recipe.ema or 0.0, (1 + self._updates) / (10 + self._updates))
        self._apply(gradients.values, tf.constant(decay, tf.float32))
        return total

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        if self._average is None:
            yield
            return
        live = [v.numpy() for v in self._model.variables]
        for variable, average in zip(self._model.variables, self._average, strict=True):
            variable.assign(average)
        try:
            yield
        finally:
            for variable, value in zip(self._model.variables, live, strict=True):
                variable.assign(value)

    @contextmanager
    def averaged(self) -> Iterator[Classifier]:
        """The classifier with the averaged weights."""
        with self._averaged():
            yield self.classifier

    def logits(self, x: Tensor) -> Tensor:
        """Logits (n, classes)."""
        with self._averaged():
            return as_outputs(to_torch(self._forward(self._native(x))[0]).clone())[0]

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


class _Gradients:
    """The sum of weight gradients over the batches of a step."""

    def __init__(self, variables: list[Any]) -> None:
        import tensorflow as tf

        self.variables = variables
        self.values = [tf.zeros(v.shape, v.dtype) for v in variables]

    def add(self, gradients: list[Any], weight: float) -> None:
        import tensorflow as tf

        self.values = [
            old if new is None else old + weight * tf.convert_to_tensor(new)
            for old, new in zip(self.values, gradients, strict=True)
        ]


class _TapedForward:
    """Calls the model; when torch comes back through its outputs, weight gradients are added up on the side.

    Outputs that are images come channels first, as the inputs do.
    """

    def __init__(
        self,
        learner: KerasLearner,
        gradients: _Gradients,
        weight: float,
        rng: SampleRng,
        progress: float,
        threat: Threat | None,
    ) -> None:
        self._threat = threat
        self.learner, self.gradients, self.weight, self.rng, self.progress = learner, gradients, weight, rng, progress
        self.bounds = learner.bounds
        self._anchor = torch.zeros((), requires_grad=True)

    @property
    def threat(self) -> Threat:
        """See `Forward`."""
        return given(self._threat)

    @property
    def memory(self) -> MutableMapping[str, Tensor]:
        """See `Forward`."""
        return self.learner._memory

    @property
    def classifier(self) -> Classifier:
        """See `Forward`."""
        return self.learner.classifier

    def evaluate(self, x: Tensor) -> Tensor:
        """See `Forward`."""
        return as_outputs(to_torch(self.learner._forward(self.learner._native(x))[0]).clone())[0]

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs = _WeightGradients.apply(self._anchor, x, self)
        return as_outputs(*(y.permute(0, 3, 1, 2) if y.ndim == 4 else y for y in outputs))

    def input_gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
        """See `Forward`."""
        return self.learner._input_gradient(x, loss)


class _WeightGradients(torch.autograd.Function):
    """Outputs of a Keras model, differentiable towards its weights (not towards its input)."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, x: Tensor, call: _TapedForward) -> tuple[Tensor, ...]:
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for variable in call.gradients.variables:
                tape.watch(variable.value)
            outputs = call.learner._train_forward(call.learner._native(x))
        ctx.call, ctx.tape, ctx.outputs = call, tape, outputs
        return tuple(to_torch(output).clone() for output in outputs)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[None, None, None]:
        call = ctx.call
        sources = [variable.value for variable in call.gradients.variables]
        targets = [to_tensorflow(c) for c in cotangents]
        call.gradients.add(ctx.tape.gradient(ctx.outputs, sources, output_gradients=targets), call.weight)
        return None, None, None


def _outputs(outputs: Any) -> list[Any]:
    """All outputs as a list, the first as logits where Keras applied the final softmax or sigmoid."""
    first, *others = outputs if isinstance(outputs, list | tuple) else [outputs]
    return [getattr(first, "_keras_logits", first), *others]


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
