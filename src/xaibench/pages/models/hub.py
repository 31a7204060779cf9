"""A model of a hub by its name: what the reader types, what it is called after, and why it cannot be had here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from xaibench.errors import InputError
from xaibench.intake import HubName, downloads_allowed, missing_package, read_hub_name
from xaibench.pages.shared.address import choose
from xaibench.pages.shared.limits import HUB_BYTES, MEGABYTE
from xaibench.pages.shared.options import choose_one
from xaibench.pages.shared.text import plain, problem

if TYPE_CHECKING:
    from xaibench.data import Data

__all__ = ["HINT", "choose_class_names", "choose_hub_name"]

HINT = (
    "An image classifier of the Hugging Face Hub or of timm that everybody may download, as safetensors of at most"
    f" {HUB_BYTES // MEGABYTE} MB. Code that lies beside it is not run, and later the network is not asked again."
)
_OFF = (
    "Downloads are switched off here, by `XAIBENCH_DOWNLOADS` or `HF_HUB_OFFLINE`. Upload the model's files instead, or"
    " ask whoever hosts this app."
)
_HUBS = {"hf": "Models of the Hugging Face Hub need", "timm": "Models of timm need"}
_LENGTH = 200
_SHOWN = 3


def choose_hub_name() -> HubName | None:
    """The name that the reader types; None, after saying why, where there is none that can be had."""
    text = choose(
        st.text_input,
        "Its name: owner/name on the Hub, or timm:name",
        key="hub",
        default="",
        valid=lambda text: len(text) <= _LENGTH,
        placeholder="microsoft/resnet-18",
        max_chars=_LENGTH,
    )
    if not downloads_allowed():
        st.info(_OFF, icon=":material/cloud_off:")
        return None
    missing = {hub: how for hub in _HUBS if (how := missing_package(hub))}
    try:
        name = read_hub_name(text) if text.strip() else None
    except InputError as error:
        st.error(problem(error))
        return None
    needed = missing if name is None else {hub: how for hub, how in missing.items() if hub == name.hub}
    for hub, how in needed.items():
        st.info(f"{_HUBS[hub]} a package that is not installed here: `{how}`.", icon=":material/extension:")
    return None if needed and name is not None else name


def choose_class_names(data: Data) -> tuple[str, ...]:
    """Names of the model's classes in its own order; none for those that the checkpoint brings."""
    order = ", ".join(data.class_names[:_SHOWN]) + (", …" if len(data.class_names) > _SHOWN else "")
    chosen = choose_one(
        st.radio,
        "Its classes",
        {"named": "As the checkpoint names them", "ordered": f"In the order of {plain(data.name)}: {plain(order)}"},
        key="class_order",
        help="Names are matched with those of the data. Choose the order where the checkpoint calls them otherwise.",
    )
    return data.class_names if chosen == "ordered" else ()
