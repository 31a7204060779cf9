"""``python -m xaibench.jobs FOLDER`` is the process of a job; `xaibench.jobs.start` starts it."""

import sys
from pathlib import Path

from xaibench.jobs.worker import work

if __name__ == "__main__":
    work(Path(sys.argv[1]))
