"""Names and words as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from xaibench.errors import InputError
from xaibench.registry import Spec

__all__ = ["FIGURES", "edited", "method_label", "name_label", "stage_label"]

FIGURES = {
    "top_k_overlap": "Top places kept",
    "rank_correlation": "Rank correlation",
    "similarity": "Structural similarity",
    "centre_shift": "Centre shift",
}
"""What is left of a moved map, by name: what heads the columns."""

_ACRONYMS = {
    "apgd",
    "ce",
    "ddn",
    "dlr",
    "ead",
    "fab",
    "fgsm",
    "fmn",
    "jpeg",
    "l1",
    "lime",
    "lrp",
    "pgd",
    "rise",
    "shap",
}
_NAMES = {
    "autoattack": "AutoAttack",
    "awp": "Adversarial weight perturbation",
    "carlini_wagner": "Carlini-Wagner",
    "deconvnet": "DeconvNet",
    "deep_lift": "DeepLIFT",
    "deepfool": "DeepFool",
    "eigen_cam": "Eigen-CAM",
    "fab_t": "FAB-T",
    "fgsm_rs": "FGSM-RS",
    "free_lb": "FreeLB",
    "grad_align": "GradAlign",
    "mart": "MART",
    "n_fgsm": "N-FGSM",
    "pgd_at": "PGD training",
    "trades": "TRADES",
    "apgd_t": "APGD-T",
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "guided_backprop": "Guided backpropagation",
    "hires_cam": "HiRes-CAM",
    "hop_skip_jump": "HopSkipJump",
    "hotflip": "HotFlip",
    "input_x_gradient": "Input × gradient",
    "kernel_shap": "Kernel SHAP",
    "layer_cam": "Layer-CAM",
    "road": "ROAD",
    "score_cam": "Score-CAM",
    "shap_deep": "SHAP Deep",
    "shap_gradient": "SHAP Gradient",
    "shap_partition": "SHAP Partition",
    "shap_tree": "SHAP Tree",
    "shapley_exact": "Exact Shapley values",
    "shapley_sampling": "Shapley sampling",
    "smoothgrad": "SmoothGrad",
    "vargrad": "VarGrad",
}
"""Names that methods have in print, where their words alone do not make them."""


_STAGES = {
    "ce-10": "Cross-entropy, 10 steps",
    "margin-corners-3x20": "Margin from 3 corners, 20 steps each",
    "dlr-targets-9x10": "DLR towards 9 classes, 10 steps each",
    "margin-corners-5x50": "Margin from 5 corners, 50 steps each",
    "dlr-targets-4x50": "DLR towards 4 classes, 50 steps each",
    "square-2000": "Square, 2000 queries",
    "square-3000": "Square, 3000 queries",
}
"""The stages that `verdict` gives names of its own."""


def method_label(spec: str) -> str:
    """A method's name for reading.

    >>> method_label("integrated_gradients:steps=20"), method_label("pgd")
    ('Integrated gradients (steps=20)', 'PGD')
    """
    parsed = Spec.parse(spec)
    params = ", ".join(f"{key}={value}" for key, value in parsed.params.items())
    return name_label(parsed.name) + (f" ({params})" if params else "")


def name_label(name: str) -> str:
    """The name of a method, or of one of its fields, for reading.

    >>> name_label("grad_cam_plus_plus"), name_label("shapley_sampling"), name_label("max_step")
    ('Grad-CAM++', 'Shapley sampling', 'Max step')
    """
    words = " ".join(word.upper() if word in _ACRONYMS else word for word in name.split("_"))
    return _NAMES.get(name, words[:1].upper() + words[1:])


def stage_label(stage: str) -> str:
    """A stage of an ensemble for reading: an attack's spec, or words of the ensemble's own.

    >>> stage_label("apgd_ce:steps=10"), stage_label("margin: 5 corners"), stage_label("square-2000")
    ('APGD CE (steps=10)', 'Margin: 5 corners', 'Square, 2000 queries')
    """
    if stage in _STAGES:
        return _STAGES[stage]
    try:
        return method_label(stage)
    except InputError:
        return stage[:1].upper() + stage[1:]


def edited(words: Sequence[str], other: Sequence[str]) -> list[bool]:
    """Which words of a text have no counterpart in another version of it.

    >>> edited(["a", "fine", "film"], ["a", "fone", "film"])
    [False, True, False]
    """
    changed = [True] * len(words)
    for block in SequenceMatcher(None, list(words), list(other), autojunk=False).get_matching_blocks():
        changed[block.a : block.a + block.size] = [False] * block.size
    return changed
