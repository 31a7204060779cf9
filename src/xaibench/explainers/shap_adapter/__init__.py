"""SHAP's own explainers behind the same interface, in a way that can damage neither model nor process."""

from xaibench.explainers.shap_adapter.deep import ShapDeep, ShapGradient
from xaibench.explainers.shap_adapter.partition import ShapPartition
from xaibench.explainers.shap_adapter.tree import ShapTree

__all__ = ["ShapDeep", "ShapGradient", "ShapPartition", "ShapTree"]
