"""Training recipes: TOML files that say everything that made a model."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from xaibench.card import ArchitectureConfig, Strict, first_problem
from xaibench.errors import InputError

__all__ = ["Augmentation", "MethodConfig", "Optimizer", "Probe", "Recipe", "Schedule", "TextEncoding", "ThreatConfig"]


class MethodConfig(Strict):
    """A registered method by name, and its parameters."""

    name: str
    params: dict[str, Any] = Field(default={})


class Optimizer(Strict):
    """How weights move. Weight decay acts on matrices and kernels only, added to the gradient; decoupled in AdamW."""

    name: Literal["sgd", "adam", "adamw", "rmsprop"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _momentum_is_used(self) -> Optimizer:
        if self.momentum and self.name not in ("sgd", "rmsprop"):
            raise ValueError(f"expected no `momentum` with {self.name}, got {self.momentum}")
        if self.nesterov and not (self.name == "sgd" and self.momentum):
            raise ValueError(f"expected `nesterov` with sgd and a momentum, got {self.name} and {self.momentum}")
        return self


class Schedule(Strict):
    """The learning rate over training, as a factor on the optimiser's own.

    ``cosine`` and ``linear`` fall from 1 to zero, ``piecewise`` multiplies by ``factor`` at each of ``milestones``, and
    before all of them there may be a ``warmup``, a linear rise from zero. ``cyclic`` is one triangle: from zero to 1 at
    ``peak``, and back. All are fractions of the steps of the whole training.
    """

    name: Literal["constant", "cosine", "linear", "cyclic", "piecewise"] = Field(
        default="constant", description="constant, cosine, linear, cyclic or piecewise"
    )
    warmup: float = Field(default=0.0, ge=0, lt=1, description="fraction of the steps with a linear rise from zero")
    peak: float = Field(default=0.4, gt=0, lt=1, description="where a cyclic rate is highest")
    milestones: tuple[float, ...] = Field(default=(0.5, 0.75), description="where a piecewise rate falls")
    factor: float = Field(default=0.1, gt=0, le=1, description="what it is multiplied by there")

    @field_validator("milestones")
    @classmethod
    def _milestones_are_fractions(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)) or not all(0 < milestone < 1 for milestone in value):
            raise ValueError("expected rising fractions between 0 and 1")
        return value

    @model_validator(mode="after")
    def _fields_are_used(self) -> Schedule:
        if self.name == "cyclic" and self.warmup:
            raise ValueError(f"expected no `warmup` with cyclic, which rises to its `peak`, got {self.warmup}")
        return self


class Augmentation(Strict):
    """Random changes of training images: a mirror image half the time; a shift of up to ``shift`` pixels."""

    flip: bool = False
    shift: int = Field(default=0, ge=0)


class ThreatConfig(Strict):
    """What an adversarial objective trains against, and what the probe attacks with.

    ``eps`` counts as everywhere: input units for images, a share of each feature's range for tables, words for text.
    """

    norm: Literal["linf", "l2", "l1", "words"] = Field(default="linf", description="linf, l2, l1 or words")
    eps: float = Field(gt=0, description="radius of the ball")
    scale: tuple[float, ...] | None = Field(
        default=None,
        description="unit of distance of each feature, or of all; a table's ranges by default, else 1",
    )
    warmup: float = Field(
        default=0.0, ge=0, lt=1, description="fraction of training over which the radius grows linearly from zero"
    )
    immutable: tuple[str, ...] = Field(default=(), description="features of a table that stay as they are")
    integer: tuple[str, ...] = Field(default=(), description="features of a table that are whole numbers")
    one_hot: tuple[tuple[str, ...], ...] = Field(default=(), description="groups of features of which one is 1")
    lower: dict[str, float] = Field(default={}, description="lowest values of features, above the data's own")
    upper: dict[str, float] = Field(default={}, description="highest values of features, below the data's own")


class Probe(Strict):
    """The attack on the validation split after an epoch, stronger than training's own, and what its alarms do."""

    attack: str = Field(default="pgd:steps=20", description="attack as a spec; for text word_substitution by default")
    samples: int = Field(
        default=512, ge=0, description="rows of the validation split that are attacked, at most; 0: no probe"
    )
    every: int = Field(default=1, ge=1, description="epochs between probes; the last one is always probed")
    on_overfitting: Literal["report", "stop", "rewind"] = Field(
        default="report",
        description="what an alarm does: report says so; stop; rewind goes back to the best epoch, halves the rate, and"
        " goes on with the epochs that are left",
    )


class TextEncoding(Strict):
    """How texts become token ids: the most frequent words, a fixed length, which end of a longer text is kept."""

    vocabulary: int = Field(default=10_000, ge=3)
    length: int = Field(default=500, ge=1)
    keep: Literal["start", "end"] = "end"


