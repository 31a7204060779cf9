"""The table of explainers that the property tests run over: a new one joins by a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from small_models import (
    attentive_image_net,
    attentive_token_net,
    forest,
    keras_attentive_token_net,
    keras_cnn,
    keras_token_net,
    table_mlp,
    token_net,
    torch_cnn,
)

from xaibench.types import Classifier

MODELS: dict[str, Callable[[], Classifier]] = {
    "torch": torch_cnn,
    "keras": keras_cnn,
    "table": table_mlp,
    "torch-text": token_net,
    "keras-text": keras_token_net,
}
EVERYWHERE = frozenset(MODELS)
IMAGES = frozenset({"torch", "keras"})
RECTIFIED = IMAGES
"""Those with ReLU."""
ATTENTIVE_MODELS: dict[str, Callable[[], Classifier]] = {
    "torch-vit": attentive_image_net,
    "torch-attention": attentive_token_net,
    "keras-attention": keras_attentive_token_net,
}
"""Models for methods that need attention layers; other methods need not say whether they apply to them."""
ATTENTIVE = frozenset(ATTENTIVE_MODELS)
TREE_MODELS: dict[str, Callable[[], Classifier]] = {"forest": forest}
"""Models without gradients or layers; methods that take gradients need not say that they do not apply to them."""
WITH_TREES = EVERYWHERE | frozenset(TREE_MODELS)
NETWORKS = frozenset({"torch", "keras", "table"})


@dataclass(frozen=True)
class Row:
    """An explainer's spec, and what is special about it."""

    method: str
    models: frozenset[str] = EVERYWHERE
    """Names in ``MODELS`` of those that it explains, the others it must refuse with `UnsupportedError`; and of those in
    ``ATTENTIVE_MODELS`` and ``TREE_MODELS`` that it is tried on."""
    gradients: bool = True
    """Whether it takes gradients; if not, it must explain models that have none."""
    ignored: float | None = 0.0
    """How much a feature that the logit ignores may get; None for methods that promise nothing of the kind."""
    exact: bool = True
    """Whether ``memory`` leaves the passes counted as they are made, in one place: `logits`, `predict`, `scorer` and
    `loss_gradient`."""


ROWS = (
    Row("saliency"),
    Row("saliency:absolute=false"),
    Row("input_x_gradient"),
    Row("integrated_gradients:steps=8"),
    Row("integrated_gradients:steps=5,max_steps=5,quadrature=riemann_trapezoid"),
    Row("smoothgrad:samples=8"),
    Row("smoothgrad:samples=8,squared=true"),
    Row("vargrad:samples=8"),
    Row("expected_gradients:samples=8"),
    Row("blur_integrated_gradients:steps=8", models=IMAGES),
    Row("grad_cam:relu=false", models=IMAGES, exact=False),
    Row("grad_cam_plus_plus", models=IMAGES, exact=False),
    Row("hires_cam", models=IMAGES, exact=False),
    Row("layer_cam", models=IMAGES, exact=False),
    Row("eigen_cam", models=IMAGES, gradients=False, exact=False),
    Row("score_cam", models=IMAGES, gradients=False, exact=False),
    Row("deep_lift", exact=False),
    Row("lrp", exact=False),
    Row("lrp:rule=epsilon", exact=False),
    Row("lrp:rule=gamma", exact=False),
    Row("lrp:rule=z_plus", exact=False),
    Row("lrp:box=true", exact=False),
    Row("guided_backprop", models=RECTIFIED, exact=False),
    Row("deconvnet", models=RECTIFIED, exact=False),
    Row("attention_raw", ATTENTIVE, exact=False),
    Row("attention_raw:queries=all", ATTENTIVE, exact=False),
    Row("attention_rollout", ATTENTIVE, exact=False),
    Row("attention_gradient", ATTENTIVE, exact=False),
    Row("occlusion", models=WITH_TREES, gradients=False),
    Row("occlusion:window=3,stride=2", gradients=False, ignored=None),
    Row("feature_ablation:segments=16", models=WITH_TREES, gradients=False),
    Row("feature_permutation:samples=4", gradients=False),
    Row("rise:samples=50,cells=3", models=IMAGES, gradients=False, ignored=None),
    Row("lime:samples=200,segments=16", models=WITH_TREES, gradients=False, ignored=1e-2),
    Row("shapley_exact:segments=9", models=WITH_TREES, gradients=False, ignored=1e-6),
    Row("shapley_sampling:segments=9,budget=256", models=WITH_TREES, gradients=False, ignored=1e-6),
    Row("kernel_shap:segments=9,budget=256", models=WITH_TREES, gradients=False, ignored=1e-6),
    Row("shap_partition:segments=9", models=WITH_TREES, gradients=False, ignored=1e-6),
    Row("shap_deep:samples=3", models=NETWORKS, ignored=1e-6, exact=False),
    Row("shap_gradient:samples=6,background_samples=3", models=NETWORKS, exact=False),
    Row("shap_tree", models=frozenset(TREE_MODELS), gradients=False, exact=False),
)
