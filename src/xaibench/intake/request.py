"""What somebody says about a model that they add."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from xaibench.card import Strict
from xaibench.intake.limits import MOST_CLASSES

__all__ = ["FORMATS", "REPOSITORY", "UPLOAD", "Request"]

Format = Literal["safetensors", "pt", "keras", "pt2", "hub"]
FORMATS: tuple[Format, ...] = ("safetensors", "pt", "keras", "pt2")
"""Kinds of files that can be taken in, as their suffixes; ``.pth`` is ``pt``. A model of a hub comes by name alone."""

UPLOAD = "upload"
"""The uploaded file's name in the folder where it is looked at, before its suffix."""
REPOSITORY = "repository"
"""The folder there that holds the files of a model of a hub."""

_Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]


class Request(Strict):
    """A model's file format, and what the file does not tell: nothing here is a path or code."""

    title: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]
    summary: Annotated[str, StringConstraints(strip_whitespace=True, max_length=300)] = ""
    format: Format
    data: str = Field(description="the data set that it is measured on, one of `xaibench.data.data_names`")
    architecture: str = Field(default="", description="name of a registered torch architecture, for weights")
    params: dict[str, Any] = Field(default={}, description="its parameters")
    hub: str = Field(default="", max_length=200, description="name of a model on a hub, where that is the format")
    class_names: tuple[_Line, ...] = Field(
        default=(), max_length=MOST_CLASSES, description="those of the data if empty"
    )
    bounds: tuple[float, float] | None = Field(default=None, description="of valid inputs; None: those of the data")
    mean: tuple[float, ...] | None = Field(default=None, max_length=1024)
    std: tuple[float, ...] | None = Field(default=None, max_length=1024)
