"""Edited texts against the enumeration of all edits, and the shipped review models."""

from __future__ import annotations

import itertools

import factories
import pytest
import torch
from small_models import inputs_for, keras_token_net, token_net, torch_cnn
from torch import Tensor, nn

from xaibench.attacks.text.neighbours import embedding_matrix
from xaibench.classifiers import TorchClassifier
from xaibench.counterfactuals import counterfactual
from xaibench.counterfactuals.goal import Goal
from xaibench.counterfactuals.words import KEPT, REMOVED, WordSearch, edited
from xaibench.errors import InputError
from xaibench.threats.lexicon import Lexicon
from xaibench.types import Classifier

LENGTH, VOCABULARY = 5, 8


class Pairs(nn.Module):
    """Logits of the mean of embeddings through a hidden layer; padding counts for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 6, padding_idx=0)
        self.head = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 2))

    def forward(self, tokens: Tensor) -> Tensor:
        keep = (tokens != 0).unsqueeze(-1).float()
        return self.head((self.embedding(tokens) * keep).sum(1) / keep.sum(1).clamp(min=1))


def small(seed: int) -> Classifier:
    torch.manual_seed(seed)
    return TorchClassifier(Pairs(), task="text", input_shape=(LENGTH,))


def texts(n: int, seed: int) -> Tensor:
    x = torch.randint(1, VOCABULARY, (n, LENGTH), generator=torch.Generator().manual_seed(seed))
    x[0, -2:] = 0
    return x


def fewest(model: Classifier, clean: Tensor, choices: list[int]) -> float:
    """Fewest edits that change the decision, over all plans."""
    options = [choices if token else [KEPT] for token in clean.tolist()]
    plans = torch.tensor(list(itertools.product(*options)))
    rows = edited(clean.expand_as(plans), plans, 0)
    flips = model.predict(rows) != model.predict(clean[None])
    count = ((plans != KEPT) & (plans != clean)).sum(dim=1)
    return float(count[flips].min()) if bool(flips.any()) else float("inf")


@pytest.mark.parametrize("seed", range(6))
def test_removals_are_the_fewest_of_all(seed: int) -> None:
    model, x = small(seed), texts(4, seed)
    found = counterfactual(model, x, words="remove", beam=100)
    for i in range(4):
        assert float(found.distance[i]) == fewest(model, x[i], [KEPT, REMOVED])


@pytest.mark.parametrize("seed", range(3))
def test_exchanges_are_the_fewest_of_all(seed: int) -> None:
    model, x = small(seed), texts(3, seed)
    found = counterfactual(model, x, words="both", beam=2000)
    for i in range(3):
        exact = fewest(model, x[i], [KEPT, REMOVED, *range(1, VOCABULARY)])
        assert float(found.distance[i]) == exact
        assert bool(found.found[i]) == (exact < float("inf"))
        assert len(found.edits[i]) == int(found.changed[i])


@pytest.mark.parametrize("make", [token_net, keras_token_net])
@pytest.mark.parametrize("words", ["remove", "replace", "both"])
def test_answers_are_fresh_flips(make: object, words: str) -> None:
    model = make()  # type: ignore[operator]
    x = inputs_for(model, 5)
    found = counterfactual(model, x, words=words, max_changes=4)  # type: ignore[arg-type]
    assert torch.equal(model.predict(found.inputs) != model.predict(x), found.found)
    assert torch.equal(model.predict(found.inputs), found.after)
    assert bool((found.changed[found.found] <= 4).all())
    if words != "remove":
        assert int(found.found.sum()) >= 4
    targets = (model.predict(x) + 1) % 3
    aimed = counterfactual(model, x, targets, words=words, max_changes=4)  # type: ignore[arg-type]
    assert torch.equal(model.predict(aimed.inputs)[aimed.found], targets[aimed.found])


def test_edits_read_as_words() -> None:
    """Values add up to 3 + 0 + 1 for class 0; silly counts -3, dull -2."""
    model = factories.words()
    found = counterfactual(model, ["lovely film good"], words="replace")
    assert [str(edit) for edit in found.edits[0]] == ["word 1: 'lovely' -> 'silly'"]
    assert model.tokens(found.inputs)[0][:4] == ["silly", "film", "good", ""]
    kept = counterfactual(model, ["lovely film good"], words="replace", immutable=["lovely"])
    assert [edit.feature for edit in kept.edits[0]] == ["word 2", "word 3"]
    gone = counterfactual(model, ["bad lovely film"], words="remove")
    assert [str(edit) for edit in gone.edits[0]] == ["word 2: 'lovely' removed"]
    assert model.tokens(gone.inputs)[0][:3] == ["bad", "film", ""]
    assert gone.norm == "words"


def test_the_gradient_ranks_exchanges_at_their_own_places() -> None:
    """With film out, the first-order best of "good lovely" is lovely to silly, worth 6, at its place in the text."""
    model = factories.words()
    x = model.encode(["film good lovely"])
    search = WordSearch(goal=Goal.of(model, x, None), remove=False, replace=True, most=1, beam=1, candidates=1, stay=())
    lexicon = Lexicon.of(model, ())
    matrix = embedding_matrix(model, len(lexicon.vocabulary.words))
    state = torch.full_like(x, KEPT)
    state[0, 0] = REMOVED
    plans = search._exchanges(0, x[0], state, free=x[0] != 0, matrix=matrix, lexicon=lexicon)
    silly = lexicon.vocabulary.words.index("silly")
    assert plans.tolist() == [[REMOVED, KEPT, silly, *[KEPT] * 5]]


def test_left_padding_stays_on_the_left() -> None:
    clean = torch.tensor([[0, 0, 5, 6, 7]])
    plan = torch.tensor([[KEPT, KEPT, KEPT, REMOVED, 9]])
    assert edited(clean, plan, 0).tolist() == [[0, 0, 0, 5, 9]]


def test_bad_input_is_refused() -> None:
    model = factories.words()
    with pytest.raises(InputError, match="vocabulary to stay, got 'zebra'"):
        counterfactual(model, ["good film"], immutable=["zebra"])
    with pytest.raises(InputError, match="words as remove, replace or both"):
        counterfactual(model, ["good film"], words="swap")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="norm as auto, words for text"):
        counterfactual(model, ["good film"], norm="l2")
    with pytest.raises(InputError, match="norm as auto"):
        counterfactual(torch_cnn(), inputs_for(torch_cnn(), 1), norm="words")
