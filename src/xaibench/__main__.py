"""``python -m xaibench`` is the command line."""

from xaibench.cli import main

main()
