"""Long work in processes of its own: command lines that outlive the browser, the page and the app that started them."""

from xaibench.cli.stages import Stage
from xaibench.jobs.forecast import Forecast
from xaibench.jobs.job import Job
from xaibench.jobs.queue import find, jobs, remove, resume, start, stop

__all__ = ["Forecast", "Job", "Stage", "find", "jobs", "remove", "resume", "start", "stop"]
