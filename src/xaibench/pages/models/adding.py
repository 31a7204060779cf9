"""Adding a model of one's own: its file or name, the data it is for, and what the file does not tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st
from pydantic import ValidationError

from xaibench.card import first_problem
from xaibench.errors import InputError
from xaibench.intake import Request, take_in
from xaibench.pages.models.hub import HINT, choose_class_names, choose_hub_name
from xaibench.pages.models.networks import choose_network
from xaibench.pages.shared.address import put
from xaibench.pages.shared.limits import MEGABYTE, MODEL_BYTES, NAME_LENGTH
from xaibench.pages.shared.options import choose_one, choose_view
from xaibench.pages.shared.text import plain, problem

if TYPE_CHECKING:
    from streamlit.runtime.uploaded_file_manager import UploadedFile

    from xaibench.data import Data

__all__ = ["show_adding"]

_SOURCES = {
    "weights": "Weights: .safetensors, .pt",
    "keras": "Keras: .keras",
    "pt2": "torch.export: .pt2",
    "hub": "A Hub or timm name",
}
_SUFFIXES = {"weights": ["safetensors", "pt", "pth"], "keras": ["keras"], "pt2": ["pt2"]}
_HINTS = {
    "weights": "The `state_dict()` of one of the networks below. Pickles of whole models hold code and are refused.",
    "keras": "As `model.save` writes it, of layers of Keras that compute: Lambda and custom ones are refused.",
    "pt2": "As `torch.export.save` writes it; pickles and custom operators in it are refused.",
    "hub": HINT,
}
_FIRST_DATA = "digits"


def show_adding() -> None:
    """The form; what is wrong with the model stands below it."""
    st.markdown(
        "Your model is loaded in a process of its own, with limits on time and memory; it is tried and measured before"
        " it appears in the gallery. Nothing in it is run that is not plain tensor arithmetic."
    )
    source = choose_view("What do you have?", _SOURCES, key="source")
    st.caption(_HINTS[source])
    if source == "hub":
        _show_hub()
    else:
        _show_upload(source)
    with st.expander("A model in another format"):
        st.markdown(_OTHERS)


def _show_hub() -> None:
    name = choose_hub_name()
    data = _choose_data()
    told = _what_it_is_called(name.title if name else f"My {data.name} model")
    if data.task != "image":
        st.info("Models of a hub are read for images: choose data of images.")
        return
    told |= {"class_names": choose_class_names(data), "format": "hub", "hub": str(name or ""), "data": data.name}
    if st.button("Download and add it", type="primary", icon=":material/download:", disabled=name is None):
        _add(told)


def _show_upload(source: str) -> None:
    limit = MODEL_BYTES // MEGABYTE
    file = st.file_uploader(
        f"Your file, at most {limit} MB", _SUFFIXES[source], key=f"file-{source}", max_upload_size=limit
    )
    data = _choose_data()
    tokenizer = None
    if data.task == "text":
        tokenizer = st.file_uploader("Its tokenizer.json", ["json"], key="tokenizer", max_upload_size=20)
    architecture, params = choose_network(data, file) if source == "weights" else ("", {})
    told = _what_it_is_called(f"My {data.name} model") | _what_the_file_does_not_tell(data)
    if st.button("Add it", type="primary", icon=":material/add:", disabled=file is None) and file is not None:
        suffix = file.name.rpartition(".")[2].lower()
        told |= {"format": "pt" if suffix == "pth" else suffix, "data": data.name}
        _add(told | {"architecture": architecture, "params": params}, file, tokenizer)


_OTHERS = """
From a terminal or a notebook, `xaibench.load_model` and every command that takes a model also read

- `module:function`, your own code that returns a torch or Keras model;
- a `.h5` file or a TensorFlow SavedModel folder.

They are not offered here, because they run code of your own.
"""


def _choose_data() -> Data:
    """The data set that the model is for, which brings its task, classes and input shape."""
    from xaibench.data import load_data, names_at_hand

    names = names_at_hand()
    name = choose_one(
        st.selectbox,
        "The data it is for",
        names,
        key="for_data",
        default=_FIRST_DATA,
        help="It is measured on the test split, or else on validation; the other pages take their samples from there.",
    )
    return _few_rows(name, load_data)


@st.cache_data(show_spinner="Reading the data", max_entries=8)
def _few_rows(name: str, _load: Any) -> Data:
    from xaibench.data import measured_split

    return _load(name, measured_split(name), n=8)


def _what_it_is_called(title: str) -> dict[str, Any]:
    left, right = st.columns(2)
    return {
        "title": left.text_input("A name for it", title[:NAME_LENGTH], max_chars=NAME_LENGTH),
        "summary": right.text_input("A line about it", max_chars=300),
    }


def _what_the_file_does_not_tell(data: Data) -> dict[str, Any]:
    names = "\n".join(data.class_names)
    with st.expander("Classes and normalisation"):
        classes = st.text_area(
            "Classes in the order of the model's outputs, one a line", names, key=f"classes-{data.name}", height=160
        )
        told: dict[str, Any] = {}
        if data.task != "text":
            columns = st.columns(2)
            per = "channel" if data.task == "image" else "feature"
            for column, key, label in zip(columns, ("mean", "std"), ("Mean", "Standard deviation"), strict=True):
                text = column.text_input(
                    f"{label} that inputs are normalised with",
                    key=f"{key}-{data.name}",
                    max_chars=5000,
                    placeholder=f"none, or one number a {per}: 0.5, 0.5, 0.5",
                )
                told[key] = text
        if data.task == "image":
            low, high = (
                column.number_input(label, value=value, key=label)
                for column, label, value in zip(
                    st.columns(2), ("Smallest pixel value", "Largest pixel value"), (0.0, 1.0), strict=True
                )
            )
            told["bounds"] = (low, high)
    lines = tuple(line.strip() for line in classes.splitlines() if line.strip())
    return {"class_names": () if lines == data.class_names else lines, **told}


def _add(told: dict[str, Any], file: UploadedFile | None = None, tokenizer: UploadedFile | None = None) -> None:
    place = st.empty()
    try:
        told |= {key: _numbers(told[key], key) for key in ("mean", "std") if key in told}
        request = Request(**told)
        status = place.status("Putting it aside")
        name = take_in(request, file, tokenizer, tell=lambda text: status.update(label=plain(text)))
    except ValidationError as error:
        place.error(problem(first_problem(error)))
    except InputError as error:
        place.error(problem(error))
    else:
        put(view="gallery", details=name)
        st.rerun()


def _numbers(text: str, name: str) -> tuple[float, ...] | None:
    """Numbers separated by commas or spaces; None for none."""
    try:
        return tuple(map(float, text.replace(",", " ").split())) or None
    except ValueError:
        raise InputError(f"expected {name} as numbers such as 0.5, 0.5, 0.5, got {text!r:.60}") from None
