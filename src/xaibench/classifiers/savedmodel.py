"""A TensorFlow SavedModel as a classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from xaibench.classifiers.base import ModelClassifier
from xaibench.classifiers.bridge import Bridge, LossBridge, one_line, to_tensorflow, to_torch
from xaibench.classifiers.engine import Engine
from xaibench.classifiers.graph import Head, Layout, before_squash
from xaibench.classifiers.interface import Interface, Options
from xaibench.classifiers.outputs import LOG_PROBABILITIES
from xaibench.classifiers.runtime import tensorflow
from xaibench.errors import InputError, UnsupportedError, first_line
from xaibench.files import file_digest
from xaibench.types import Capability, LossGradient

__all__ = ["SavedModelClassifier"]

_SIGNATURE = "serving_default"
_REASON = "a SavedModel is one graph without layers"
_LACKS = {
    Capability.ACTIVATIONS: _REASON,
    Capability.ATTENTION: _REASON,
    Capability.EMBEDDINGS: _REASON,
    Capability.WEIGHTS: "they are constants of the graph",
    Capability.TORCH_MODULE: "the model runs in TensorFlow, where torch hooks see nothing",
}
_OUTSIDE = {
    *("EagerPyFunc", "PyFunc", "PyFuncStateless", "MatchingFiles", "ReadFile", "WriteFile"),
    *("FixedLengthRecordReaderV2", "TFRecordReaderV2", "TextLineReaderV2", "WholeFileReaderV2"),
}
_SAVING = {"MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"}


class SavedModelClassifier(ModelClassifier):
    """The ``serving_default`` signature of a SavedModel folder: one input, whose first output classifies.

    Graphs that reach out to files or to Python are refused.
    """

    def __init__(self, path: str | Path, **options: Unpack[Options]) -> None:
        interface = Interface.of(options)
        super().__init__(_SavedEngine(Path(path), interface), interface)


class _SavedEngine:
    framework = "savedmodel"
    dtype = torch.float32
    vocabulary = None
    device = torch.device("cpu")
    layers = ()

    def __init__(self, path: Path, interface: Interface) -> None:
        self._function = _load(path)
        # Not the graph as it is loaded: the order of its nodes differs from process to process.
        files = [path / "saved_model.pb", *sorted((path / "variables").glob("*"))]
        self._files = [(file.name, file_digest(file)) for file in files]
        shape = self._function.inputs[0].shape
        self._layout = Layout(interface, None if shape.rank is None else tuple(shape[1:].as_list()))
        self._head = Head(interface)
        self._run = _until_logits(self._function, interface.outputs)
        self._logits, self._loss = Bridge(self._graph), LossBridge(self._graph, self._layout.outward)
        self._started = False

    @property
    def input_shape(self) -> tuple[int | None, ...] | None:
        return self._layout.input_shape

    @property
    def limits(self) -> Mapping[Capability, str]:
        limits = dict(_LACKS)
        if self._head.kind == "probabilities":
            limits[Capability.LOGITS] = LOG_PROBABILITIES
        return limits

    def candidates(self) -> Iterator[tuple[int | None, ...]]:
        return iter(())

    def state(self) -> Iterator[tuple[str, np.ndarray]]:
        for name, digest in self._files:
            yield name, np.frombuffer(bytes.fromhex(digest), dtype=np.uint8)

    def description(self) -> str:
        return "the graph is part of the state"

    def footprint(self, x: Tensor) -> int:
        """A guess, for the graph does not tell its shapes."""
        return 64 * x.numel() * x.element_size() + 2**18

    def randomised(self, seed: int, layers: Sequence[str] | None) -> Engine:
        raise UnsupportedError(_LACKS[Capability.WEIGHTS])

    def to(self, device: torch.device) -> None:
        if device.type != "cpu":
            raise UnsupportedError(f"a SavedModel shares memory with torch on the CPU only: expected cpu, got {device}")

    def logits(self, x: Tensor, embeddings: Tensor | None) -> Tensor:
        return self._logits(self._start(x))

    def loss_gradient(
        self,
        x: Tensor,
        y: Tensor,
        loss: Callable[[Tensor, Tensor], Tensor],
        embeddings: Tensor | None,
    ) -> LossGradient:
        return self._loss(loss, y, self._start(x))

    def _start(self, x: Tensor) -> Tensor:
        inward = self._layout.inward(x)
        if not self._started:
            with one_line(x):
                self._head.learn(to_torch(self._run(self._native(to_tensorflow(inward)))))
            self._started = True
        return inward

    def _native(self, x: Any) -> Any:
        return tensorflow().cast(self._layout.prepare(x), self._function.inputs[0].dtype)

    def _graph(self, x: Any) -> Any:
        return self._head(self._run(self._native(x)))


def _load(path: Path) -> Any:
    """The signature as one graph with its variables as constants."""
    if not (path / "saved_model.pb").is_file():
        raise InputError(f"expected a SavedModel folder with saved_model.pb at {path}, got none")
    tf = tensorflow()
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        proto = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise InputError(f"expected a whole SavedModel at {path}, got: {first_line(error)}") from None
    for meta in proto.meta_graphs:
        nodes = [*meta.graph_def.node, *(node for part in meta.graph_def.library.function for node in part.node_def)]
        _refuse(nodes, _OUTSIDE, path)
    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures[_SIGNATURE]
    except KeyError:
        raise InputError(f"expected a signature {_SIGNATURE!r} in {path}, got none") from None
    except (tf.errors.OpError, OSError, ValueError) as error:
        raise InputError(f"expected a whole SavedModel at {path}, got: {first_line(error)}") from None
    frozen = convert_variables_to_constants_v2(signature)
    _refuse(frozen.graph.as_graph_def().node, _SAVING, path)
    if len(frozen.inputs) != 1:
        raise UnsupportedError(f"the SavedModel takes {len(frozen.inputs)} inputs: expected one")
    return frozen


def _refuse(nodes: Any, operations: set[str], path: Path) -> None:
    found = next((node.op for node in nodes if node.op in operations), None)
    if found is not None:
        raise InputError(f"expected a graph without access to files and Python in {path}, got the operation {found}")


def _until_logits(function: Any, outputs: str) -> Callable[[Any], Any]:
    """The graph up to what goes into its last softmax or sigmoid, or to its output if it ends otherwise."""
    end = function.outputs[0]
    if outputs != "logits":
        with function.graph.as_default():
            before = before_squash(end)
        end = end if before is None else before
    pruned = function.prune(function.inputs, [end])
    return lambda x: pruned(x)[0]
