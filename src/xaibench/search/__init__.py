"""Search: which numbers of a training recipe are best by its validation score."""

from __future__ import annotations

from xaibench.search.search import SearchResult, search
from xaibench.search.space import Range, search_space
from xaibench.search.trial import Trial

__all__ = ["Range", "SearchResult", "Trial", "search", "search_space"]
