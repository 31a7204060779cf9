"""Attributions: how much each part of an input speaks for a class."""

from xaibench.explainers.ablation import FeatureAblation, FeaturePermutation
from xaibench.explainers.attention import AttentionGradientWeighted, AttentionRaw, AttentionRollout
from xaibench.explainers.attribution import Attribution, Cost
from xaibench.explainers.base import Explainer, explain, explainers
from xaibench.explainers.blur import BlurIntegratedGradients
from xaibench.explainers.budget import memory_budget
from xaibench.explainers.cam import EigenCAM, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, ScoreCAM
from xaibench.explainers.comparison import DEFAULT_PANEL, Comparison, compare_explainers
from xaibench.explainers.gradients import InputXGradient, Saliency
from xaibench.explainers.layers import LayerAttribution, explain_layer, layer_explainers
from xaibench.explainers.lime import Lime
from xaibench.explainers.noise import ExpectedGradients, SmoothGrad, VarGrad
from xaibench.explainers.occlusion import Occlusion
from xaibench.explainers.path import IntegratedGradients
from xaibench.explainers.relevance import LRP, DeconvNet, DeepLift, GuidedBackprop
from xaibench.explainers.rise import Rise
from xaibench.explainers.shap_adapter import ShapDeep, ShapGradient, ShapPartition, ShapTree
from xaibench.explainers.shapley import KernelShap, ShapleyExact, ShapleySampling
from xaibench.explainers.target import TargetLogit
from xaibench.explainers.trust import Trust

__all__ = [
    "DEFAULT_PANEL",
    "LRP",
    "AttentionGradientWeighted",
    "AttentionRaw",
    "AttentionRollout",
    "Attribution",
    "BlurIntegratedGradients",
    "Comparison",
    "Cost",
    "DeconvNet",
    "DeepLift",
    "EigenCAM",
    "ExpectedGradients",
    "Explainer",
    "FeatureAblation",
    "FeaturePermutation",
    "GradCAM",
    "GradCAMPlusPlus",
    "GuidedBackprop",
    "HiResCAM",
    "InputXGradient",
    "IntegratedGradients",
    "KernelShap",
    "LayerAttribution",
    "LayerCAM",
    "Lime",
    "Occlusion",
    "Rise",
    "Saliency",
    "ScoreCAM",
    "ShapDeep",
    "ShapGradient",
    "ShapPartition",
    "ShapTree",
    "ShapleyExact",
    "ShapleySampling",
    "SmoothGrad",
    "TargetLogit",
    "Trust",
    "VarGrad",
    "compare_explainers",
    "explain",
    "explain_layer",
    "explainers",
    "layer_explainers",
    "memory_budget",
]
