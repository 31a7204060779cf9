"""What the site adds to the committed pages when it is built: the reference, and pictures of the app that are there.

Run by mkdocs (`hooks` in mkdocs.yml); `make site` builds the site.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of the reference, written from docstrings."""
    from mkdocs.structure.files import File

    pages = runpy.run_path(str(_HERE / "reference.py"))["pages"]
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Take out what cannot be shown on the site: links to files outside it, and pictures that were not taken yet."""
    if not page.file.src_uri.startswith("reference/"):
        markdown = re.sub(r"\[([^\]]+)\]\(\.\./([^)]*)\)", r"\1 (`\2`)", markdown)
    return without_missing_pictures(markdown)


def without_missing_pictures(markdown: str) -> str:
    """A page without the pictures of the app that are not there."""
    return re.sub(
        r"^!\[[^\]]*\]\(images/(app-[\w-]+\.\w+)\)\n",
        lambda found: found.group() if (_HERE / "images" / found.group(1)).exists() else "",
        markdown,
        flags=re.MULTILINE,
    )
