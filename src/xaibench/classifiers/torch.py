"""Any `torch.nn.Module` as a classifier."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from types import MappingProxyType
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from xaibench.classifiers.base import ModelClassifier
from xaibench.classifiers.description import describe_torch
from xaibench.classifiers.footprint import recorded_bytes
from xaibench.classifiers.interface import Interface, Options
from xaibench.classifiers.outputs import LOG_PROBABILITIES, OutputReader
from xaibench.classifiers.patching import analysis, tapped
from xaibench.classifiers.redraw import redrawn_module
from xaibench.classifiers.torch_attention import attention_layers, noticed_attention, recorded_attention
from xaibench.classifiers.tracing import frozen, traced
from xaibench.errors import InputError, UnsupportedError, first_line
from xaibench.types import AttentionGradient, Capability, LossGradient

__all__ = ["TorchClassifier", "TorchEngine", "to_numpy"]

_SIDES = (28, 32, 8, 64, 16, 96, 128, 224)


class TorchClassifier(ModelClassifier):
    """Any `torch.nn.Module` that maps a batch to logits, probabilities or a single unit.

    >>> model = TorchClassifier(nn.Linear(2, 3), task="tabular", bounds=(-1, 1))
    >>> model.logits(torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """

    def __init__(self, module: nn.Module, **options: Unpack[Options]) -> None:
        if not isinstance(module, nn.Module):
            raise InputError(f"expected a torch.nn.Module, got {type(module).__name__}")
        interface = Interface.of(options)
        super().__init__(TorchEngine(module, interface), interface)

    @property
    def module(self) -> nn.Module:
        """The module behind it."""
        return cast(TorchEngine, self._engine).module

    def double(self) -> TorchClassifier:
        """A copy that computes in float64."""
        return TorchClassifier(copy.deepcopy(self.module).double(), **cast(Options, vars(self._interface)))

    def analysis(self) -> AbstractContextManager[nn.Module]:
        """The module itself, in the state that every analysis sees it in: for methods that set hooks of their own."""
        return analysis(self.module)

    def export(self, x: Tensor) -> torch.export.ExportedProgram:
        """The model as one graph of core ATen operators, from a batch of the shape of ``x``, in input units.

        It ends in what the module returns, before that is read as logits. Raises `UnsupportedError` where the module
        cannot be traced.
        """
        return traced(self.module, self._interface, self._read(x))


class TorchEngine:
    """Runs a module with hooks that come and go; ``lacks`` names what cannot be asked of it, and why."""

    def __init__(
        self,
        module: nn.Module,
        interface: Interface,
        *,
        framework: str = "torch",
        input_shape: tuple[int | None, ...] | None = None,
        lacks: Mapping[Capability, str] = MappingProxyType({}),
    ) -> None:
        self.module = module
        self.framework = framework
        self.input_shape = input_shape
        self._lacks = lacks
        self._interface = interface
        self._outputs = OutputReader(interface.outputs)
        self._embedding: str | None = None
        self._searched = interface.task != "text"
        self._mutates_input: bool | None = None
        self._attends = True if attention_layers(module) else None
        self._embeddings = {name: part for name, part in module.named_modules() if isinstance(part, nn.Embedding)}
        if any(part.max_norm is not None for part in self._embeddings.values()):
            raise UnsupportedError("an embedding with max_norm changes its weights whenever it runs: expected none")

    @property
    def dtype(self) -> torch.dtype:
        """Of the first floating-point parameter."""
        floats = (value.dtype for value in self._tensors() if value.is_floating_point())
        return next(floats, torch.get_default_dtype())

    @property
    def device(self) -> torch.device:
        """Of the first parameter."""
        return next((value.device for value in self._tensors()), torch.device("cpu"))

    @property
    def vocabulary(self) -> int | None:
        """Rows of the token embedding, once it is known."""
        return None if self._embedding is None else self._embeddings[self._embedding].num_embeddings

    @property
    def layers(self) -> tuple[str, ...]:
        """Every submodule that can run; lists and dictionaries of modules cannot."""
        if Capability.ACTIVATIONS in self._lacks:
            return ()
        return tuple(
            name
            for name, part in self.module.named_modules()
            if name and not isinstance(part, nn.ModuleList | nn.ModuleDict)
        )

    @property
    def limits(self) -> Mapping[Capability, str]:
        """What this module lacks."""
        limits: dict[Capability, str] = {}
        if self._outputs.kind == "probabilities":
            limits[Capability.LOGITS] = LOG_PROBABILITIES
        if not self._attends:
            limits[Capability.ATTENTION] = "the model has no attention layer that can be observed"
        if self._interface.task != "text":
            limits[Capability.EMBEDDINGS] = "the inputs are not token ids"
        elif self._searched and self._embedding is None:
            limits[Capability.EMBEDDINGS] = "no nn.Embedding takes the token ids"
        return {**limits, **self._lacks}

    def candidates(self) -> Iterator[tuple[int | None, ...]]:
        """Shapes that the first layer with a known width might take."""
        widths = (nn.Linear, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d)
        first = next((part for part in self.module.modules() if isinstance(part, widths)), None)
        if self._interface.task == "text":
            yield (16,)
        elif self._interface.task == "tabular" and isinstance(first, nn.Linear):
            yield (first.in_features,)
        elif self._interface.task == "image" and isinstance(first, nn.Conv2d):
            yield from ((first.in_channels, side, side) for side in _SIDES)
        elif self._interface.task == "image" and isinstance(first, nn.Linear):
            sides = (round((first.in_features / channels) ** 0.5) for channels in (1, 3))
            yield from ((channels, side, side) for channels, side in zip((1, 3), sides, strict=True))

    def state(self) -> Iterator[tuple[str, np.ndarray]]:
        """Parameters and buffers."""
        with analysis(self.module):  # another thread's analysis may have put others in their places
            values = (*self.module.named_parameters(), *self.module.named_buffers())
        for name, value in values:
            yield name, to_numpy(value)

    def description(self) -> str:
        """Parts and their settings."""
        return describe_torch(self.module)

    def randomised(self, seed: int, layers: Sequence[str] | None) -> TorchEngine:
        """Over a copy of the module; what was found out about this one holds there too."""
        found = copy.copy(self)
        found._outputs = copy.copy(self._outputs)
        found.module = redrawn_module(self.module, seed, layers)
        parts = dict(found.module.named_modules())
        found._embeddings = {name: cast(nn.Embedding, parts[name]) for name in self._embeddings}
        return found

    def to(self, device: torch.device) -> None:
        """Move the module."""
        self.module.to(device)

    def logits(self, x: Tensor, embeddings: Tensor | None) -> Tensor:
        """One pass, with the embeddings replaced if given."""
        with analysis(self.module):
            self._find_embedding(x)
            tap = nullcontext() if embeddings is None else self._replaced_embeddings(embeddings)
            with tap:
                if self._attends is not None:
                    return self._pass(x)
                with noticed_attention(self.module) as seen:
                    logits = self._pass(x)
                self._attends = bool(seen)
                return logits

    def quick(self, x: Tensor) -> Callable[[Tensor], Tensor] | None:
        """A frozen copy for batches shaped like ``x``, if the module gives plain logits on a CPU."""
        if x.is_cuda or self._interface.task == "text" or self._outputs.kind != "logits":
            return None
        return frozen(self.module, self._interface, x)

    def footprint(self, x: Tensor) -> int:
        """Bytes of the results of all operations in a forward pass."""
        return recorded_bytes(lambda: self.logits(x, None))

    def embed(self, x: Tensor) -> Tensor:
        """Rows of the embedding that the token ids enter."""
        with analysis(self.module):
            return self.module.get_submodule(self._find_embedding(x))(x)

    def loss_gradient(
        self, x: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor], embeddings: Tensor | None
    ) -> LossGradient:
        """One forward and one backward pass."""
        text = self._interface.task == "text"
        start = (self.embed(x) if embeddings is None else embeddings) if text else x
        with torch.enable_grad():
            point = start.detach().requires_grad_()
            logits = self.logits(x, point) if text else self.logits(point, None)
            losses = loss(logits, y)
            gradient = _gradient(losses.sum(), point, "the input").contiguous()
        return LossGradient(losses.detach(), gradient, logits.detach())

    def activations(self, x: Tensor, layer: str) -> Tensor:
        """A copy of the layer's output, for later layers may work in place."""
        kept: list[Tensor] = []

        def keep(output: Tensor) -> Tensor:
            kept.append(output.clone())
            return output

        with analysis(self.module), tapped(self.module, layer, keep):
            self._pass(x)
        return kept[0]

    def activation_gradient(self, x: Tensor, layer: str, y: Tensor) -> LossGradient:
        """One pass in which the layer's output starts the graph."""
        points: list[Tensor] = []

        def start(output: Tensor) -> Tensor:
            points.append(output.detach().requires_grad_())
            return points[0].clone()

        with torch.enable_grad(), analysis(self.module):
            with tapped(self.module, layer, start):
                logits = self._pass(x.detach())
            chosen = logits.gather(1, y[:, None]).squeeze(1)
            gradient = _gradient(chosen.sum(), points[0], f"the output of layer {layer!r}")
        return LossGradient(chosen.detach(), gradient, logits.detach())

    def logits_from(self, x: Tensor, layer: str, activations: Tensor) -> Tensor:
        """One pass in which the layer's output is another."""

        def replace(output: Tensor) -> Tensor:
            if output.shape != activations.shape:
                raise InputError(
                    f"expected activations of layer {layer!r} as {tuple(output.shape)}, got {tuple(activations.shape)}"
                )
            return activations.to(output.dtype).clone()

        with analysis(self.module), tapped(self.module, layer, replace):
            return self._pass(x)

    def attention(self, x: Tensor) -> dict[str, Tensor]:
        """One pass with every attention layer recorded."""
        with analysis(self.module), recorded_attention(self.module) as weights:
            self._pass(x)
        return dict(weights)

    def attention_gradient(self, x: Tensor, y: Tensor) -> dict[str, AttentionGradient]:
        """One pass in which all attention weights take part in the graph."""
        with torch.enable_grad(), analysis(self.module), ExitStack() as stack:
            # Models that hand their weights out themselves need a graph that starts before.
            if embedding := self._find_embedding(x):
                stack.enter_context(tapped(self.module, embedding, lambda output: output.detach().requires_grad_()))
            elif x.is_floating_point():
                x = x.detach().requires_grad_()
            weights = stack.enter_context(recorded_attention(self.module, watch=True))
            chosen = self._pass(x).gather(1, y[:, None]).sum()
        for name, value in weights.items():
            if name in weights.apart or not value.requires_grad:
                raise UnsupportedError(
                    f"gradients of attention cannot be taken: layer {name!r} computes its weights beside the pass"
                )
        gradients = torch.autograd.grad(chosen, list(weights.values()), allow_unused=True, materialize_grads=True)
        pairs = zip(weights.items(), gradients, strict=True)
        return {name: AttentionGradient(value.detach(), gradient) for (name, value), gradient in pairs}

    def _pass(self, x: Tensor) -> Tensor:
        point = self._interface.normalise(x)
        with self._one_line(x):
            if point is not x or self._mutates_input is False:
                return self._outputs.read(lambda: self.module(point), len(x))
            point = x.clone()
            version = point._version
            logits = self._outputs.read(lambda: self.module(point), len(x))
            self._mutates_input = point._version != version
            return logits

    @contextmanager
    def _one_line(self, x: Tensor) -> Iterator[None]:
        """Whatever the module raises on a batch, as one line that states the batch's shape."""
        try:
            yield
        except (InputError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {first_line(error)}"
            if len(x) == 1 and (layer := _batch_normalised(self.module)):
                raise UnsupportedError(
                    "expected a model that is a function of one input, got one that normalises by the batch: "
                    f"layer {layer} keeps no running statistics ({what})"
                ) from error
            raise InputError(f"expected a batch that the model can run on, got {tuple(x.shape)}: {what}") from error

    def _replaced_embeddings(self, embeddings: Tensor) -> AbstractContextManager[None]:
        def replace(output: Tensor) -> Tensor:
            if output.shape != embeddings.shape:
                raise InputError(f"expected embeddings as {tuple(output.shape)}, got {tuple(embeddings.shape)}")
            return embeddings.clone()

        return tapped(self.module, self._embedding or "", replace)

    def _find_embedding(self, x: Tensor) -> str:
        """Name of the first embedding that the token ids themselves enter, none if there is none.

        Embeddings of positions and the like are passed over. One pass finds it, the first time.
        """
        if not self._searched and self._embeddings:
            entered: list[str] = []
            with ExitStack() as hooks, torch.no_grad():
                for name, part in self._embeddings.items():
                    handle = part.register_forward_pre_hook(
                        lambda _module, args, name=name: entered.append(name) if _same(args[0], x) else None
                    )
                    hooks.callback(handle.remove)
                self._pass(x)
            self._embedding = next(iter(entered), None)
        self._searched = True
        return self._embedding or ""

    def _tensors(self) -> Iterable[Tensor]:
        yield from self.module.parameters()
        yield from self.module.buffers()


def to_numpy(value: Tensor) -> np.ndarray:
    """The bytes of a tensor as an array; types that numpy lacks are seen as raw bytes."""
    value = value.detach().cpu().contiguous()
    if value.dtype in (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2):
        return value.reshape(-1).view(torch.uint8).numpy()
    return value.numpy()


def _gradient(total: Tensor, point: Tensor, what: str) -> Tensor:
    if total.requires_grad:
        (gradient,) = torch.autograd.grad(total, point, allow_unused=True)
        if gradient is not None:
            return gradient
    raise UnsupportedError(f"the logits do not depend on {what} through differentiable operations")


def _batch_normalised(module: nn.Module) -> str | None:
    """The first layer that takes its mean and variance from the batch also in evaluation, if there is one."""
    parts = ((name, part) for name, part in module.named_modules() if isinstance(part, nn.modules.batchnorm._BatchNorm))
    return next((f"{name!r} ({type(part).__name__})" for name, part in parts if part.running_mean is None), None)


def _same(a: object, b: Tensor) -> bool:
    return isinstance(a, Tensor) and a.shape == b.shape and bool((a == b).all())
