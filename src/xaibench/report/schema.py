"""``report.json``: its shape, published as a JSON schema."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from xaibench.card import Strict, first_problem
from xaibench.errors import InputError
from xaibench.evaluate import Evaluation, Plan
from xaibench.evaluate.hardness import Count, check_lengths
from xaibench.evaluate.results import DataInfo, ModelInfo, Results
from xaibench.report.consistency import check_consistent

__all__ = ["SCHEMA_ID", "Report", "Timings", "report_schema"]

SCHEMA_ID = "urn:xaibench:report:3"
_YEARS = range(1970, 9999)
"""Those that have a time of their own in every time zone, on every machine."""


class Timings(Strict):
    """When the report was made and what its work took: all that differs between two equal runs."""

    finished: str = Field(description="UTC, ISO 8601")
    seconds: dict[str, float] = Field(
        description="seconds of work by stage; those of one stage of an ensemble, a part of its own, after a colon"
    )
    passes: dict[str, tuple[Count, Count]] = Field(
        default={}, description="samples passed through the model forwards and backwards, by attack, at all radii"
    )
    page_digest: str | None = Field(default=None, description="SHA-256 of index.html, which shows these times")

    @field_validator("finished")
    @classmethod
    def _is_a_time(cls, text: str) -> str:
        moment = datetime.fromisoformat(text)
        if moment.utcoffset() != timedelta() or moment.year not in _YEARS:
            raise ValueError(f"expected a time in UTC, such as 2026-01-31T12:00:00+00:00, got {text!r:.80}")
        return text


class Report(Strict):
    """One evaluation of one classifier."""

    schema_version: Literal[1, 2, 3] = 3
    summary: str = Field(description="the results in a few sentences, and one for each caveat")
    plan: Plan = Field(description="what was asked for, with every open field filled in")
    model: ModelInfo
    data: DataInfo
    results: Results
    results_digest: str = Field(
        description="SHA-256 of results, adversarial examples and attributions; equal for equal runs"
    )
    files: dict[str, str] = Field(description="SHA-256 of the files that belong to the report, by name")
    versions: dict[str, str]
    digest: str | None = Field(default=None, description="SHA-256 of this document without `digest` and `timings`")
    timings: Timings

    @model_validator(mode="after")
    def _is_whole(self) -> Report:
        """Check that its parts speak of the same samples and classes, so that every reader can rely on it."""
        results, classes = self.results, len(self.model.class_names)
        check_lengths(classes, per_class=results.clean.per_class)
        if max(results.classes, default=0) >= classes:
            raise ValueError(
                f"expected classes from 0 to {classes - 1} of explained samples, got {max(results.classes)}"
            )
        if results.clean.n != self.data.n:
            raise ValueError(f"expected metrics of {self.data.n} samples, got {results.clean.n}")
        robustness = results.robustness
        if robustness is not None:
            if robustness.per_class or robustness.attacks:  # neither in the first version
                check_lengths(classes, per_class=robustness.per_class, confusion_matrix=robustness.confusion_matrix)
            for curve in (*robustness.curves, robustness.worst_case):
                if max(curve.robust) > self.data.n:
                    raise ValueError(f"expected at most {self.data.n} robust samples, got {max(curve.robust)}")
        check_lengths(classes, **{"names of the data's classes": self.data.class_names})
        check_consistent(results, self.plan, self.data.n)
        return self

    @classmethod
    def of(cls, evaluation: Evaluation, *, files: dict[str, str], finished: str) -> Report:
        """The report of an evaluation whose tensors were written to ``files`` (name to digest)."""
        report = cls(
            summary=evaluation.summary,
            plan=evaluation.plan,
            model=evaluation.model,
            data=evaluation.data,
            results=evaluation.results,
            results_digest=evaluation.digest,
            files=files,
            versions=dict(evaluation.versions),
            timings=Timings(finished=finished, seconds=dict(evaluation.seconds), passes=dict(evaluation.passes)),
        )
        return report.model_copy(update={"digest": report.own_digest()})

    @property
    def stated(self) -> dict[str, str | None]:
        """SHA-256 of the files beside the document, by name, as it states them."""
        return {**self.files, "index.html": self.timings.page_digest}

    def own_digest(self) -> str:
        """SHA-256 of the document without digest and timings, as JSON with sorted keys."""
        return _digest(self.model_dump(mode="json"))

    @classmethod
    def read(cls, folder: Path | str) -> Report:
        """The report in a folder; one that is missing, malformed or contradicts itself raises `InputError`."""
        return cls._parsed(folder)[0]

    @classmethod
    def read_unchanged(cls, folder: Path | str) -> Report:
        """As `read`, for those who pass its numbers on: one that was changed after it was written is refused as well.

        Its own digest tells, which reports of the first version do not have. Who writes a new digest is not found out
        here: that takes `xaibench.report.verify`.
        """
        report, text = cls._parsed(folder)
        if report.schema_version > 1 and report.digest not in (report.own_digest(), _digest(json.loads(text))):
            raise InputError(
                f"expected a report as it was written in {Path(folder) / 'report.json'}, got one that was changed"
                " after: its digest is not that of its numbers"
            )
        return report

    @classmethod
    def _parsed(cls, folder: Path | str) -> tuple[Report, bytes]:
        path = Path(folder) / "report.json"
        try:
            text = path.read_bytes()
            return cls.model_validate_json(text), text
        except OSError as error:
            raise InputError(f"expected a report at {path}, got {error.strerror}") from None
        except ValidationError as error:
            raise InputError(f"expected a report in {path}, got: {first_problem(error)}") from None


def _digest(document: dict[str, Any]) -> str:
    values = {key: value for key, value in document.items() if key not in ("digest", "timings")}
    return hashlib.sha256(json.dumps(values, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def report_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) that every ``report.json`` of this version fulfils."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **Report.model_json_schema(mode="serialization"),
    }
