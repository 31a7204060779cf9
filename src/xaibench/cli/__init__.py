"""The command line: thin commands over the library, each importing what it needs when it runs."""

from xaibench.cli.app import app
from xaibench.cli.main import main, run

__all__ = ["app", "main", "run"]
