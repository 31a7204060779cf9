"""Reports: a typed JSON document, a page that opens offline, and the adversarial examples."""

from xaibench.report.schema import Report, report_schema
from xaibench.report.write import run, write_report

__all__ = ["Report", "report_schema", "run", "write_report"]
