"""Training a torch module; devices and mixed precision by `accelerate`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError
from xaibench.rng import SampleRng, derive_seed
from xaibench.threats import Threat
from xaibench.training.learner import Normalisation, StepResult, as_outputs, classifier_options, is_decayed
from xaibench.training.objectives import Objective
from xaibench.training.processes import Processes
from xaibench.training.recipe import Recipe
from xaibench.training.shift import Shift
from xaibench.training.torch_forward import TorchForward
from xaibench.types import Bounds, Classifier

__all__ = ["TorchLearner"]

_UNIT_BOX = Bounds()


class TorchLearner:
    """A `Learner` over an `nn.Module` that takes normalised inputs."""

    weights_file = "model.safetensors"

    def __init__(
        self, module: nn.Module, recipe: Recipe, normalise: Normalisation, bounds: Bounds = _UNIT_BOX, **options: Any
    ) -> None:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState

        if recipe.precision == "fp16" and not torch.cuda.is_available():
            raise InputError("expected `precision` as 'no' or 'bf16' without a GPU, got 'fp16'")
        AcceleratorState._reset_state()  # a process may train several models, each at its own precision
        self._accelerator = Accelerator(mixed_precision=recipe.precision)
        self._processes = Processes(self._accelerator)
        self._device = self._accelerator.device
        self._recipe = recipe
        self._format = torch.channels_last if recipe.channels_last else torch.contiguous_format
        _freeze(module, recipe.freeze)
        module = module.to(self._device).to(memory_format=self._format)  # type: ignore[call-overload]  # missing in the stubs
        self._processes.follow_first(module.state_dict().values())
        self._normalise, self.bounds = normalise, bounds
        self._average = {k: v.clone() for k, v in module.state_dict().items()} if recipe.ema else None
        self._updates = 0
        self._zeros = _zeros_of(module.parameters()) if recipe.keep_zeros else []
        self._module = module
        self._still = [part for part in module.modules() if _is_still(part)]
        self._training = False
        # Single inputs' gradients are small in fp16, whose least number is 6e-8: a power of two changes nothing else.
        self._attack_scale = 1024.0 if recipe.precision == "fp16" else 1.0
        self._memory: dict[str, Tensor] = {}
        self._shift = Shift(module)
        self.classifier = TorchClassifier(module, **classifier_options(normalise, bounds, options))
        # Mixed precision alone: a wrapper that adds up gradients during a backward pass would take the attack's too.
        self._accelerator.prepare_model(module, evaluation_mode=True)
        self._optimizer = self._accelerator.prepare_optimizer(_optimizer(module, recipe))

    @property
    def is_main(self) -> bool:
        """Whether this is the first of the processes that `accelerate launch` started."""
        return self._processes.is_main

    def wait(self) -> None:
        """A barrier over those processes."""
        self._processes.wait()

    def agreed(self, figures: dict[str, Any]) -> dict[str, Any]:
        """Those of the first process."""
        return self._processes.agreed(figures)

    def _forward(self, x: Tensor, shift: Tensor | None = None) -> tuple[Tensor, ...]:
        x = x.to(self._device, non_blocking=True)
        if x.is_floating_point():
            x = self._normalise(x)
        x = x.contiguous(memory_format=self._format) if x.ndim == 4 else x
        with self._shift.of(shift):
            outputs = self._module(x)
        return as_outputs(*outputs) if isinstance(outputs, tuple) else as_outputs(outputs)

    def _attack_mode(self) -> None:
        """The mode of attacks, until the next training pass: an attack's steps switch once."""
        if self._recipe.attack_mode == "eval" and self._training:
            self._module.eval()
            self._training = False

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
        """One optimiser step on the mean loss over ``batches``, each shared by all processes."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._train_mode()
        self._optimizer.zero_grad()
        total = StepResult()
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(seed + self._processes.index)
            for index, (x, y) in enumerate(batches):
                rows, part = self._processes.share(len(y))
                inputs, labels = (x, y) if part == 1 else (x[rows], y[rows])
                inputs, labels = inputs.to(self._device), labels.to(self._device)
                rng = SampleRng(rows.to(self._device), derive_seed(seed, index), "objective")
                forward = TorchForward(self, rng, progress, threat, part)
                with forward.ascended:
                    result = objective.loss(forward, inputs, objective.perturb(forward, inputs, labels), labels)
                    self._accelerator.backward(result.loss * part / len(batches))
                if part:
                    total.add(result, labels)
        self._processes.add_up(p.grad for p in self._module.parameters() if p.grad is not None)
        if self._recipe.clip_norm is not None:
            self._accelerator.clip_grad_norm_(self._module.parameters(), self._recipe.clip_norm)
        self._optimizer.step()
        for parameter, zeros in self._zeros:
            parameter.data.masked_fill_(zeros, 0.0)
        self._processes.follow_first(buffer for buffer in self._module.buffers() if buffer.is_floating_point())
        self._follow()
        return self._summed(total)

    def _summed(self, result: StepResult) -> StepResult:
        """The sums over all processes."""
        if self._processes.count == 1:
            return result
        parts = torch.tensor([result.loss, result.correct, result.count], dtype=torch.float64, device=self._device)
        self._processes.add_up([parts])
        loss, correct, count = parts.tolist()
        return StepResult(loss, int(correct), int(count))

    def _resume_training(self) -> None:
        if not self._training:
            self._train_mode()

    def _train_mode(self) -> None:
        self._module.train()
        for module in self._still:
            module.eval()  # frozen batch norm keeps its running statistics too
        self._training = True

    @torch.no_grad()
    def _follow(self) -> None:
        if self._average is None:
            return
        self._updates += 1
        decay = min(self._recipe.ema or 0.0, (1 + self._updates) / (10 + self._updates))
        live = self._module.state_dict()
        moving = [name for name, value in live.items() if value.is_floating_point()]
        torch._foreach_lerp_([self._average[name] for name in moving], [live[name] for name in moving], 1 - decay)
        for name in live.keys() - set(moving):
            self._average[name].copy_(live[name])

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        if self._average is None:
            yield
            return
        live = {k: v.clone() for k, v in self._module.state_dict().items()}
        self._module.load_state_dict(self._average)
        try:
            yield
        finally:
            self._module.load_state_dict(live)

    @contextmanager
    def averaged(self) -> Iterator[Classifier]:
        """The classifier with the averaged weights."""
        with self._averaged():
            yield self.classifier

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Logits (n, classes) on the CPU."""
        self._module.eval()
        self._training = False
        with self._averaged():
            return self._forward(x)[0].float().cpu()

    def weights(self) -> dict[str, Tensor]:
        """A copy on the CPU of weights and buffers."""
        source = self._average if self._average is not None else self._module.state_dict()
        return {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in source.items()}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Set weights and buffers, and the average with them."""
        self._module.load_state_dict(dict(weights))
        if self._average is not None:
            self._average = {k: v.clone() for k, v in self._module.state_dict().items()}

    def state(self) -> dict[str, Tensor]:
        """Weights, average, and optimiser state by position."""
        state = {f"weights.{k}": v for k, v in self._module.state_dict().items()}
        state |= {f"average.{k}": v for k, v in (self._average or {}).items()}
        for index, slots in self._optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in slots.items() if v is not None}
        state |= {f"memory.{k}": v for k, v in self._memory.items()}
        state["updates"] = torch.tensor(self._updates)
        scaler = self._accelerator.scaler
        if scaler is not None:
            values = scaler.state_dict()
            state |= {f"scaler.{k}": torch.tensor(v, dtype=torch.float64) for k, v in values.items()}
        return {k: v.detach().cpu().contiguous().clone() for k, v in state.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a state."""
        self._module.load_state_dict(_under(state, "weights."))
        if self._average is not None:
            self._average = {k: v.to(self._device) for k, v in _under(state, "average.").items()}
        self._memory = {k: v.to(self._device) for k, v in _under(state, "memory.").items()}
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in _under(state, "optimizer.").items():
            index, _, name = key.partition(".")
            slots.setdefault(int(index), {})[name] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": slots, "param_groups": groups})
        self._updates = int(state["updates"])
        scaler = self._accelerator.scaler
        if scaler is not None:
            values = {k: v.item() for k, v in _under(state, "scaler.").items()}
            integers = {k: int(values[k]) for k in ("growth_interval", "_growth_tracker")}
            scaler.load_state_dict(values | integers)

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        from safetensors.torch import save_file

        save_file(self.weights(), path)


