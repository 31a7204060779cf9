"""Shapley values: by all coalitions, by sampled permutations, and by regression; see also `shap_adapter`."""

from xaibench.explainers.shapley.exact import ShapleyExact
from xaibench.explainers.shapley.kernel import KernelShap
from xaibench.explainers.shapley.sampling import ShapleySampling

__all__ = ["KernelShap", "ShapleyExact", "ShapleySampling"]
