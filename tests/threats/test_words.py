"""The threat model of words: how edits are counted, and what must stay."""

import itertools
import json
from functools import cache

import pytest
import torch
from small_models import token_net
from torch import Tensor, nn

from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError, UnsupportedError
from xaibench.threats import Words, as_dict, check_threat, contains, threat
from xaibench.threats.edits import edit_distance
from xaibench.types import Bounds, Classifier

UNIT = Bounds(0.0, 1.0)
WORDS = ["[PAD]", "[UNK]", "not", "don", "'", "t", "good", "bad", "film", "a", ".", "never", "isn't"]
WORDS += ["can", "it", "was"]


@cache
def reader(direction: str = "right", cut: str = "right", length: int = 8) -> Classifier:
    """A bag of words with a tokenizer that splits at punctuation but knows ``isn't`` whole."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"isn't|\w+|[^\w\s]"), "removed", invert=True)
    tokenizer.enable_truncation(length, direction=cut)
    tokenizer.enable_padding(length=length, pad_id=0, pad_token="[PAD]", direction=direction)
    module = nn.Sequential(nn.Embedding(len(WORDS), 3), nn.Flatten(), nn.Linear(3 * length, 2))
    return TorchClassifier(module, task="text", tokenizer=tokenizer, input_shape=(length,))


def row(text: str) -> Tensor:
    found = [WORDS.index(word) for word in text.split()]
    return torch.tensor([found + [0] * (8 - len(found))])


def _levenshtein(a: list[int], b: list[int]) -> int:
    """By the recursive definition, from memory."""

    @cache
    def cost(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(cost(i - 1, j) + 1, cost(i, j - 1) + 1, cost(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return cost(len(a), len(b))


@pytest.mark.parametrize("cut", ["left", "right"])
def test_edits_are_counted_as_by_definition(cut: str) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randint(0, 4, (300, 6), generator=generator) for _ in "ab")
    got = edit_distance(a, b, 0, cut)  # type: ignore[arg-type]
    for text, other, distance in zip(a.tolist(), b.tolist(), got.tolist(), strict=True):
        words, others = ([token for token in tokens if token] for tokens in (text, other))
        if len(others) < 6:
            assert distance == _levenshtein(words, others)
        else:
            kept = [words[i:] if cut == "left" else words[: len(words) - i] for i in range(len(words) + 1)]
            assert distance == min(_levenshtein(some, others) for some in kept)


def test_substitutions_count_once_and_insertions_once_though_all_behind_them_move() -> None:
    clean = torch.tensor([[5, 6, 7, 8, 9, 0, 0]])
    changed, joined = torch.tensor([[5, 1, 7, 1, 9, 0, 0]]), torch.tensor([[1, 5, 6, 7, 8, 9, 0]])
    assert edit_distance(clean, changed, 0).tolist() == [2]
    assert edit_distance(clean, joined, 0).tolist() == [1]
    full, pushed = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[5, 1, 6, 7]])
    assert edit_distance(full, pushed, 0, "right").tolist() == [1]
    assert edit_distance(full, pushed, 0, "left").tolist() == [2]


@pytest.mark.parametrize(
    ("clean", "edited", "allowed"),
    [
        ("it was good", "it was bad", True),
        ("it was good", "it was not", False),
        ("it was not good", "it was a good", False),
        ("it was not good", "it was not bad", True),
        ("it was not good", "it was never good", False),
        ("don ' t film it", "film ' t film it", False),
        ("don ' t film it", "don ' a film it", False),
        ("don ' t film it", "don ' t film a", True),
        ("it isn't good", "it was good", False),
        ("can it film", "a it film", True),
        ("can ' t film", "a ' t film", False),
        ("can it t film", "can ' t film", False),
        ("it was good", "it was a good", True),
    ],
)
def test_negations_stay_and_none_comes(clean: str, edited: str, allowed: bool) -> None:
    words = Words(3).fit(reader())
    assert contains(words, row(edited), row(clean), UNIT).tolist() == [allowed]
    assert words.keeps(row(edited), row(clean)).tolist() == [allowed]
    free = Words(3, negations=()).fit(reader())
    assert contains(free, row(edited), row(clean), UNIT).tolist() == [True]


def test_parts_of_negations_and_all_that_is_no_word_cannot_be_edited() -> None:
    words = Words(1).fit(reader())
    clean = row("don ' t film it . [UNK] a")
    assert words.editable(clean).tolist() == [[False, False, False, True, True, False, False, True]]
    assert words.editable(row("can it t")).tolist() == [[True, True, True] + [False] * 5]
    assert [WORDS[i] for i in words.allowed.nonzero().flatten().tolist()] == ["good", "bad", "film", "a", "it", "was"]


@pytest.mark.parametrize("direction", ["left", "right"])
def test_shares_of_the_text_stay(direction: str) -> None:
    model = reader(direction)
    words = Words(8, keep_first=0.3, keep_last=0.2, negations=()).fit(model)
    clean = model.encode(["it was a good film"])
    assert int(words.editable(clean).sum()) == 2
    tokens = [token for token in clean[0].tolist() if token]
    for position in range(5):
        edited = clean.clone()
        edited[edited == tokens[position]] = WORDS.index("bad")
        assert words.keeps(edited, clean).tolist() == [position in (2, 3)]


def test_insertions_keep_the_ends_wherever_they_are_counted_from() -> None:
    words = Words(8, keep_first=0.5, keep_last=0.25, negations=()).fit(reader())
    clean = row("it was good film")
    allowed = {
        "bad it was good film": False,
        "it bad was good film": False,
        "it was bad good film": True,
        "it was good bad film": True,
        "it was good film bad": False,
    }
    for text, expected in allowed.items():
        assert words.keeps(row(text), clean).tolist() == [expected], text


def test_padding_stays_on_its_side_and_no_text_shrinks() -> None:
    words = Words(8, negations=()).fit(reader())
    clean = torch.tensor([[6, 7, 8, 0, 0, 0, 0, 0]])
    for edited, expected in (
        ([6, 7, 8, 9, 0, 0, 0, 0], True),
        ([6, 7, 8, 0, 0, 9, 0, 0], False),
        ([6, 7, 0, 0, 0, 0, 0, 0], False),
        ([6, 0, 8, 0, 0, 0, 0, 0], False),
    ):
        assert words.keeps(torch.tensor([edited]), clean).tolist() == [expected], edited


def test_the_budget_is_the_smaller_of_number_and_share() -> None:
    words = Words(3, max_share=0.5).fit(reader())
    texts = torch.cat([row("it was good"), row("it"), row("it was a good film it was a"), row("it was a good film a")])
    assert words.budget(texts).tolist() == [1, 0, 3, 3]
    clean, edited = row("it was good"), row("a a good")
    assert contains(Words(3, max_share=0.5).fit(reader()), edited, clean, UNIT).tolist() == [False]
    assert contains(Words(2).fit(reader()), edited, clean, UNIT).tolist() == [True]
    assert contains(Words(1).fit(reader()), edited, clean, UNIT).tolist() == [False]


def test_every_row_is_judged_on_its_own() -> None:
    words = Words(2, keep_last=0.2).fit(reader())
    pairs = list(itertools.product(["it was not good", "don ' t film", "a film ."], ["a was not good", "a film a ."]))
    clean, edited = (torch.cat([row(pair[side]) for pair in pairs]) for side in (0, 1))
    together = contains(words, edited, clean, UNIT)
    assert [bool(contains(words, edited[i : i + 1], clean[i : i + 1], UNIT)) for i in range(6)] == together.tolist()
    assert together.any()
    assert not together.all()


def test_without_a_tokenizer_ids_are_words_and_nothing_negates() -> None:
    words = Words(2).fit(token_net())
    clean = torch.tensor([[3, 4, 5, 0, 0, 0, 0]])
    assert words.editable(clean).tolist() == [[True] * 3 + [False] * 4]
    assert int(words.allowed.sum()) == 29


def test_names_and_json() -> None:
    words = threat("words", 4)
    assert words == Words(4)
    assert (words.norm, words.eps, words.scale) == ("words", 4, None)
    other = Words(2, keep_first=0.25, max_share=0.5, negations=("no",))
    keywords = json.loads(json.dumps(as_dict(other)))
    assert threat(**keywords) == other
    assert words.fit(token_net()) == words


def test_bad_threats_are_refused_in_one_line() -> None:
    for k in (0, 2.5, True, float("nan")):
        with pytest.raises(InputError, match=r"expected k >= 1 edited words \(a whole number\), got"):
            threat("words", k)
    with pytest.raises(InputError, match="expected shares `keep_first` and `keep_last` >= 0 with a sum below 1"):
        Words(1, keep_first=0.5, keep_last=0.5)
    with pytest.raises(InputError, match="expected 0 < `max_share` <= 1, got 0"):
        Words(1, max_share=0.0)
    with pytest.raises(InputError, match="expected 1 <= k <= 7 words, the length of a text, got 8"):
        check_threat(Words(8), UNIT, (7,))
    with pytest.raises(InputError, match="expected a threat of words fitted to a model"):
        contains(Words(1), row("it"), row("a"), UNIT)
    with pytest.raises(UnsupportedError, match="expected linf, l2, l1 or l0, got words"):
        Words(1).project(row("it"), row("a"), UNIT)
    table = TorchClassifier(nn.Linear(3, 2), task="tabular", input_shape=(3,))
    with pytest.raises(UnsupportedError, match="a threat of words needs a model of text, got task 'tabular'"):
        Words(1).fit(table)
