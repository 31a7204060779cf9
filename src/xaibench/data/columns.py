"""Which column of a table is the label, and what the others are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xaibench.errors import InputError
from xaibench.types import Task

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Columns", "find_columns"]

_LABELS = ("label", "labels", "target", "class", "y")
_TEXTS = ("text", "sentence", "content", "review", "comment", "document")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns that a classification set is read from."""

    label: str
    inputs: tuple[str, ...]
    task: Task
    class_names: tuple[str, ...] | None
    """From the schema, where it has them."""


def find_columns(schema: pa.Schema, where: str) -> Columns:
    """Find label and inputs by the names and types of the columns.

    The label is called label, labels, target, class or y, else it is the first column with class names. The input is the
    first column of images; else a column of text with a usual name; else every other column, if all are numeric; else
    the only column of text.
    """
    classes = _class_names(schema)
    label = next((name for name in schema.names if name.lower() in _LABELS), next(iter(classes), None))
    listed = ", ".join(schema.names)
    if label is None:
        raise InputError(f"expected a label column ({', '.join(_LABELS)}) in {where}, got columns {listed}")
    others = [field for field in schema if field.name != label and field.name not in classes]
    images = [field.name for field in others if _is_image(field.type)]
    texts = [field.name for field in others if _is_text(field.type)]
    usual = [name for name in texts if name.lower() in _TEXTS]
    numbers = [field.name for field in others if _is_number(field.type)]
    task: Task
    if images:
        inputs, task = images[:1], "image"
    elif usual:
        inputs, task = usual[:1], "text"
    elif numbers and len(numbers) == len(others):
        inputs, task = numbers, "tabular"
    elif len(texts) == 1 and len(others) == 1:
        inputs, task = texts, "text"
    elif not others:
        raise InputError(f"expected inputs beside the label in {where}, got columns {listed}")
    else:
        odd = next(field for field in others if not _is_number(field.type))
        raise InputError(
            f"expected numeric features, or one column of text, in {where}, got column {odd.name!r} of {odd.type}"
        )
    return Columns(label=label, inputs=tuple(inputs), task=task, class_names=classes.get(label))


def _class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Names of the classes of each label column, as `datasets` keeps them in the schema."""
    if b"huggingface" not in (schema.metadata or {}):
        return {}
    import datasets

    features = datasets.Features.from_arrow_schema(schema)
    return {name: tuple(kind.names) for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)}


def _is_image(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return kinds.is_struct(kind) and {kind.field(i).name for i in range(kind.num_fields)} == {"bytes", "path"}


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return kinds.is_string(kind) or kinds.is_large_string(kind)


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind)
