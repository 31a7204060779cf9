"""Names of models on a hub, as a visitor may give them: never a path, an address, or another place."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass

from xaibench.errors import InputError

__all__ = ["HubName", "downloads_allowed", "missing_package", "read_hub_name"]

_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_REPOSITORY = re.compile(rf"{_WORD}/{_WORD}")
_TIMM = re.compile(r"[a-z0-9][a-z0-9_]{0,94}(?:\.[a-z0-9_]{1,94})?")
_PACKAGES = {"hf": ("transformers", "hub"), "timm": ("timm", "timm")}


@dataclass(frozen=True)
class HubName:
    """A model's name on the Hugging Face Hub (``hf``) or in timm."""

    hub: str
    name: str

    def __str__(self) -> str:
        return f"{self.hub}:{self.name}"

    @property
    def title(self) -> str:
        """Its name without the owner."""
        return self.name.rpartition("/")[2]


def read_hub_name(text: str) -> HubName:
    """The model that ``hf:owner/name``, ``owner/name`` or ``timm:name`` stands for; `InputError` for anything else.

    >>> str(read_hub_name("google/vit-base-patch16-224")), str(read_hub_name("timm:resnet18.a1_in1k"))
    ('hf:google/vit-base-patch16-224', 'timm:resnet18.a1_in1k')
    """
    text = text.strip()
    hub, _, name = text.partition(":") if ":" in text else ("hf", "", text)
    pattern = {"hf": _REPOSITORY, "timm": _TIMM}.get(hub)
    if pattern is None or not pattern.fullmatch(name) or ".." in name or "--" in name:
        raise InputError(f"expected a name such as hf:owner/name or timm:resnet18, got {text!r:.80}")
    return HubName(hub, name)


def downloads_allowed() -> bool:
    """Whether the host lets visitors download: not where ``XAIBENCH_DOWNLOADS`` is ``off``, or the Hub is offline."""
    off = os.environ.get("XAIBENCH_DOWNLOADS", "on").strip().lower() in ("0", "false", "no", "off")
    return not off and os.environ.get("HF_HUB_OFFLINE", "").strip().upper() not in ("1", "ON", "TRUE", "YES")


def missing_package(hub: str) -> str | None:
    """How to install what models of a hub need; None where it is there."""
    package, extra = _PACKAGES[hub]
    if importlib.util.find_spec(package) is not None:
        return None
    return f"pip install 'xaibench[{extra}]'"
