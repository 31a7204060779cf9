"""``python -m xaibench.report FILE`` publishes the schema of ``report.json``."""

from __future__ import annotations

import sys
from pathlib import Path

from xaibench.files import write_json
from xaibench.report import report_schema

if __name__ == "__main__":
    write_json(Path(sys.argv[1]), report_schema())
