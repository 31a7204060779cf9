"""Writing a model's copy with other weights, and training it on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from xaibench.card import Card
from xaibench.compression.base import Job
from xaibench.errors import InputError
from xaibench.files import move_into, write_json
from xaibench.training import train

__all__ = ["save_state", "write_copy"]


def write_copy(job: Job, write: Callable[[Path], None], *, rate: float = 1.0) -> int:
    """Write the copy with the weights file that ``write`` puts into a folder; returns the epochs of training.

    Where the job asks for epochs, training goes on from those weights at ``rate`` times the recipe's learning rate, and
    zeros stay. An interrupted one is resumed.
    """
    made = job.out / ".compression"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    if (job.folder / "tokenizer.json").exists():
        shutil.copy(job.folder / "tokenizer.json", made)
    unmeasured = {"name": job.name, "metrics": {}, "robustness": (), "weights_digest": ""}
    card = job.card.model_copy(update=unmeasured)
    write_json(made / "config.json", card.model_dump(mode="json"))
    write(made)
    if job.epochs:
        _train_on(job, made, rate)
    else:
        move_into(job.out, made, last="config.json")
    shutil.rmtree(made)
    return job.epochs or 0


def _train_on(job: Job, start: Path, rate: float) -> None:
    optimizer = dict(job.recipe({}, drop=()).optimizer.model_dump(exclude_unset=True))
    optimizer["learning_rate"] = job.recipe({}, drop=()).optimizer.learning_rate * rate
    changes = {"init": str(start), "keep_zeros": True, "epochs": job.epochs, "optimizer": optimizer}
    recipe = job.recipe(changes, drop=("architecture", "summary"))
    train(recipe, out=job.out, resume=(job.out / ".training").exists(), progress=job.progress)
    card = Card.read(job.out / "config.json")
    named = card.recipe | {"init": job.source}  # the copy that training began with is gone; its origin says more
    write_json(job.out / "config.json", card.model_copy(update={"recipe": named}).model_dump(mode="json"))


def save_state(state: Mapping[str, Tensor], folder: Path) -> None:
    """Write the weights of a torch model."""
    from safetensors.torch import save_file

    copies = {name: value.detach().contiguous().clone() for name, value in state.items()}
    try:
        save_file(copies, folder / "model.safetensors")
    except OSError as error:
        raise InputError(f"expected a folder that can be written, got {folder}: {error.strerror}") from None
