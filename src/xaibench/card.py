"""What is known about a shipped classifier: the schema of ``models/<name>/config.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xaibench.errors import InputError

__all__ = ["ArchitectureConfig", "Card", "DataConfig", "Strict", "first_problem"]


class Strict(BaseModel):
    """A record that is never changed and knows its keys: an unknown one is an error, and so is NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ArchitectureConfig(Strict):
    """An architecture of `xaibench.architectures` by name, and its parameters."""

    name: str
    params: dict[str, Any] = {}


class DataConfig(Strict):
    """What a model was trained on."""

    name: str
    digest: str = Field(description="digest of the training split as `load_data` gives it")
    train_split: str = "train"
    test_split: str = "test"


class Card(Strict):
    """A trained classifier's description, stored beside its weights.

    ``mean`` and ``std`` are per channel or per feature, in input units; ``input_shape`` is without the batch,
    channels first; ``metrics`` maps a split to the program's own measurements on it.
    """

    schema_version: Literal[1] = 1
    name: str
    summary: str = ""
    task: Literal["image", "text", "tabular"]
    framework: Literal["torch", "keras"]
    architecture: ArchitectureConfig
    input_shape: tuple[int, ...]
    bounds: tuple[float | tuple[float, ...], float | tuple[float, ...]] = (0.0, 1.0)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...] | None = None
    data: DataConfig
    recipe: dict[str, Any] = Field(default={}, description="the training recipe, as it was run")
    metrics: dict[str, dict[str, Any]] = {}
    weights_digest: str = ""
    versions: dict[str, str] = {}

    @classmethod
    def read(cls, path: Path) -> Card:
        """Read ``config.json``; what is wrong with it raises `InputError` naming the key."""
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"expected a model description at {path}, got {error.strerror}") from None
        except (ValidationError, UnicodeDecodeError) as error:
            problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
            raise InputError(f"expected a valid model description in {path}, got: {problem}") from None


def first_problem(error: ValidationError) -> str:
    """The first thing that a pydantic model found wrong, in one line: where, what was expected, what came."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"unknown key `{where}`"
    if not first["loc"]:
        return first["msg"].removeprefix("Value error, ")
    got = "" if first["type"] == "missing" else f", got {first['input']!r:.80}"
    return f"`{where}`: {first['msg']}{got}"
