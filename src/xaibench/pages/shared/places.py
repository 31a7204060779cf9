"""The folders that the app reads and writes, for the pages."""

from xaibench.places import inside, reports_home, runs_home

__all__ = ["inside", "reports_home", "runs_home"]
