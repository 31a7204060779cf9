"""Which words are near to each other in the embedding of the model itself."""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.threats import Words
from xaibench.types import Classifier

__all__ = ["check_distance", "embedding_matrix", "nearest_words", "neighbour_table"]

_LENGTH = 64


def embedding_matrix(model: Classifier, vocabulary: int) -> Tensor:
    """The embeddings (vocabulary, dimension) of all token ids, float64."""
    length = (model.input_shape or (None,))[0] or _LENGTH
    ids = torch.arange(-(-vocabulary // length) * length, device=model.device)
    grid = ids.where(ids < vocabulary, 0).view(-1, length)
    with torch.no_grad():
        return model.embed(grid).flatten(0, 1)[:vocabulary].double()


def nearest_words(matrix: Tensor, wanted: Tensor, allowed: Tensor, count: int, max_distance: float | None) -> Tensor:
    """For each ``wanted`` id (w,) the ``count`` ids nearest by cosine among the ``allowed`` (vocabulary,): (w, count).

    Nearest first, never the word itself; -1 where there are no more within ``max_distance``, a cosine distance.
    """
    unit = torch.nn.functional.normalize(matrix, dim=1)
    table = []
    for part in wanted.split(512):
        similarity = (unit[part] @ unit.T).masked_fill(~allowed, -torch.inf)
        similarity = similarity.scatter(1, part[:, None], -torch.inf)
        best, ids = similarity.topk(min(count, similarity.shape[1]), dim=1)
        floor = -torch.inf if max_distance is None else 1 - max_distance
        table.append(ids.masked_fill((best < floor) | (best == -torch.inf), -1))
    return torch.cat(table)


def neighbour_table(matrix: Tensor, clean: Tensor, threat: Words, count: int, max_distance: float | None) -> Tensor:
    """The ``count`` nearest words that may be put into a text, (vocabulary, count), for the words of the texts.

    ``matrix`` (vocabulary, dimension) holds the embeddings; -1 where there are no more.
    """
    wanted = clean[threat.editable(clean)].unique()
    table = wanted.new_full((len(matrix), count), -1)
    if len(wanted):
        near = nearest_words(matrix, wanted, threat.allowed.to(matrix.device), count, max_distance)
        table[wanted, : near.shape[1]] = near
    return table


def check_distance(max_distance: float | None) -> None:
    """Raise `InputError` unless a cosine distance is None or within 0..2, without 0."""
    if max_distance is not None and not 0 < max_distance <= 2:
        raise InputError(f"expected 0 < `max_distance` <= 2, a cosine distance, got {max_distance}")
