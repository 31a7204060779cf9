"""The adversarial example to take away: exact numbers, and for images a picture that is rounded to bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import streamlit as st

from xaibench.pages.shared import cached
from xaibench.pages.shared.text import plain

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.pages.attack.choices import Plan
    from xaibench.pages.shared.subject import Subject
    from xaibench.robustness import Strike

__all__ = ["as_npz", "as_png", "show_downloads"]


def show_downloads(subject: Subject, plan: Plan, strike: Strike) -> None:
    """Buttons, and whether the picture still fools the model once it was rounded."""
    stem = f"{subject.name}-{subject.row if subject.row is not None else 'own'}-{plan.norm}-{plan.attack.name}"
    with st.container(horizontal=True):
        st.download_button(
            "Exact numbers (.npz)",
            lambda: as_npz(strike),
            file_name=f"{stem}.npz",
            mime="application/octet-stream",
            key="npz",
            icon=":material/download:",
            on_click="ignore",
        )
        if subject.model.task == "image" and strike.found.shape[1] in (1, 3):
            st.download_button(
                "Picture (.png)",
                lambda: as_png(subject, strike),
                file_name=f"{stem}.png",
                mime="image/png",
                key="png",
                icon=":material/image:",
                on_click="ignore",
            )
    if subject.model.task == "image":
        st.caption(_after_rounding(subject, strike))


def as_npz(strike: Strike) -> bytes:
    """The clean input and the adversarial one, as they are."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, clean=strike.x.numpy(), adversarial=strike.found.numpy())
    return buffer.getvalue()


def as_png(subject: Subject, strike: Strike) -> bytes:
    """The adversarial image in 8 bits a channel."""
    from PIL import Image

    pixels = _pixels(subject, strike)
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(buffer, "png")
    return buffer.getvalue()


def _pixels(subject: Subject, strike: Strike) -> Any:
    from xaibench.drawing.pictures import photo_pixels

    return photo_pixels(strike.found[0], subject.model.bounds.extent)


def _after_rounding(subject: Subject, strike: Strike) -> str:
    """What the model says of the picture as it is saved."""
    import torch

    low, high = subject.model.bounds.extent
    pixels = torch.from_numpy(_pixels(subject, strike)).permute(2, 0, 1)[None]
    if pixels.shape != strike.found.shape:
        return "A picture cannot hold this many channels."
    rounded: Tensor = low + (high - low) * pixels.to(strike.found) / 255
    said = cached.said(subject.model, rounded, (subject.key[0], cached.fingerprint(rounded)))
    name = plain(subject.model.class_names[int(said.argmax())])
    if int(said.argmax()) == int(strike.after.argmax()):
        return f"Rounded to 8 bits, as the picture is, it still makes the model say {name}."
    return f"Rounded to 8 bits, as the picture is, the model says {name} again: only the exact numbers fool it."
