"""Which column of a table is the label, and what the others are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xaibench.errors import InputError
from xaibench.types import Task

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Columns", "find_columns", "is_number"]

_LABELS = ("label", "labels", "target", "class", "y")
_TEXTS = ("text", "sentence", "content", "review", "comment", "document")
_ROW_INDEX = ("", "Unnamed: 0", "__index_level_0__")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns that a classification set is read from."""

    label: str
    inputs: tuple[str, ...]
    task: Task
    class_names: tuple[str, ...] | None
    """From the schema, where it has them."""


def find_columns(schema: pa.Schema, where: str, label: str | None = None) -> Columns:
    """Find label and inputs by the names and types of the columns.

    The label, unless given, is called label, labels, target, class or y, in this order; else it is the first column
    with class names. The input is the first column of images; else a column of text with a usual name; else every other
    column, if all are numeric; else the only column of text. A saved row index counts for nothing.
    """
    listed = ", ".join(schema.names)
    doubled = next((name for name in schema.names if schema.names.count(name) > 1), None)
    if doubled is not None:
        raise InputError(f"expected columns with different names in {where}, got {doubled!r} twice")
    classes = _class_names(schema)
    lower = {name.lower(): name for name in schema.names}
    found = label or next((lower[name] for name in _LABELS if name in lower), next(iter(classes), None))
    if found is None or found not in schema.names:
        wanted = repr(label) if label else ", ".join(_LABELS)
        raise InputError(f"expected a label column ({wanted}) in {where}, got columns {listed}")
    others = [field for field in schema if field.name not in (found, *classes, *_ROW_INDEX)]
    images = [field.name for field in others if _is_image(field.type)]
    texts = [field.name for field in others if _is_text(field.type)]
    usual = [name for name in texts if name.lower() in _TEXTS]
    odd = next((field for field in others if not is_number(field.type)), None)
    task: Task
    if not others:
        raise InputError(f"expected inputs beside the label in {where}, got columns {listed}")
    if images:
        inputs, task = images[:1], "image"
    elif usual:
        inputs, task = usual[:1], "text"
    elif odd is None:
        inputs, task = [field.name for field in others], "tabular"
    elif len(texts) == len(others) == 1:
        inputs, task = texts, "text"
    else:
        raise InputError(
            f"expected numeric features, or one column of text, in {where}, got column {odd.name!r} of {odd.type}"
        )
    return Columns(label=found, inputs=tuple(inputs), task=task, class_names=classes.get(found))


def _class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Names of the classes of each label column, as `datasets` keeps them in the schema."""
    if b"huggingface" not in (schema.metadata or {}):
        return {}
    import datasets

    features = datasets.Features.from_arrow_schema(schema)
    return {name: tuple(kind.names) for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)}


def _is_image(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    if kinds.is_binary(kind) or kinds.is_large_binary(kind):
        return True
    return kinds.is_struct(kind) and {kind.field(i).name for i in range(kind.num_fields)} == {"bytes", "path"}


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return kinds.is_string(kind) or kinds.is_large_string(kind)


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type can be a feature."""
    import pyarrow.types as kinds

    return kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind)
