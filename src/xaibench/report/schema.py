"""``report.json``: its shape, published as a JSON schema."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from xaibench.card import Strict
from xaibench.evaluate import Evaluation, Plan
from xaibench.evaluate.results import DataInfo, ModelInfo, Results

__all__ = ["SCHEMA_ID", "Report", "Timings", "report_schema"]

SCHEMA_ID = "urn:xaibench:report:1"


class Timings(Strict):
    """When the report was made and how long its work took: all that differs between two equal runs."""

    finished: str = Field(description="UTC, ISO 8601")
    seconds: dict[str, float] = Field(description="seconds of work by stage")


class Report(Strict):
    """One evaluation of one classifier."""

    schema_version: Literal[1] = 1
    summary: str = Field(description="the results in three sentences, and one for each caveat")
    plan: Plan = Field(description="what was asked for, with every open field filled in")
    model: ModelInfo
    data: DataInfo
    results: Results
    results_digest: str = Field(
        description="SHA-256 of results, adversarial examples and attributions; equal for equal runs"
    )
    files: dict[str, str] = Field(description="SHA-256 of the files that belong to the report, by name")
    versions: dict[str, str]
    timings: Timings

    @classmethod
    def of(cls, evaluation: Evaluation, *, files: dict[str, str], finished: str) -> Report:
        """The report of an evaluation whose tensors were written to ``files`` (name to digest)."""
        return cls(
            summary=evaluation.summary,
            plan=evaluation.plan,
            model=evaluation.model,
            data=evaluation.data,
            results=evaluation.results,
            results_digest=evaluation.digest,
            files=files,
            versions=dict(evaluation.versions),
            timings=Timings(finished=finished, seconds=dict(evaluation.seconds)),
        )


def report_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) that every ``report.json`` of this version fulfils."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **Report.model_json_schema(mode="serialization"),
    }
