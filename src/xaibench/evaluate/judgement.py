"""Robust accuracy under one attack at one radius, as a small record that says what it was measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from xaibench.card import RobustAccuracy, first_problem
from xaibench.data import Data
from xaibench.errors import InputError, UnsupportedError
from xaibench.evaluate.hardness import StageRow
from xaibench.evaluate.plan import Plan
from xaibench.evaluate.results import Evaluation
from xaibench.evaluate.run import run
from xaibench.metrics import wilson_interval
from xaibench.types import Classifier, Progress

__all__ = ["Judgement", "judge"]

_ROBUST, _BROKEN, _WRONG = "rbw"


class Judgement(RobustAccuracy):
    """What ``xaibench evaluate --attack`` says: robust accuracy, and what became of each sample."""

    schema_version: Literal[1] = 1
    model: str
    data: str
    data_digest: str = Field(description="digest of the samples")
    seed: int = Field(description="seed of the attack, and of the selection where rows were drawn")
    outcomes: str = Field(
        pattern=f"^[{_ROBUST}{_BROKEN}{_WRONG}]+$",
        description="a letter for each sample, in order: robust; broken; wrong before any attack",
    )
    stages: tuple[StageRow, ...] = Field(default=(), description="what each attack of an ensemble broke")
    versions: dict[str, str] = Field(default={}, description="of what it was computed with")

    @model_validator(mode="after")
    def _adds_up(self) -> Judgement:
        robust, wrong = self.outcomes.count(_ROBUST), self.outcomes.count(_WRONG)
        counted = (len(self.outcomes), 1 - wrong / self.n, robust / self.n, wilson_interval(robust, self.n))
        if counted != (self.n, self.clean_accuracy, self.robust_accuracy, self.interval):
            raise ValueError(f"expected the figures of `outcomes`, {robust} robust of {counted[0]}, got others")
        return self

    @classmethod
    def read(cls, path: Path) -> Judgement:
        """Read a JSON file; what is wrong with it raises `InputError`."""
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"expected a robust accuracy at {path}, got {error.strerror}") from None
        except (ValidationError, UnicodeDecodeError) as error:
            problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
            raise InputError(f"expected a valid robust accuracy in {path}, got: {problem}") from None

    @property
    def summary(self) -> RobustAccuracy:
        """The part of it that a model's card states."""
        return RobustAccuracy(**self.model_dump(include=set(RobustAccuracy.model_fields)))


def judge(
    model: Classifier,
    data: Data,
    *,
    name: str,
    attack: str,
    norm: str = "linf",
    eps: float | None = None,
    seed: int = 0,
    rows: Literal["all", "first", "drawn"] = "drawn",
    out: Path | None = None,
    progress: Progress | None = None,
) -> Judgement:
    """Attack a classifier, called ``name``, on all samples of ``data``; `run` says what is refused.

    ``attack`` is an attack or ensemble as a spec, ``norm`` and ``eps`` those of a `Plan`; ``rows`` says how the samples
    were chosen. Finished work is kept in the folder ``out``, from where the same call goes on.
    """
    plan = Plan(
        model=name,
        seed=seed,
        norm=norm,
        eps=eps,
        curve=(),
        attacks=(attack,),
        explainers=(),
        samples=0,
        proofs=0,
        checks=False,
        minimal=0,
        corruptions=0,
        assessed=0,
        compared=0,
        manipulated=0,
    )
    return _judgement(run(plan, model, data, out=out, progress=progress), attack, rows)


def _judgement(found: Evaluation, attack: str, rows: Literal["all", "first", "drawn"]) -> Judgement:
    robustness = found.results.robustness
    if robustness is None:
        raise UnsupportedError(found.results.not_measured[0].reason)
    broken_at = found.adversarials[f"broken_at/{attack}"].tolist()
    outcomes = "".join(_WRONG if at == 0 else _BROKEN if at <= robustness.index else _ROBUST for at in broken_at)
    n, robust = len(outcomes), outcomes.count(_ROBUST)
    return Judgement(
        model=found.model.name,
        data=found.data.name,
        data_digest=found.data.digest,
        split=found.data.split,
        n=n,
        rows=rows,
        seed=found.plan.seed,
        norm=robustness.norm,
        eps=robustness.eps,
        attack=attack,
        clean_accuracy=1 - outcomes.count(_WRONG) / n,
        robust_accuracy=robust / n,
        interval=wilson_interval(robust, n),
        weights_digest=found.model.digest,
        outcomes=outcomes,
        stages=robustness.attacks[0].stages,
        versions=dict(found.versions),
    )
