"""``xaibench app`` opens the app."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["open_app"]

_ROUTER = Path(__file__).parents[1] / "pages" / "router.py"


def open_app(
    *,
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8501,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = True,
) -> None:
    """Open the app: choose a model and a sample, see why, and see it fooled.

    [dim]xaibench app[/]
    [dim]xaibench app --port 8600 --no-browser[/]
    """
    options = {
        "server.port": port,
        "server.headless": str(not browser).lower(),
        "server.showEmailPrompt": "false",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "theme.light.primaryColor": "#1f6fb2",
        "theme.dark.primaryColor": "#4a9ae0",
    }
    arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", str(_ROUTER), *arguments])
