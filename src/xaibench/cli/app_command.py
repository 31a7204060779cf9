"""``xaibench app`` opens the app."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from xaibench.errors import InputError

__all__ = ["SETTINGS", "open_app"]

_ROUTER = Path(__file__).parents[1] / "pages" / "router.py"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

SETTINGS: dict[str, str | int | bool | tuple[str, ...]] = {
    "server.address": "localhost",
    "server.allowedHosts": _LOOPBACK,
    "server.enableCORS": True,
    "server.enableXsrfProtection": True,
    "server.enableStaticServing": False,
    "server.enableAgentApi": False,
    "server.maxUploadSize": 200,
    "server.showEmailPrompt": False,
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": False,
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "type",
    "client.showErrorLinks": False,
    "theme.light.primaryColor": "#1f6fb2",
    "theme.dark.primaryColor": "#4a9ae0",
}
"""How Streamlit serves the app; `.streamlit/config.toml` says the same for ``streamlit run app.py``."""


def open_app(
    *,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8501,
    host: Annotated[str, typer.Option(help="Address to listen on, for visitors from elsewhere.")] = "localhost",
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="Name by which visitors reach the app, where --host is not it; may be given again."),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = True,
) -> None:
    """Open the app: choose a model and a sample, see why, and see it fooled.

    It listens to this machine alone, unless told otherwise by --host; there is no log-in.

    [dim]xaibench app[/]
    [dim]xaibench app --port 8600 --no-browser[/]
    [dim]xaibench app --host 0.0.0.0 --allowed-host models.example.org[/]
    """
    names = _names(host, allowed_host or ())
    _check_free(host, port)
    if host not in _LOOPBACK:
        typer.echo(
            f"xaibench: warning: the app listens on {host} and has no log-in: whoever reaches it as"
            f" {' or '.join(names)} can use it; docs/security.md says how to host it",
            err=True,
        )
    options = {
        **SETTINGS,
        "server.address": host,
        "server.allowedHosts": names,
        "server.port": port,
        "server.headless": not browser,
    }
    flags = [f"--{key}={_written(one)}" for key, value in options.items() for one in _several(value)]
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", str(_ROUTER), *flags])


def _names(host: str, given: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """What requests may call this machine: a page whose own name leads here (DNS rebinding) is none of them."""
    try:
        wildcard = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError):
            raise _no_address(host) from None
        wildcard = False
    own = _own_names() if wildcard else (host,)
    return tuple(dict.fromkeys((*_LOOPBACK, *own, *given)))


def _check_free(host: str, port: int) -> None:
    """Refuse a port that cannot be listened on: the server would say so in lines of its own."""
    here = False
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
            here = True
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise InputError(f"expected a free port, got {port}, which is taken: --port names another") from None
            if error.errno == errno.EACCES:
                raise InputError(f"expected a port that you may listen on, got {port}: --port names another") from None
    if not here:
        raise _no_address(host)


def _no_address(host: str) -> InputError:
    return InputError(f"expected an address of this machine to listen on, got {host!r:.80}")


def _own_names() -> tuple[str, ...]:
    name = socket.gethostname()
    try:
        addresses = {str(entry[4][0]) for entry in socket.getaddrinfo(name, None)}
    except OSError:
        addresses = set()
    return (name, *sorted(addresses))


def _several(value: str | int | bool | tuple[str, ...]) -> tuple[str | int | bool, ...]:
    return value if isinstance(value, tuple) else (value,)


def _written(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