class Recipe(Strict):
    """Everything that decides the weights of a trained model, apart from the machine's arithmetic."""

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", description="name of the model and of its folder")
    summary: str = Field(default="", description="what the model is, in a sentence")
    data: str = Field(description="name or path of the data")
    train_split: str = Field(default="train", description="split to train on")
    test_split: str = Field(default="test", description="split to measure on at the end, and for nothing else")
    n: int | None = Field(default=None, ge=2, description="train on the first n rows of a seeded permutation")
    architecture: ArchitectureConfig | None = Field(default=None, description="the network: `name` and `params`")
    init: str | None = Field(default=None, description="start from this model: a name or a folder")
    freeze: tuple[str, ...] = Field(default=(), description="patterns of parameter names that do not move")
    keep_zeros: bool = Field(
        default=False, description="weights that are zero at the start, as in a pruned `init`, stay zero"
    )
    objective: MethodConfig = Field(
        default=MethodConfig(name="standard"), description="what is minimised: a registered objective"
    )
    threat: ThreatConfig | None = Field(default=None, description="what adversarial objectives train against")
    attack_mode: Literal["eval", "train"] = Field(
        default="eval", description="mode of batch norm and dropout while training inputs are attacked"
    )
    probe: Probe = Probe()
    seed: int = Field(default=0, ge=0, description="seed of everything random")
    epochs: int = Field(default=10, ge=1, description="passes over the data, at most")
    batch_size: int = Field(default=128, ge=1, description="samples per batch")
    accumulate: int = Field(default=1, ge=1, description="batches whose gradients make one step")
    validation: float = Field(default=0.1, ge=0, le=0.9, description="fraction of the training split held out")
    monitor: Literal["accuracy", "loss", "robust_accuracy"] | None = Field(
        default=None,
        description="validation score that the best epoch is chosen by: accuracy, loss or robust_accuracy (that of the"
        " probe); the last with a threat, else the first by default",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="epochs without a better validation score before training ends; those without that score, as"
        " between two probes, do not count",
    )
    clip_norm: float | None = Field(default=None, gt=0, description="largest norm of a step's gradient")
    ema: float | None = Field(default=None, gt=0, lt=1, description="decay of the weights' moving average")
    normalize: bool = Field(default=True, description="standardise inputs by the training data's mean and deviation")
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    augmentation: Augmentation = Augmentation()
    text: TextEncoding = TextEncoding()
    precision: Literal["no", "bf16", "fp16"] = Field(
        default="no", description="mixed precision of torch models: no, bf16 or fp16"
    )
    channels_last: bool = Field(default=False, description="memory layout of torch images; faster on some machines")
    checkpoint_seconds: float = Field(default=120.0, ge=0, description="seconds between checkpoints within an epoch")

    @model_validator(mode="after")
    def _has_a_network(self) -> Recipe:
        if (self.architecture is None) == (self.init is None):
            raise ValueError("expected either `architecture` or `init`, got " + ("both" if self.init else "neither"))
        if self.patience is not None and self.validation == 0:
            raise ValueError("expected `validation` > 0 with `patience`, got 0")
        return self

    @model_validator(mode="after")
    def _scores_are_measured(self) -> Recipe:
        measured = self.threat is not None and self.validation > 0 and self.probe.samples > 0
        needs = "a threat, `validation` > 0 and a probe with `samples` > 0"
        if self.monitor == "robust_accuracy" and not measured:
            raise ValueError(f"expected {needs} with `monitor` = 'robust_accuracy'")
        if self.patience and self.threat is not None and self.monitor is None and not measured:
            raise ValueError(f"expected {needs} with `patience`, or `monitor` = 'accuracy' or 'loss'")
        if self.probe.on_overfitting != "report" and not measured:
            raise ValueError(f"expected {needs} with `on_overfitting` = {self.probe.on_overfitting!r}")
        if self.probe.on_overfitting == "rewind" and self.monitor not in (None, "robust_accuracy"):
            raise ValueError("expected `monitor` = 'robust_accuracy' with `on_overfitting` = 'rewind'")
        return self

    @classmethod
    def of(cls, values: dict[str, Any], *, source: str = "recipe") -> Recipe:
        """Validate a mapping; what is wrong raises `InputError` naming the key."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InputError(f"expected a valid recipe in {source}, got: {first_problem(error)}") from None

    @classmethod
    def read(cls, path: Path | str) -> Recipe:
        """Read a TOML file."""
        try:
            return cls.of(tomllib.loads(Path(path).read_text(encoding="utf-8")), source=str(path))
        except OSError as error:
            raise InputError(f"expected a recipe file at {path}, got: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"expected TOML in {path}, got: {error}") from None
