"""A Hub on this machine, and small image classifiers as it would hold them."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

REVISION = "0123456789abcdef0123456789abcdef01234567"
DIGITS = tuple(map(str, range(10)))
SIDE = 16


def write_checkpoint(folder: Path, kind: str = "vit", names: Sequence[str] = DIGITS, **processing: Any) -> Path:
    """A repository of a network with random weights for pictures of 16 x 16 pixels, as `transformers` writes it."""
    import torch
    import transformers

    numbered = dict(enumerate(names))
    told: dict[str, Any] = {
        "num_channels": 3,
        "id2label": numbered,
        "label2id": {name: index for index, name in numbered.items()},
    }
    configs = {
        "convnext": lambda: transformers.ConvNextConfig(
            patch_size=2, num_stages=2, hidden_sizes=[8, 16], depths=[1, 1], **told
        ),
        "resnet": lambda: transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **told
        ),
        "vit": lambda: transformers.ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=SIDE,
            patch_size=4,
            **told,
        ),
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = transformers.AutoModelForImageClassification.from_config(configs[kind]())
    network.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE} if kind == "vit" else {"shortest_edge": SIDE}
    processor = {
        "image_processor_type": "ViTImageProcessor" if kind == "vit" else "ConvNextImageProcessor",
        "do_normalize": True,
        "do_rescale": True,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.3, 0.25],
        "rescale_factor": 1 / 255,
        "size": size,
        **processing,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return folder


@contextmanager
def served(home: Path, *, gated: Sequence[str] = (), sizes: dict[str, int] | None = None) -> Iterator[str]:
    """The address of a Hub that holds ``home/owner/name``; ``sizes`` are stated in place of the true ones.

    It answers nobody who says who he is, and has files of `REVISION` alone.
    """

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            if "Authorization" in self.headers:
                return self._send(401, b"", {"X-Error-Message": "somebody said who he is"})
            path = self.path.partition("?")[0].strip("/")
            if path.startswith("api/models/"):
                return self._tell(path.removeprefix("api/models/"))
            repository, _, rest = path.partition("/resolve/")
            revision, _, name = rest.partition("/")
            file = home / repository / name
            if not file.is_file() or repository in gated or revision != REVISION:
                return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            content = file.read_bytes()
            headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": REVISION}
            return self._send(200, content, headers, with_body=with_body)

        def _tell(self, repository: str) -> None:
            if not (home / repository).is_dir():
                return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            files = sorted(path for path in (home / repository).iterdir() if path.is_file())
            siblings = [
                {"rfilename": path.name, "size": (sizes or {}).get(path.name, path.stat().st_size)} for path in files
            ]
            told = {"id": repository, "sha": REVISION, "siblings": siblings, "gated": repository in gated and "manual"}
            return self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

        def _send(self, status: int, content: bytes, headers: dict[str, str], *, with_body: bool = True) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if with_body:
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
