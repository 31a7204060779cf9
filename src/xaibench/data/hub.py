"""Data sets of the Hugging Face Hub: from a mirror folder first, then from the Hub itself."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from xaibench.data.table import TableSource
from xaibench.errors import InputError, first_line

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

__all__ = ["KNOWN", "from_hub", "mirror_home"]

KNOWN = {"cifar10": "uoft-cs/cifar10", "imdb": "stanfordnlp/imdb", "mnist": "ylecun/mnist"}
"""Short names of the Hub's data sets."""

_CONNECT_SECONDS = 5.0


def mirror_home() -> Path | None:
    """The folder that ``XAIBENCH_DATA_HOME`` names, if it is set."""
    home = os.environ.get("XAIBENCH_DATA_HOME")
    return Path(home).expanduser() if home else None


def from_hub(name: str, label: str | None = None) -> TableSource:
    """A data set ``owner/name`` of the Hub, through `datasets` and its cache.

    An unreachable Hub is noticed at once, by one request without retries.
    """
    import datasets
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        if not huggingface_hub.constants.HF_HUB_OFFLINE:
            huggingface_hub.HfApi().dataset_info(name, timeout=_CONNECT_SECONDS)
        loaded = datasets.load_dataset(name)
    except (RepositoryNotFoundError, GatedRepoError):
        raise InputError(f"expected a public data set of the Hugging Face Hub, got {name!r}") from None
    except Exception as error:  # the clients below raise dozens of kinds, from name resolution to broken archives
        raise InputError(
            f"expected data set {name!r} at $XAIBENCH_DATA_HOME/{name} or from the Hugging Face Hub, got "
            f"{type(error).__name__} ({first_line(error)}); with HF_HUB_OFFLINE=1 an earlier download is used"
        ) from None
    return TableSource.open(name, {str(split): partial(_table, part) for split, part in loaded.items()}, label)


def _table(part: datasets.Dataset) -> pa.Table:
    return part.with_format("arrow")[:].replace_schema_metadata(part.features.arrow_schema.metadata)
