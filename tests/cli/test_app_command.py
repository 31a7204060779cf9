"""``xaibench app``: what it is served with, and to whom."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from xaibench.cli.app import app
from xaibench.cli.app_command import SETTINGS
from xaibench.errors import InputError
from xaibench.pages.shared.limits import MEGABYTE, MODEL_BYTES

HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found


def test_streamlit_run_serves_with_the_same_settings(root: Path) -> None:
    text = (root / ".streamlit" / "config.toml").read_text(encoding="utf-8")
    ours = {key: list(value) if isinstance(value, tuple) else value for key, value in SETTINGS.items()}
    assert flat(tomllib.loads(text)) == ours


def test_the_largest_upload_is_that_of_a_model() -> None:
    assert SETTINGS["server.maxUploadSize"] == MODEL_BYTES // MEGABYTE


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command as far as the server's command line, and gives that and what was printed."""

    def run(*arguments: str) -> tuple[list[str], Any]:
        seen: list[list[str]] = []
        monkeypatch.setattr(os, "execv", lambda _, command: seen.append(command))
        result = CliRunner().invoke(app, ["app", "--port", str(free_port()), *arguments])
        return (seen[0] if seen else []), result

    return run


def test_it_listens_to_this_machine_alone(started: Any) -> None:
    command, result = started()
    assert "--server.address=localhost" in command
    assert [flag for flag in command if "allowedHosts" in flag] == [
        f"--server.allowedHosts={name}" for name in ("localhost", "127.0.0.1", "::1")
    ]
    assert "--server.enableXsrfProtection=true" in command
    assert result.stderr == ""


def test_it_says_what_listening_to_others_means(started: Any) -> None:
    command, result = started("--host", "0.0.0.0", "--allowed-host", "models.example.org")
    assert "--server.address=0.0.0.0" in command
    assert "--server.allowedHosts=models.example.org" in command
    assert "no log-in" in result.stderr
    assert "models.example.org" in result.stderr


@pytest.mark.parametrize("host", ["no such host", "-x", "http://localhost", "", "203.0.113.1"])
def test_a_host_that_is_none_is_refused(started: Any, host: str) -> None:
    command, result = started(f"--host={host}")
    assert command == []
    assert "expected an address" in str(result.exception)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0.0.0.0"])
def test_a_port_that_is_taken_is_refused_in_one_line(started: Any, host: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        number = other.getsockname()[1]
        command, result = started("--host", host, "--port", str(number))
    assert command == []
    assert isinstance(result.exception, InputError)
    assert str(result.exception) == f"expected a free port, got {number}, which is taken: --port names another"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of the real server."""
    number = free_port()
    command = [sys.executable, "-m", "xaibench", "app", "--no-browser", "--port", str(number)]
    process = subprocess.Popen(command, cwd=tmp_path_factory.mktemp("served"), stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                if status(number, "/_stcore/health") == 200:
                    break
            except OSError:
                time.sleep(0.1)
        yield number
    finally:
        process.terminate()
        process.wait(20)


def status(port: int, path: str, method: str = "GET", **headers: str) -> int:
    with closing(http.client.HTTPConnection("localhost", port, timeout=20)) as connection:
        connection.request(method, path, headers=headers)
        with connection.getresponse() as response:
            return response.status


@pytest.mark.parametrize(
    ("host", "origin", "expected"),
    [
        ("localhost", "http://localhost", 101),
        ("127.0.0.1", "http://127.0.0.1", 101),
        ("localhost", "http://evil.example", 403),
        ("evil.example", "http://evil.example", 403),  # a name that was made to lead here
        ("localhost.evil.example", "http://localhost.evil.example", 403),
    ],
)
def test_only_its_own_pages_may_talk_to_it(port: int, host: str, origin: str, expected: int) -> None:
    headers = {**HANDSHAKE, "Host": f"{host}:{port}", "Origin": f"{origin}:{port}"}
    assert status(port, "/_stcore/stream", **headers) == expected


def test_uploads_need_the_token_of_the_page(port: int) -> None:
    assert status(port, "/_stcore/upload_file/session/file", "PUT", Origin="http://evil.example") == 403


def test_there_is_no_other_way_in(port: int) -> None:
    assert status(port, "/_stcore/agent/interact", "POST") in (403, 404, 405)
    for path in ("/app/static/../../etc/passwd", "/media/../../../etc/passwd", "/_stcore/component/../../etc/passwd"):
        with closing(http.client.HTTPConnection("localhost", port, timeout=20)) as connection:
            connection.request("GET", path)
            with connection.getresponse() as response:
                assert b"root:" not in response.read()
