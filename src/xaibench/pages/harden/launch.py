"""How long a training will take, and its start as a job that writes a model of its own."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.errors import InputError

if TYPE_CHECKING:
    from xaibench.jobs import Job
    from xaibench.pages.harden.plan import Plan
    from xaibench.training.estimate import Pace

__all__ = ["KIND", "LONGEST_HOURS", "copies_of", "seconds_of", "start", "threat_of"]

KIND = "harden"
LONGEST_HOURS = 8
"""A training that the app starts takes a night at most, by its estimate; the command line has no limit."""
_LONGEST_NAME = 60
_STARTING = threading.Lock()
"""One start at a time, so that no two trainings choose the same folder."""
_TIMING = threading.Lock()


def seconds_of(plan: Plan) -> float:
    """About how long a training takes on this machine, from one step of it."""
    return _pace(plan.recipe().model_dump_json(exclude_unset=True, exclude={"epochs", "name", "summary"})).seconds(
        plan.epochs
    )


@st.cache_data(show_spinner="Timing one step of the training", max_entries=64)
def _pace(recipe: str) -> Pace:
    import json

    from xaibench.training.estimate import pace
    from xaibench.training.recipe import Recipe

    with _TIMING:
        return pace(Recipe.of({**json.loads(recipe), "name": "timed"}))


def start(plan: Plan, seconds: float) -> Job:
    """Start a training in the background; raises `InputError` where that would take too long."""
    from xaibench.cli.stages import show_time
    from xaibench.jobs import start as begin

    if seconds > 3600 * LONGEST_HOURS:
        raise InputError(
            f"expected a training of at most {LONGEST_HOURS} hours, got about {show_time(seconds)}:"
            " choose fewer epochs or rows, or run the command in a terminal"
        )
    with _STARTING:
        out = free_folder(plan.model)
        arguments = (*plan.arguments, "--out", str(out), "--json")
        return begin(arguments, kind=KIND, title=f"{out.name}, from {plan.model}", out=out, expected=seconds)


def free_folder(model: str) -> Path:
    """A folder for the hardened copy of a model, which no model and no training has."""
    from xaibench.jobs import jobs
    from xaibench.zoo import model_homes

    homes = model_homes()
    taken = {job.out.name for job in jobs(KIND) if job.out is not None}
    base = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")[:_LONGEST_NAME].strip("-") or "model"
    base = base if base.endswith("-robust") else f"{base}-robust"
    names = (base if count == 1 else f"{base}-{count}" for count in range(1, 10_000))
    return homes[0] / next(name for name in names if name not in taken and not any((h / name).exists() for h in homes))


def copies_of(model: str) -> tuple[str, ...]:
    """The hardened copies of a model that the app has trained and that are there still, the latest first."""
    from xaibench.jobs import jobs

    done = (job for job in jobs(KIND) if job.state == "finished" and job.arguments[1] == model)
    return tuple(job.out.name for job in done if job.out is not None and job.out.is_dir())


def threat_of(job: Job) -> tuple[str, float]:
    """The norm and radius that a job trains against."""
    told = dict(zip(job.arguments, job.arguments[1:], strict=False))
    return told.get("--norm", "linf"), float(told.get("--eps", "nan"))
