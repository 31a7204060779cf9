"""A ranking of explainers as it is kept on disk, and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from xaibench.card import Strict, first_problem
from xaibench.errors import InputError
from xaibench.quality.ranking import Ranking

__all__ = ["MeanRow", "PlaceRow", "RankingRecord", "RefusalRow"]


class MeanRow(Strict):
    """One metric of one method; None where it is defined for no sample, or the interval for fewer than two."""

    method: str
    metric: str
    mean: float | None
    interval: tuple[float | None, float | None] = Field(description="bootstrap, 95 %")
    higher_is_better: bool


class PlaceRow(Strict):
    """A method's place; see `Ranked`."""

    place: int
    method: str
    first: float
    tied: bool


class RefusalRow(Strict):
    """A method, or one metric of it, that could not be had."""

    method: str
    metric: str | None
    reason: str


class RankingRecord(Strict):
    """What ``xaibench rank-explainers --out`` writes."""

    schema_version: Literal[1] = 1
    model: str
    model_digest: str
    data: str
    split: str
    seed: int
    n: int = Field(description="number of samples")
    by: str = Field(description="the metric that orders")
    ranking: tuple[PlaceRow, ...]
    left_out: int = Field(description="samples that the model gets wrong")
    scores: tuple[MeanRow, ...]
    refused: tuple[RefusalRow, ...]

    @classmethod
    def of(cls, found: Ranking, *, model: str, model_digest: str, data: str, split: str, seed: int) -> RankingRecord:
        """The record of a ranking."""
        named = {"model": model, "model_digest": model_digest, "data": data, "split": split, "seed": seed}
        return cls.model_validate({**named, **found.as_dict()})

    @classmethod
    def read(cls, path: Path) -> RankingRecord:
        """Read a JSON file; what is wrong with it raises `InputError`."""
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"expected a ranking at {path}, got {error.strerror}") from None
        except (ValidationError, UnicodeDecodeError) as error:
            problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
            raise InputError(f"expected a valid ranking in {path}, got: {problem}") from None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, the one that orders first."""
        return tuple(dict.fromkeys((self.by, *(row.metric for row in self.scores))))

    def of_metric(self, metric: str) -> tuple[MeanRow, ...]:
        """The methods that have this metric, best first."""
        rows = [row for row in self.scores if row.metric == metric and row.mean is not None]
        return tuple(sorted(rows, key=lambda row: (row.mean or 0.0) * (-1 if row.higher_is_better else 1)))
