"""Inputs of the reader's own: an uploaded picture, a typed text, an edited row of a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.pages.shared import cached
from xaibench.pages.shared.address import choose, chosen, forget, keep, miss, put
from xaibench.pages.shared.limits import IMAGE_BYTES, MEGABYTE, TEXT_LENGTH
from xaibench.pages.shared.text import plain
from xaibench.pages.shared.uploads import FORMATS, SUFFIXES
from xaibench.pages.shared.views import feature_names

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.data import Data
    from xaibench.types import Classifier

__all__ = ["edited_row", "typed_text", "uploaded_picture"]

_PICTURE = "_own.picture"
"""Where in the session the upload lies, so that it is there on other pages too."""
_CUT = "_own.cut"
"""Where in the session the length of a text stands that was cut; 0 where none was."""
_SHARED = 300
"""Characters of a text that still go into the address."""


def uploaded_picture(model: Classifier) -> Tensor | None:
    """A picture (1, channels, height, width), after saying what was done to it; None, after asking for one, if none."""
    shape = model.input_shape
    if shape is None or None in shape:
        st.info("The model does not say how large its pictures are, so none can be fitted to it.")
        return None
    with st.sidebar:
        st.file_uploader(
            "A picture of your own",
            type=list(SUFFIXES),
            key="own.upload",
            on_change=_keep_picture,
            max_upload_size=IMAGE_BYTES // MEGABYTE,
        )
        content = st.session_state.get(_PICTURE)
        if content is None:
            st.caption(
                f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}, at most {IMAGE_BYTES // MEGABYTE} MB."
                " It is cut and scaled to what the model takes, and kept for this visit only."
            )
    if content is None:
        st.info("Upload a picture at the side.")
        return None
    with st.sidebar:
        found = cached.picture(content, tuple(shape))
        st.caption(plain(f"The picture was {found.done}. It is in this window alone: the address does not hold it."))
        return found.x


def _keep_picture() -> None:
    upload = st.session_state["own.upload"]
    st.session_state[_PICTURE] = None if upload is None else upload.getvalue()


def typed_text(start: str) -> str | None:
    """A text of the reader's own, at first that of a sample, to be changed; None, after asking for one, while empty."""
    text = choose(
        st.sidebar.text_area,
        "A text of your own",
        key="text",
        default=start[:TEXT_LENGTH],
        valid=lambda text: len(text) <= TEXT_LENGTH,
        share=lambda text: len(text) <= _SHARED,
        height=200,
        on_change=_cut_text,
    )
    if typed := st.session_state.get(_CUT):
        st.sidebar.caption(f"Cut to its first {TEXT_LENGTH:,} characters: it had {typed:,}.")
    if not text.strip():
        st.info("Type a text at the side.")
        return None
    return text


def _cut_text() -> None:
    """Cut what was typed here: a browser that is told the limit drops a longer text without a word."""
    text = st.session_state["text"]
    st.session_state["text"], st.session_state[_CUT] = text[:TEXT_LENGTH], max(0, len(text) - TEXT_LENGTH) and len(text)


def edited_row(model: Classifier, data: Data, row: int, x: Tensor) -> Tensor:
    """``x`` (1, features), a row of a table, with the values that the reader gave some of its features."""
    x = x.clone()
    names = feature_names(data, x.shape[1])
    edits = _kept_edits(row, len(names))
    low, high = (side.expand(x.shape[1]).tolist() for side in model.bounds.tensors(x))
    with st.sidebar:
        begun = f"Row {row}, with values of your own" if edits else f"Row {row}, to be changed"
        st.caption(f"{begun}; each value within the bounds of the model.")
        for index, value in edits.items():
            x[0, index] = min(max(value, low[index]), high[index])
        if edits:
            st.button("Restore the row", on_click=put, kwargs={"edits": ""}, width="stretch")
        with st.container(height=360):
            for index, name in enumerate(names):
                _feature(name, (row, index), float(x[0, index]), (low[index], high[index]))
    return x


def _feature(name: str, place: tuple[int, int], value: float, limits: tuple[float, float]) -> None:
    """A number to type for a row's feature; within the model's bounds, and those of the row's own."""
    row, index = place
    low, high = limits
    key = f"own.{row}.{index}.{value!r}"  # another value from elsewhere begins anew
    st.number_input(
        plain(name),
        value=value,
        min_value=min(low, value) if math.isfinite(low) else None,
        max_value=max(high, value) if math.isfinite(high) else None,
        step=(high - low) / 100 if math.isfinite(high - low) else None,
        format="%.5g",
        key=key,
        on_change=_edit,
        args=(key, row, index),
    )


def _edit(key: str, row: int, index: int) -> None:
    edits = _edits(chosen("edits"), row)
    edits[index] = float(st.session_state[key])
    put(edits=f"{row}:" + ",".join(f"{place}={value:.6g}" for place, value in sorted(edits.items())))


def _kept_edits(row: int, count: int) -> dict[int, float]:
    """Edits of a row of ``count`` features, and of no other, in the address; what cannot be read is said and dropped.

    Those of another row wait for the reader to come back to it.
    """
    text = chosen("edits")
    edits = _edits(text, row)
    if edits and all(0 <= place < count for place in edits):
        keep("edits")
        return edits
    if text:
        miss("edits", "Values of your own")
    if text.partition(":")[0] == str(row):
        forget("edits")
    return {}


def _edits(text: str, row: int) -> dict[int, float]:
    """Edits of a row as the address has them, ``3:0=1.5,7=2``; none where they are of another, or not all readable."""
    head, _, rest = text.partition(":")
    if head != str(row):
        return {}
    try:
        edits = {int(place): float(value) for place, _, value in (edit.partition("=") for edit in rest.split(","))}
    except ValueError:
        return {}
    return edits if all(map(math.isfinite, edits.values())) else {}
