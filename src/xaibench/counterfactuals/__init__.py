"""Counterfactuals: the smallest change that makes a model decide otherwise."""

from xaibench.counterfactuals.base import counterfactual
from xaibench.counterfactuals.result import CounterfactualResult, Edit

__all__ = ["CounterfactualResult", "Edit", "counterfactual"]
