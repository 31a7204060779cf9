"""What is known about a shipped classifier: the schema of ``models/<name>/config.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xaibench.errors import InputError

__all__ = ["ArchitectureConfig", "Card", "DataConfig", "RobustAccuracy", "Strict", "first_problem"]


class Strict(BaseModel):
    """A record that is never changed and knows its keys: an unknown one is an error, and so is NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ArchitectureConfig(Strict):
    """An architecture of `xaibench.architectures` by name, and its parameters."""

    name: str
    params: dict[str, Any] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """The parameters for people to read, without sizes that the card has already, and a package's own settings."""
        known = ("classes", "input_shape")
        return {k: v for k, v in self.params.items() if k not in known and not isinstance(v, dict)}


class DataConfig(Strict):
    """What a model was trained on."""

    name: str
    digest: str = Field(description="digest of the training split as `load_data` gives it")
    train_split: str = "train"
    test_split: str = "test"


class RobustAccuracy(Strict):
    """Accuracy under an attack, on part of a split: an upper bound, for a stronger attack may break more."""

    norm: str = Field(description="norm of the threat model")
    eps: float = Field(
        description="its radius: input units, fractions of each feature's range for tables, words for text"
    )
    attack: str = Field(description="the attack or ensemble of attacks as a spec")
    split: str
    n: int = Field(ge=1, description="number of samples")
    rows: Literal["all", "first", "drawn"] = Field(
        description="which rows of the split: all, the first in its order, or a seeded selection"
    )
    clean_accuracy: float = Field(ge=0, le=1, description="on the same samples as they are")
    robust_accuracy: float = Field(ge=0, le=1, description="share that is classified correctly and was not broken")
    interval: tuple[float, float] = Field(description="95 % Wilson interval of the robust accuracy")
    weights_digest: str = Field(description="digest of the weights that it was measured on")


class CompressionConfig(Strict):
    """How a model was made smaller than another: a method of `xaibench.compression` and its parameters."""

    source: str = Field(description="name of the model that was compressed")
    source_digest: str = Field(description="digest of that model")
    method: str
    params: dict[str, Any] = {}
    epochs: int = Field(default=0, description="epochs of training that were part of it")


class Card(Strict):
    """A trained classifier's description, stored beside its weights.

    ``mean`` and ``std`` are per channel or per feature, in input units; ``input_shape`` is without the batch,
    channels first; ``metrics`` maps a split to the program's own measurements on it.
    """

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[^/\\\x00-\x1f]*$", description="no path: files are named after it")
    summary: str = ""
    task: Literal["image", "text", "tabular"]
    framework: Literal["torch", "keras", "exported"]
    architecture: ArchitectureConfig
    input_shape: tuple[int, ...]
    bounds: tuple[float | tuple[float, ...], float | tuple[float, ...]] = (0.0, 1.0)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...] | None = None
    data: DataConfig
    recipe: dict[str, Any] = Field(default={}, description="the training recipe, as it was run")
    history: tuple[dict[str, Any], ...] = Field(default=(), description="what the training measured after each epoch")
    compression: tuple[CompressionConfig, ...] = Field(default=(), description="how it was compressed, step by step")
    metrics: dict[str, dict[str, Any]] = {}
    robustness: tuple[RobustAccuracy, ...] = ()
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
