"""Training figures for TensorBoard or MLflow, which are extras and imported when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from xaibench.errors import InputError
from xaibench.training.recipe import Recipe

__all__ = ["Tracking", "tracking"]

Tracking = Literal["tensorboard", "mlflow"]

Track = Callable[[Mapping[str, Any]], None]


@contextmanager
def tracking(name: Tracking | None, folder: Path, recipe: Recipe, *, steps: int) -> Iterator[Track | None]:
    """A function that takes the lines of the log; ``steps`` are those of an epoch, whose lines stand at its last.

    ``tensorboard`` writes to ``folder/tensorboard``, ``mlflow`` to the server or folder that ``MLFLOW_TRACKING_URI``
    names, as a run of the recipe's name. A tracker that is not installed raises `InputError`.
    """
    match name:
        case None:
            yield None
        case "tensorboard":
            with _tensorboard(folder, steps) as track:
                yield track
        case "mlflow":
            with _mlflow(recipe, steps) as track:
                yield track
        case _:
            raise InputError(f"expected a tracker out of {', '.join(get_args(Tracking))}, got {name!r}")


@contextmanager
def _tensorboard(folder: Path, steps: int) -> Iterator[Track]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise _missing("tensorboard") from None
    with SummaryWriter(str(folder / "tensorboard")) as writer:

        def track(line: Mapping[str, Any]) -> None:
            for key, value in _scalars(line).items():
                writer.add_scalar(key, value, _step(line, steps))

        yield track


@contextmanager
def _mlflow(recipe: Recipe, steps: int) -> Iterator[Track]:
    try:
        import mlflow
    except ImportError:
        raise _missing("mlflow") from None
    with mlflow.start_run(run_name=recipe.name):
        mlflow.log_dict(recipe.model_dump(mode="json", exclude_unset=True), "recipe.json")

        def track(line: Mapping[str, Any]) -> None:
            mlflow.log_metrics(_scalars(line), step=_step(line, steps))

        yield track


def _missing(package: str) -> InputError:
    return InputError(f"expected {package} to be installed to track with it: pip install 'xaibench[{package}]'")


def _step(line: Mapping[str, Any], steps: int) -> int:
    return int(line["step"] if line["kind"] == "step" else line["epoch"] * steps)


def _scalars(line: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a line by names such as ``step/loss``."""
    return {
        f"{line['kind']}/{key}": float(value)
        for key, value in line.items()
        if isinstance(value, int | float) and key not in ("step", "epoch", "seconds", "probed")
    }
