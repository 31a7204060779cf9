"""What a model's file does not say of itself, as data that goes to JSON and to the command line and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from xaibench.card import Strict, first_problem
from xaibench.errors import InputError

__all__ = ["ModelOptions"]


def _parts(value: object) -> object:
    return value.split(",") if isinstance(value, str) else value


Numbers = Annotated[tuple[float, ...], BeforeValidator(_parts)]
Pair = Annotated[tuple[float, ...], Field(min_length=2, max_length=2), BeforeValidator(_parts)]


class ModelOptions(Strict):
    """How to read a model that does not describe itself; what is None is the data's, or the usual.

    Several values can be given as text with commas.

    >>> ModelOptions.of({"task": "tabular", "mean": "0.5,1"})
    ModelOptions(task='tabular', mean=(0.5, 1.0))
    """

    architecture: str | None = Field(
        default=None, min_length=1, description="architecture of a file of weights, as a spec"
    )
    task: Literal["image", "tabular", "text"] | None = Field(
        default=None, description="what the model classifies; None: what the data holds"
    )
    bounds: Pair | None = Field(
        default=None,
        description="lowest and highest input; images are brought from [0, 1] to it, epsilon still counting in [0, 1];"
        " None: [0, 1] for images, each feature's range in the data for tables",
    )
    mean: Numbers | None = Field(
        default=None, description="subtracted from inputs within the bounds: one number, or one per channel or feature"
    )
    std: Numbers | None = Field(default=None, description="what they are divided by then")
    class_names: Annotated[tuple[str, ...], BeforeValidator(_parts)] | None = Field(
        default=None, description="names of the classes in the order of the outputs"
    )
    outputs: Literal["logits", "probabilities"] | None = Field(
        default=None, description="what the model gives, where that cannot be found out"
    )
    tokenizer: str | None = Field(default=None, min_length=1, description="`tokenizer.json` of a model of text")

    def __repr_args__(self) -> Any:
        return self.chosen.items()

    @property
    def chosen(self) -> dict[str, Any]:
        """All that is not None."""
        return self.model_dump(exclude_none=True)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> ModelOptions:
        """Read options; bad ones raise `InputError`."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise InputError(f"bad model option: {first_problem(error)}") from None
