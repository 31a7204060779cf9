"""A report's page inside the app: its scripts run, and reach neither the app nor the network."""

from __future__ import annotations

from html import escape

__all__ = ["framed"]

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:;"
    " base-uri 'none'; form-action 'none'"
)


def framed(page: str, title: str) -> str:
    """HTML that shows ``page`` in a frame of an origin of its own.

    The frame is sandboxed without ``allow-same-origin``, so its scripts cannot touch the app around it, whatever the
    file holds, and it inherits a policy that allows no request to anywhere.
    """
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        "<style>html,body{margin:0;height:100%}iframe{border:0;width:100%;height:100%;display:block}</style></head>"
        f'<body><iframe sandbox="allow-scripts" title="{escape(title)}" srcdoc="{escape(page)}"></iframe></body></html>'
    )
