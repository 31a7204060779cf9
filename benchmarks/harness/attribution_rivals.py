"""Other libraries' explainers, called as their documentation does, on inputs in input units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["RIVALS", "Rival", "Setting"]


@dataclass
class Setting:
    """What is explained: a module, inputs (n, ...) it takes, classes (n,), a baseline, and groups of elements."""

    task: str
    module: nn.Module
    x: Tensor
    target: Tensor
    baseline: Tensor
    players: Tensor
    """(1, ...) int64, broadcastable to the inputs: which player each element belongs to."""
    background: Tensor
    """(m, ...) inputs that stand for what the model usually sees."""
    embedding: nn.Module | None = None
    """The token embedding of a text model."""
    layer: nn.Module | None = None
    """The last convolution."""

    @property
    def each(self) -> list[tuple[Tensor, Tensor]]:
        """Samples one by one, for methods that take no batch."""
        return [(self.x[row : row + 1], self.target[row : row + 1]) for row in range(len(self.x))]

    def score(self, row: int) -> Callable[[np.ndarray], np.ndarray]:
        """The target's logit of numpy batches of flat inputs, for SHAP."""

        def run(flat: np.ndarray) -> np.ndarray:
            batch = torch.from_numpy(np.ascontiguousarray(flat)).to(self.x.dtype).reshape(-1, *self.x.shape[1:])
            with torch.no_grad():
                return self.module(batch)[:, self.target[row]].numpy()

        return run

    def coalitions(self, row: int) -> Callable[[np.ndarray], np.ndarray]:
        """The target's logit where players are present (1) or replaced by the baseline (0), for SHAP."""
        score, groups = self.score(row), self.players.expand(1, *self.x.shape[1:]).flatten().numpy()
        inside, outside = self.x[row].flatten().numpy(), self.baseline[row].flatten().numpy()

        def run(present: np.ndarray) -> np.ndarray:
            mask = present[:, groups] > 0.5
            return score(np.where(mask, inside, outside))

        return run


@dataclass(frozen=True)
class Rival:
    """An explainer of another library; ``family`` says what it is compared with, ``tasks`` where it runs."""

    name: str
    family: str
    tasks: tuple[str, ...]
    run: Callable[[Setting], Tensor]


def _integrated(setting: Setting) -> Tensor:
    from captum.attr import IntegratedGradients, LayerIntegratedGradients

    if setting.task == "text":
        method = LayerIntegratedGradients(setting.module, setting.embedding)
        return method.attribute(setting.x, setting.baseline, target=setting.target, n_steps=50).sum(-1)
    return IntegratedGradients(setting.module).attribute(setting.x, setting.baseline, target=setting.target, n_steps=50)


def _smoothgrad(setting: Setting) -> Tensor:
    from captum.attr import NoiseTunnel, Saliency

    tunnel = NoiseTunnel(Saliency(setting.module))
    return tunnel.attribute(setting.x, nt_type="smoothgrad", nt_samples=26, stdevs=0.15, target=setting.target)


def _gradient_shap(setting: Setting) -> Tensor:
    from captum.attr import GradientShap

    return GradientShap(setting.module).attribute(setting.x, setting.background, n_samples=32, target=setting.target)


def _deep_lift(setting: Setting) -> Tensor:
    from captum.attr import DeepLift

    return DeepLift(setting.module).attribute(setting.x, setting.baseline, target=setting.target)


def _cam(setting: Setting) -> Tensor:
    from captum.attr import LayerAttribution, LayerGradCam

    coarse = LayerGradCam(setting.module, setting.layer).attribute(setting.x, target=setting.target)
    return LayerAttribution.interpolate(coarse, tuple(setting.x.shape[2:]))


def _occlusion(setting: Setting) -> Tensor:
    from captum.attr import Occlusion

    window = (setting.x.shape[1], 4, 4)
    return Occlusion(setting.module).attribute(
        setting.x, window, strides=(setting.x.shape[1], 2, 2), baselines=setting.baseline, target=setting.target
    )


def _captum_groups(name: str, **rest: Any) -> Callable[[Setting], Tensor]:
    def run(setting: Setting) -> Tensor:
        from captum import attr

        method = getattr(attr, name)(setting.module)
        groups = setting.players.expand(1, *setting.x.shape[1:]).contiguous()
        values = method.attribute(
            setting.x, baselines=setting.baseline, target=setting.target, feature_mask=groups, **rest
        )
        return values / torch.bincount(groups.flatten())[groups]  # each element has its whole group's value

    return run


def _captum(name: str, **rest: Any) -> Callable[[Setting], Tensor]:
    def run(setting: Setting) -> Tensor:
        from captum import attr

        return getattr(attr, name)(setting.module).attribute(setting.x, target=setting.target, **rest)

    return run


def _spread(setting: Setting, values: np.ndarray) -> Tensor:
    groups = setting.players.expand(1, *setting.x.shape[1:])[0]
    return torch.from_numpy(values).float()[groups] / torch.bincount(groups.flatten())[groups]


def _shap(make: Callable[[Any, Any, int], Any]) -> Callable[[Setting], Tensor]:
    def run(setting: Setting) -> Tensor:
        count = int(setting.players.max()) + 1
        found = [make(setting.coalitions(row), np.zeros((1, count)), count) for row in range(len(setting.x))]
        return torch.stack([_spread(setting, np.asarray(values).reshape(count)) for values in found])

    return run


def _kernel(score: Any, background: np.ndarray, count: int) -> Any:
    import shap

    explainer = shap.KernelExplainer(score, background)
    return explainer.shap_values(np.ones((1, count)), nsamples=1000, silent=True)


def _permutation(score: Any, background: np.ndarray, count: int) -> Any:
    import shap

    evaluations = max(1000, 2 * count + 1)
    return shap.PermutationExplainer(score, background)(np.ones((1, count)), max_evals=evaluations, silent=True).values


_EVERY = ("image", "text", "tabular")
_DENSE = ("image", "tabular")

RIVALS = (
    Rival("captum Saliency", "saliency", _DENSE, _captum("Saliency")),
    Rival("captum InputXGradient", "input_x_gradient", _DENSE, _captum("InputXGradient")),
    Rival("captum IntegratedGradients", "integrated_gradients", _EVERY, _integrated),
    Rival("captum NoiseTunnel", "smoothgrad", _DENSE, _smoothgrad),
    Rival("captum GradientShap", "expected_gradients", _DENSE, _gradient_shap),
    Rival("captum GuidedBackprop", "guided_backprop", _DENSE, _captum("GuidedBackprop")),
    Rival("captum DeepLift", "deep_lift", _DENSE, _deep_lift),
    Rival("captum LRP", "lrp", _DENSE, _captum("LRP")),
    Rival("captum LayerGradCam", "grad_cam", ("image",), _cam),
    Rival("captum Occlusion", "occlusion", ("image",), _occlusion),
    Rival("captum FeatureAblation", "feature_ablation", _EVERY, _captum_groups("FeatureAblation")),
    Rival("captum Lime", "lime", _EVERY, _captum_groups("Lime", n_samples=1000)),
    Rival("captum ShapleyValueSampling", "shapley", _EVERY, _captum_groups("ShapleyValueSampling", n_samples=25)),
    Rival("captum KernelShap", "kernel_shap", _EVERY, _captum_groups("KernelShap", n_samples=1000)),
    Rival("shap Kernel", "kernel_shap", _EVERY, _shap(_kernel)),
    Rival("shap Permutation", "shapley", _EVERY, _shap(_permutation)),
)
