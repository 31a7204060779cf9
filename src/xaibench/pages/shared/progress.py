"""How far a run is, as a share and in words: its stage, and how long it still takes, as far as that can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xaibench.jobs import Forecast, Job, Stage

__all__ = ["progress_share", "progress_words"]

_HARDLY_LEFT = 0.5
"""Seconds below which nothing is said to be left."""


def progress_share(job: Job, stage: Stage | None, left: Forecast | None) -> float:
    """How much is done: of the whole where it is known how long that takes, else of the stage under way."""
    if left is not None and not left.is_least:
        return job.seconds / max(job.seconds + (left.low + left.high) / 2, 1e-9)
    return min(1.0, stage.done / stage.total) if stage is not None and stage.total else 0.0


def progress_words(job: Job, stage: Stage | None, left: Forecast | None, ran: str) -> str:
    """The stage and how far it is, how long the whole or else the stage still takes, and how long it ``ran``."""
    from xaibench.cli.stages import show_time
    from xaibench.drawing.labels import stage_label

    whole = "" if left is None else _whole(left, job.seconds, of_others=job.expected is None)
    if stage is None:
        return " · ".join(filter(None, ["Putting together" if job.stages else "Beginning", whole, ran]))
    in_stage = 0.0 if whole else job.seconds_left or 0.0
    most = "" if job.most_stages in (None, len(job.stages)) else f" of up to {job.most_stages}"
    parts = [
        f"Stage {len(job.stages)}{most}, {stage_label(stage.name)}: {stage.done} of {stage.total}",
        stage.info,
        whole or ("" if in_stage < _HARDLY_LEFT else f"about {show_time(in_stage)} left in this stage"),
        ran,
    ]
    return " · ".join(filter(None, parts))


def _whole(left: Forecast, ran: float, *, of_others: bool) -> str:
    """How long the whole still takes, with what that is judged by where it is not the model itself.

    Other models tell the last stages of a run of ``ran`` seconds badly: once they leave it less than that, their range
    is no more than a lower bound.
    """
    from xaibench.cli.stages import show_time

    if left.high < _HARDLY_LEFT:
        return ""
    low, high = show_time(left.low), show_time(left.high)
    if left.is_least or (of_others and left.high < ran):
        return f"at least {low} left" if left.low >= _HARDLY_LEFT else ""
    judged = ", judged by other models" if of_others else ""
    return f"{low} to {high} left{judged}" if low != high else f"about {high} left{judged}"