def _is_still(module: nn.Module) -> bool:
    parameters = list(module.parameters(recurse=False))
    return bool(parameters) and not any(p.requires_grad for p in parameters)


def _zeros_of(parameters: Iterable[nn.Parameter]) -> list[tuple[nn.Parameter, Tensor]]:
    """Matrices and kernels, each with where it is zero."""
    return [(p, p.detach() == 0) for p in parameters if is_decayed(tuple(p.shape))]


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _freeze(module: nn.Module, patterns: tuple[str, ...]) -> None:
    names = [name for name, _ in module.named_parameters()]
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise InputError(
                f"expected `freeze` patterns that match parameters, got {pattern!r}; there are: {', '.join(names)}"
            )
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(not any(fnmatch(name, pattern) for pattern in patterns))
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise InputError(f"expected `freeze` to leave something to train, got {', '.join(patterns)}")


def _optimizer(module: nn.Module, recipe: Recipe) -> Any:
    config = recipe.optimizer
    moving = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in moving if is_decayed(tuple(p.shape))], "weight_decay": config.weight_decay},
        {"params": [p for p in moving if not is_decayed(tuple(p.shape))], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    match config.name:
        case "sgd":
            return torch.optim.SGD(groups, config.learning_rate, momentum=config.momentum, nesterov=config.nesterov)
        case "adam":
            return torch.optim.Adam(groups, config.learning_rate)
        case "adamw":
            return torch.optim.AdamW(groups, config.learning_rate)
        case "rmsprop":
            return torch.optim.RMSprop(groups, config.learning_rate, alpha=0.9, momentum=config.momentum)
