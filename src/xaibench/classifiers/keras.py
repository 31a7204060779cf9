"""Any Keras model, on its TensorFlow backend, as a classifier."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from xaibench.classifiers.base import ModelClassifier
from xaibench.classifiers.bridge import Bridge, LossBridge, compiled, one_line, to_tensorflow, to_torch
from xaibench.classifiers.description import describe_keras
from xaibench.classifiers.graph import Head, LayerTap, Layout
from xaibench.classifiers.interface import Interface, Options
from xaibench.classifiers.keras_layers import (
    attention_kinds,
    by_head,
    named_layers,
    native_shape,
    recorder,
    stated_layout,
    tapped_calls,
    tracing,
    use_name,
    with_output,
)
from xaibench.classifiers.keras_twin import KerasTwin
from xaibench.classifiers.outputs import LOG_PROBABILITIES, classifying
from xaibench.classifiers.redraw import cloned_keras, redraw_keras
from xaibench.classifiers.runtime import tensorflow
from xaibench.classifiers.tracing import traced
from xaibench.classifiers.weights import load_keras
from xaibench.errors import InputError, UnsupportedError
from xaibench.types import AttentionGradient, Capability, LossGradient

__all__ = ["KerasClassifier"]


class KerasClassifier(ModelClassifier):
    """Any Keras model of one input (or a ``.keras`` file) that ends in logits, softmax or a single unit.

    Images are channels first here, whatever the model's own layout, and float32, also where the model computes in
    float64. Of several outputs the one called ``logits`` classifies, else the first.
    """

    def __init__(self, model: Any, **options: Unpack[Options]) -> None:
        tensorflow()
        import keras

        if isinstance(model, str | Path):
            model = load_keras(Path(model))
        if not isinstance(model, keras.Model):
            raise InputError(f"expected a keras.Model, got {type(model).__name__}")
        interface = Interface.of(options)
        super().__init__(KerasEngine(model, interface), interface)

    @property
    def model(self) -> Any:
        """The Keras model behind it."""
        return self._own.model

    @property
    def _own(self) -> KerasEngine:
        return cast(KerasEngine, self._engine)

    def randomised(self, seed: int = 0, layers: Sequence[str] | None = None) -> Self:
        """See `Classifier`; a copy that nobody uses any more is used again, for its graphs are costly to trace."""
        found = super().randomised(seed, layers)
        weakref.finalize(found, self._own.spare.append, found._own).atexit = False
        return found

    def export(self, x: Tensor) -> torch.export.ExportedProgram:
        """The model, computed by torch, as one graph; see `TorchClassifier.export`.

        Raises `UnsupportedError` for layers whose torch form is not known.
        """
        return traced(self._own.twin(), self._interface, self._read(x))

    def entering(self, x: Tensor, layer: str) -> Tensor:
        """What enters a layer for a batch, as the model itself lays it out."""
        return self._own.entering(self._read(x), layer)


class KerasEngine:
    """Runs a Keras model in graphs, one for each question, traced when first asked."""

    framework = "keras"
    dtype = torch.float32

    def __init__(self, model: Any, interface: Interface) -> None:
        if any(getattr(layer, "stateful", False) is True for layer in model._flatten_layers()):
            raise UnsupportedError("a stateful recurrent layer changes whenever it runs: expected stateful=False")
        self.model = model
        self._interface = interface
        native = native_shape(model)
        self._layout = Layout(interface, native, stated_layout(model, native))
        self._head = Head(interface)
        self._functions: dict[tuple[str, ...], Any] = {}
        self._shapes: dict[tuple[Any, ...], tuple[int, ...]] = {}
        self._embedding: str | None = None
        self._attention: list[tuple[str, int]] = []
        self._started = False
        self.spare: list[KerasEngine] = []
        """Over copies of the model that were randomised and are free again."""

    @property
    def vocabulary(self) -> int | None:
        """Rows of the token embedding, once it is known."""
        return None if self._embedding is None else int(named_layers(self.model)[self._embedding].input_dim)

    @property
    def input_shape(self) -> tuple[int | None, ...] | None:
        """Read from the model's input, where it is known before the model has run."""
        return self._layout.input_shape

    @property
    def device(self) -> torch.device:
        """Memory is shared on the CPU."""
        return torch.device("cpu")

    def to(self, device: torch.device) -> None:
        """Keras models stay on the CPU."""
        if device.type != "cpu":
            raise UnsupportedError(
                f"a Keras model shares memory with torch on the CPU only: expected cpu, got {device}"
            )

    @property
    def layers(self) -> tuple[str, ...]:
        """Paths of the layers, nested ones below their model."""
        return tuple(named_layers(self.model))

    @property
    def limits(self) -> Mapping[Capability, str]:
        """What this model lacks."""
        limits = {Capability.TORCH_MODULE: "the model runs in TensorFlow, where torch hooks see nothing"}
        if self._head.kind == "probabilities":
            limits[Capability.LOGITS] = LOG_PROBABILITIES
        if not any(isinstance(layer, attention_kinds()) for layer in named_layers(self.model).values()):
            limits[Capability.ATTENTION] = "the model has no attention layer that can be observed"
        if self._interface.task != "text":
            limits[Capability.EMBEDDINGS] = "the inputs are not token ids"
        elif not self._embeddings() or (self._started and self._embedding is None):
            limits[Capability.EMBEDDINGS] = "no Embedding layer takes the token ids"
        return limits

    def candidates(self) -> Iterator[tuple[int | None, ...]]:
        """None: a model that has not run says nothing."""
        return iter(())

    def state(self) -> Iterator[tuple[str, np.ndarray]]:
        """All weights by their place, for names count up in a process."""
        for index, variable in enumerate(self.model.weights):
            yield f"{index:05d} {variable.name}", np.asarray(variable.numpy())

    def description(self) -> str:
        """Layers and their configuration."""
        return describe_keras(self.model)

    def footprint(self, x: Tensor) -> int:
        """Bytes of the outputs of all layers whose shape is known, twice: activations have outputs of their own."""
        outputs = (layer.output for layer in with_output(self.model))
        shapes = [tuple(output.shape[1:]) for output in outputs if hasattr(output, "shape")]
        free = int(x.shape[-1])  # a length that the model leaves open
        return 8 * sum(math.prod(free if size is None else int(size) for size in shape) for shape in shapes)

    def randomised(self, seed: int, layers: Sequence[str] | None) -> KerasEngine:
        """Over a copy of the model, whose outputs are read as this one's are."""
        try:
            found = self.spare.pop()
        except IndexError:
            kind = self._head.kind
            known = replace(self._interface, outputs=kind) if kind in ("logits", "probabilities") else self._interface
            found = KerasEngine(cloned_keras(self.model), known)
        redraw_keras(found.model, self.model, seed, layers)
        return found

    def logits(self, x: Tensor, embeddings: Tensor | None) -> Tensor:
        """One pass, with the embeddings replaced if given."""
        x = self._start(x)
        if embeddings is None:
            return self._function("logits", lambda: Bridge(self._graph))(x)
        return self._function("embedded", lambda: Bridge(self._embedded))(embeddings, x)

    def twin(self) -> KerasTwin:
        """The same network in torch."""
        return KerasTwin(self.model, self._layout)

    def embed(self, x: Tensor) -> Tensor:
        """Output of the embedding that the token ids enter."""
        return self.activations(x, self._token_embedding(x)).detach()

    def loss_gradient(
        self, x: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor], embeddings: Tensor | None
    ) -> LossGradient:
        """One pass in one graph."""
        x = self._start(x)
        if self._interface.task != "text":
            return self._function("loss", lambda: LossBridge(self._graph, self._layout.outward))(loss, y, x)
        embeddings = self.embed(x) if embeddings is None else embeddings
        return self._function("embedded loss", lambda: LossBridge(self._embedded))(loss, y, embeddings, x)

    def activations(self, x: Tensor, layer: str) -> Tensor:
        """A graph that ends at the layer."""
        x = self._start(x)

        def call(x: Any) -> Any:
            tap = self._tap(layer)
            self._graph(x, tap)
            return tap.output

        return self._function("activations", lambda: Bridge(call), layer)(x)

    def entering(self, x: Tensor, layer: str) -> Tensor:
        """A graph that ends before the layer."""
        x = self._start(x)

        def call(x: Any) -> Any:
            entered: list[Any] = []

            def note(call: Any, args: Any, kwargs: Any) -> Any:
                entered.append(args[0] if args else next(iter(kwargs.values())))
                return call(*args, **kwargs)

            with tapped_calls([(named_layers(self.model)[layer], note)]):
                self._graph(x)
            return tensorflow().cast(entered[-1], "float32")

        return self._function("entering", lambda: Bridge(call), layer)(x)

    def activation_gradient(self, x: Tensor, layer: str, y: Tensor) -> LossGradient:
        """A graph whose tape starts at the layer."""
        x = self._start(x)
        tf = tensorflow()

        def call(x: Any, y: Any) -> Any:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tap = self._tap(layer, watch=tape.watch)
                logits = self._graph(x, tap)
                chosen = tf.gather(logits, y, axis=1, batch_dims=1)
            gradient = tape.gradient(chosen, tap.native)
            if gradient is None:
                raise UnsupportedError(
                    f"gradients cannot be taken: the logits do not depend on the output of layer {layer!r}"
                )
            return chosen, tap.outward(gradient), logits

        function = self._function("activation gradient", lambda: compiled(call), layer)
        with one_line(x):
            return LossGradient(*map(to_torch, function(to_tensorflow(x), to_tensorflow(y))))

    def logits_from(self, x: Tensor, layer: str, activations: Tensor) -> Tensor:
        """A graph that starts at the layer, beside whatever goes around it."""
        shape = (len(x), *self._output_shape(x, layer))
        if activations.shape != shape:
            raise InputError(f"expected activations of layer {layer!r} as {shape}, got {tuple(activations.shape)}")
        x = self._start(x)

        def call(replacement: Any, x: Any) -> Any:
            return self._graph(x, self._tap(layer, replacement=replacement))

        return self._function("logits from", lambda: Bridge(call), layer)(activations.to(self.dtype), x)

    def attention(self, x: Tensor) -> dict[str, Tensor]:
        """A graph for each use of an attention layer."""
        x = self._start(x)
        bridges = {
            use: self._function("attention", lambda i=i: Bridge(lambda x: self._attended(x)[1][i]), str(i))  # type: ignore[misc]
            for i, use in enumerate(self._attention)
        }
        return {use_name(*use): by_head(bridge(x)) for use, bridge in bridges.items()}

    def attention_gradient(self, x: Tensor, y: Tensor) -> dict[str, AttentionGradient]:
        """One graph, differentiated symbolically at the weights in its middle."""
        usual, x = self.logits(x, None), self._start(x)
        tf = tensorflow()

        def call(x: Any, y: Any) -> Any:
            logits, weights = self._attended(x)
            chosen = tf.gather(logits, y, axis=1, batch_dims=1)
            zero = tf.UnconnectedGradients.ZERO
            return logits, weights, tf.gradients(chosen, weights, unconnected_gradients=zero)

        function = self._function("attention gradient", lambda: compiled(call))
        with one_line(x):
            logits, *pairs = function(to_tensorflow(x), to_tensorflow(y))
        if not torch.allclose(to_torch(logits), usual, rtol=1e-3, atol=1e-4):
            raise UnsupportedError(
                "attention cannot be observed: Keras gives other logits when it forms the weights, as where a query may"
                " attend to no key"
            )
        return {
            use_name(*use): AttentionGradient(*(by_head(to_torch(value)) for value in pair))
            for use, *pair in zip(self._attention, *pairs, strict=True)
        }

    def _attended(self, x: Any) -> tuple[Any, list[Any]]:
        """Logits, and the weights of each use of an attention layer, as they are traced."""
        layers = named_layers(self.model)
        scores: dict[str, list[Any]] = {layer: [] for layer, _ in self._attention}
        with tapped_calls([(layers[layer], recorder(found)) for layer, found in scores.items()]):
            logits = self._graph(x)
        return logits, [scores[layer][use] for layer, use in self._attention]

    def _graph(self, x: Any, tap: LayerTap | None = None) -> Any:
        """From a batch in input units to logits, as it is traced."""
        with tracing(self.model), nullcontext() if tap is None else tapped_calls([(tap.layer, tap)]):
            output = self._call(x)
        if tap is not None:
            tap.check()
        return self._head(output)

    def _call(self, x: Any) -> Any:
        names = getattr(self.model, "output_names", ())
        return classifying(self.model(self._layout.prepare(x), training=False), names)

    def _tap(self, name: str, **what: Any) -> LayerTap:
        return LayerTap(name, named_layers(self.model)[name], self._layout.channels_last, **what)

    def _embedded(self, embeddings: Any, x: Any) -> Any:
        return self._graph(x, self._tap(self._token_embedding(None), replacement=embeddings))

    def _output_shape(self, x: Tensor, layer: str) -> tuple[int, ...]:
        key = (layer, tuple(x.shape[1:]))
        if key not in self._shapes:
            self._shapes[key] = tuple(self.activations(x[:1], layer).shape[1:])
        return self._shapes[key]

    def _function(self, kind: str, make: Callable[[], Any], *place: str) -> Any:
        key = (kind, *place)
        if key not in self._functions:
            self._functions[key] = make()
        return self._functions[key]

    def _embeddings(self) -> list[str]:
        from keras import layers

        return [name for name, layer in named_layers(self.model).items() if isinstance(layer, layers.Embedding)]

    def _token_embedding(self, x: Tensor | None) -> str:
        if x is not None:
            self._start(x)
        if self._embedding is None:
            raise UnsupportedError("embeddings cannot be read: no Embedding layer takes the token ids")
        return self._embedding

    def _start(self, x: Tensor) -> Tensor:
        """The batch in the model's own order of axes; the first one is run outside any graph.

        That run builds what is not built yet, and shows which embeddings and attention layers run, and on what.
        """
        if not self._started:
            with one_line(x):
                self._first_run(self._layout.inward(x))
        return self._layout.inward(x)

    def _first_run(self, x: Tensor) -> None:
        tokens = x.detach().numpy() if self._interface.task == "text" else None
        layers = named_layers(self.model)
        uses: list[str] = []
        entered: list[str] = []

        def note_embedding(name: str) -> Any:
            def tap(call: Any, args: Any, kwargs: Any) -> Any:
                ids = args[0] if args else next(iter(kwargs.values()))
                if tokens is not None and tuple(ids.shape) == tokens.shape and bool((np.asarray(ids) == tokens).all()):
                    entered.append(name)
                return call(*args, **kwargs)

            return tap

        def note_attention(name: str) -> Any:
            def tap(call: Any, args: Any, kwargs: Any) -> Any:
                uses.append(name)
                return call(*args, **kwargs)

            return tap

        taps = [(layers[name], note_embedding(name)) for name in self._embeddings()]
        taps += [
            (layer, note_attention(name)) for name, layer in layers.items() if isinstance(layer, attention_kinds())
        ]
        with tracing(self.model), tapped_calls(taps):
            output = self._call(to_tensorflow(x))
        self._head.learn(to_torch(output))
        self._embedding = next(iter(entered), None)
        self._attention = [(name, uses[:index].count(name)) for index, name in enumerate(uses)]
        self._started = True
