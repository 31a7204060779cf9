"""Self-checks: can a robustness number be trusted?"""

from xaibench.checks.base import Case, Check, Outcome, Report, Status, Verdict, checks, examine

__all__ = ["Case", "Check", "Outcome", "Report", "Status", "Verdict", "checks", "examine"]
