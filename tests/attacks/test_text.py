"""Attacks on texts: what they promise, and what each of them must find."""

from __future__ import annotations

import itertools
from functools import cache, partial
from types import MappingProxyType
from typing import Any

import factories
import pytest
import torch
from small_models import inputs_for, keras_token_net, token_net, torch_cnn
from torch import Tensor, nn

from xaibench.attacks import HotFlip, WordInsertion, WordSubstitution, attacks
from xaibench.attacks.base import attacks_for
from xaibench.attacks.text import CharacterEdits, misspellings
from xaibench.attacks.text.edits import Edits, States, insert, removed, substitute
from xaibench.attacks.text.neighbours import embedding_matrix, nearest_words
from xaibench.attacks.text.ranking import importance
from xaibench.classifiers import KerasClassifier, TorchClassifier
from xaibench.errors import InputError, UnsupportedError
from xaibench.losses import margin
from xaibench.registry import Spec
from xaibench.threats import Linf, Words, contains
from xaibench.types import Bounds, Classifier

METHODS = [
    "word_substitution:positions=4,neighbours=5",
    "word_substitution:positions=3,neighbours=4,beam=3,max_distance=0.9",
    "hotflip:candidates=6,beam=1",
    "hotflip:candidates=6,beam=3,neighbours=8",
    "word_insertion:positions=4,neighbours=5",
    "character_edits:positions=4",
]
UNIT = Bounds(0.0, 1.0)
N = 20


def _spelt(seed: int = 0) -> Classifier:
    """A net over words that misspellings turn into each other, and a tokenizer that knows negations."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    known = ["[PAD]", "[UNK]", "not", "don", "'", "t", *map("".join, itertools.product("ab", "ab", "cd"))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(9, direction="left")
    tokenizer.enable_padding(length=9, pad_id=0, pad_token="[PAD]")
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Embedding(len(known), 4), nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 3))
    return TorchClassifier(module, task="text", tokenizer=tokenizer, input_shape=(9,))


@cache
def _setting(name: str) -> tuple[Classifier, Tensor, Tensor]:
    """A model, texts of all lengths with negations among them, and labels; every sixth label is wrong."""
    model = {"torch": token_net, "keras": keras_token_net, "spelt": _spelt}[name]()
    generator = torch.Generator().manual_seed(2)
    length = 9 if name == "spelt" else 7
    x = torch.randint(2 if name == "spelt" else 1, 14, (N, length), generator=generator)
    if name == "spelt":
        x[::4, 1:4] = torch.tensor([3, 4, 5])
    words = torch.randint(4, length + 1, (N,), generator=generator)
    x[torch.arange(length) >= words[:, None]] = 0
    y = model.predict(x)
    y[::6] = (y[::6] + 1) % model.num_classes
    return model, x, y


SETTINGS = [
    (name, method)
    for name in ("torch", "keras", "spelt")
    for method in METHODS
    if "char" not in method or name == "spelt"
]
everything = pytest.mark.parametrize(("setting", "method"), SETTINGS)
every_method = pytest.mark.parametrize("method", METHODS)


def test_every_attack_on_text_is_in_the_table() -> None:
    assert {Spec.parse(text).name for text in METHODS} == set(attacks_for("text"))


@everything
def test_successes_hold_and_all_else_is_clean(setting: str, method: str) -> None:
    model, x, y = _setting(setting)
    threat = Words(3, keep_last=0.2, max_share=0.5)
    before, digest = (x.clone(), y.clone()), model.digest
    found = attacks.create(method)(model, x, y, threat)
    assert found.dtype == torch.int64
    assert bool(contains(threat.fit(model), found, x, UNIT).all())
    moved = (found != x).any(dim=1)
    assert torch.equal(moved, (model.predict(found) != y) & (model.predict(x) == y))
    assert int(moved.sum()) >= 2, "too few were broken: the setting tests nothing"
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])
    assert model.digest == digest


@everything
def test_results_depend_on_the_sample_alone(setting: str, method: str) -> None:
    model, x, y = _setting(setting)
    attack, threat = attacks.create(method), Words(3)
    found = attack(model, x, y, threat)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    shards = [
        attack(model, x[a:b], y[a:b], threat, ids=torch.arange(a, b), seed=a) for a, b in ((0, 5), (5, 6), (6, N))
    ]
    spec = attacks.spec(attack)
    small = attacks.create(Spec(spec.name, {**spec.params, "batch_size": 7}))
    for other in (
        attack(model, x[order], y[order], threat)[order.argsort()],
        torch.cat(shards),
        small(model, x, y, threat),
    ):
        # Kernels for other batch shapes may differ in the last bit of a margin.
        assert int((other == found).all(dim=1).sum()) >= N - 1
    assert torch.equal(attack(model, x, y, threat, seed=1), found)


@everything
def test_one_run_gives_the_whole_curve(setting: str, method: str) -> None:
    model, x, y = _setting(setting)
    attack, most = attacks.create(method), Words(4).fit(model)
    found = attack(model, x, y, most)
    needed = most.distance(found, x)
    for k in (1, 2, 3):
        less = attack(model, x, y, Words(k))
        within = needed <= k
        assert torch.equal(less[within], found[within])
        assert torch.equal(less[~within], x[~within])


@everything
def test_negations_and_kept_parts_are_never_touched(setting: str, method: str) -> None:
    model, x, y = _setting(setting)
    found = attacks.create(method)(model, x, y, Words(4, keep_first=0.3))
    text = (x != 0).sum(dim=1)
    for clean, edited, words in zip(x.tolist(), found.tolist(), text.tolist(), strict=True):
        first = -(-words * 3 // 10)
        assert edited[:first] == clean[:first]
        if setting == "spelt":
            assert [token for token in edited if token == 2] == [token for token in clean if token == 2]
            assert str(clean).count("3, 4, 5") == str(edited).count("3, 4, 5")


@every_method
def test_specs_make_the_attack_again(method: str) -> None:
    attack = attacks.create(method)
    assert attacks.create(attacks.spec(attack)) == attack


@every_method
def test_what_cannot_be_attacked_is_refused(method: str) -> None:
    attack, image = attacks.create(method), torch_cnn()
    with pytest.raises(UnsupportedError, match=r"does not exist for task 'image'; these do: .*pgd"):
        attack(image, inputs_for(image, 2), torch.tensor([0, 1]), Words(1))
    model, x, y = _setting("spelt")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"threat": Linf(0.1)}, "expected a threat of words for text, got linf"),
        ({"threat": Words(10)}, "expected 1 <= k <= 9 words, the length of a text, got 10"),
        ({"y": y[:-1]}, r"expected 20 class indices, got torch.int64 \(19,\)"),
        ({"y": y + 3}, r"expected classes in 0\.\.2, got 3\.\."),
        ({"x": x.float()}, r"expected a batch of token ids \(n, length\), got torch.float32"),
        ({"x": x[:0], "y": y[:0]}, r"expected a batch of token ids \(n, length\), got torch.int64 \(0, 9\)"),
        ({"x": x + 20}, r"expected token ids from 0\.\.13, got"),
    ]
    for change, message in wrong:
        with pytest.raises(InputError, match=message):
            attack(**{"model": model, "x": x, "y": y, "threat": Words(2), **change})


def test_parameters_are_checked() -> None:
    for make, message in (
        (partial(WordSubstitution, neighbours=0), "expected `neighbours` >= 1, got 0"),
        (partial(WordInsertion, beam=0), "expected `beam` >= 1, got 0"),
        (partial(HotFlip, candidates=0), "expected `candidates` >= 1, got 0"),
        (partial(CharacterEdits, positions=0), "expected `positions` >= 1, got 0"),
        (partial(HotFlip, max_distance=2.5), "expected 0 < `max_distance` <= 2, a cosine distance, got 2.5"),
    ):
        with pytest.raises(InputError, match=message):
            make()


@pytest.mark.parametrize("name", ["word_substitution", "word_insertion", "hotflip"])
def test_models_without_embeddings_are_refused(name: str) -> None:
    class Blind:
        task, capabilities, limits = "text", frozenset[str](), MappingProxyType[str, str]({})

    with pytest.raises(UnsupportedError, match=f"{name} needs embeddings of the model"):
        attacks.create(name)(Blind(), torch.ones(1, 2).long(), torch.tensor([0]), Words(1))  # type: ignore[arg-type]


def test_character_edits_need_a_tokenizer() -> None:
    model, x, y = _setting("torch")
    with pytest.raises(UnsupportedError, match="reading text needs a tokenizer"):
        CharacterEdits()(model, x, y, Words(1))


def _all_substitutions(model: Classifier, clean: Tensor, words: Words) -> Tensor:
    """Every text (c, length) that differs from one text (length,) in one word."""
    texts = []
    for position in words.editable(clean[None])[0].nonzero().flatten().tolist():
        for token in words.allowed.nonzero().flatten().tolist():
            if token != int(clean[position]):
                texts.append(clean.clone())
                texts[-1][position] = token
    return torch.stack(texts) if texts else clean[None]


@pytest.mark.parametrize("setting", ["torch", "keras", "spelt"])
def test_an_exhaustive_search_finds_what_trying_everything_finds(setting: str) -> None:
    model, x, y = _setting(setting)
    words = Words(1).fit(model)
    exhaustive = WordSubstitution(positions=9, neighbours=30)(model, x, y, words)
    wide = HotFlip(candidates=10_000)(model, x, y, words)
    for row in range(N):
        texts = _all_substitutions(model, x[row], words)
        breakable = bool((model.predict(texts) != y[row]).any() & (model.predict(x[row : row + 1]) == y[row]))
        assert breakable == bool((exhaustive[row] != x[row]).any()) == bool((wide[row] != x[row]).any())


def _bag(seed: int = 0) -> tuple[Classifier, Tensor, Tensor]:
    """Two logits that are linear in the sum of the embeddings, and the value that each word adds to the margin of 0."""
    torch.manual_seed(seed)

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(25, 5)
            self.head = nn.Linear(5, 2)

        def forward(self, tokens: Tensor) -> Any:
            return self.head(self.embedding(tokens).sum(dim=1))

    module = Bag().double()
    value = module.embedding.weight @ (module.head.weight[1] - module.head.weight[0])
    return TorchClassifier(module, task="text", input_shape=(14,)), value.detach(), module.head.bias.detach()


def test_hotflip_takes_the_best_flips_of_a_linear_model() -> None:
    model, value, bias = _bag()
    x = torch.randint(1, 25, (60, 14), generator=torch.Generator().manual_seed(1))
    y = model.predict(x)
    threat = Words(14).fit(model)
    found = HotFlip(candidates=1, beam=1)(model, x, y, threat)
    sign = 1.0 - 2.0 * y
    score = sign * (value[x].sum(dim=1) + bias[1] - bias[0])
    best = (sign[:, None] * value[1:]).amax(dim=1)
    gains = (best[:, None] - sign[:, None] * value[x]).sort(dim=1, descending=True).values
    reached = score[:, None] + gains.cumsum(dim=1)
    expected = torch.where((reached > 0).any(dim=1), (reached > 0).double().argmax(dim=1) + 1, 0)
    assert threat.distance(found, x).tolist() == expected.tolist()
    assert len(expected.unique()) > 2


def test_words_are_ranked_by_what_their_absence_does() -> None:
    model = factories.words()
    x = model.encode(["good film lovely bad", "dull warm"])
    y = torch.tensor([0, 1])
    # The margin of class 0 is twice the sum of the words' values, with its sign turned.
    scores = importance(model, x, y, Words(1).fit(model), 3)
    assert scores[0, :4].tolist() == pytest.approx([2.0, 0.0, 6.0, -2.0])
    assert scores[1, :2].tolist() == pytest.approx([4.0, -4.0])
    assert bool(scores[:, 4:].isinf().all())


def test_the_fewest_words_are_found_where_words_add_up() -> None:
    model = factories.words()
    x = model.encode(["good film lovely warm", "film film lovely", "good film"])
    y = torch.tensor([0, 0, 0])
    found = WordSubstitution(neighbours=10)(model, x, y, Words(4))
    # One flip from 3 to -3 is worth 6; two make up for 6, one for 3 and for 1.
    assert Words(4).fit(model).distance(found, x).tolist() == [2, 1, 1]
    assert model.tokens(found)[1][2] in factories.BAD


def test_neighbours_are_those_of_the_definition() -> None:
    model = token_net()
    matrix = embedding_matrix(model, 30)
    ids = torch.arange(28).reshape(4, 7)
    torch.testing.assert_close(model.embed(ids).double(), matrix[ids], rtol=0, atol=0)
    allowed = torch.ones(30, dtype=torch.bool)
    allowed[[0, 5]] = False
    near = nearest_words(matrix, torch.tensor([3, 9]), allowed, 4, 0.8)
    for word, row in zip((3, 9), near.tolist(), strict=True):
        distance = 1 - torch.nn.functional.cosine_similarity(matrix, matrix[word].expand_as(matrix))
        others = [i for i in distance.argsort().tolist() if i not in (word, 0, 5) and distance[i] <= 0.8]
        assert [i for i in row if i >= 0] == others[:4]


def test_insertions_repeat_neighbours_and_push_no_negation_out() -> None:
    model = factories.words()
    clean = model.encode(["good bad film", "good good good good good good film bad"])
    y = torch.tensor([0, 0])
    texts = model.encode(["warm bad film"])
    found = WordInsertion(neighbours=10)(model, texts, torch.tensor([0]), Words(1))
    assert len([word for word in model.tokens(found)[0] if word]) == 4
    kept = WordInsertion(neighbours=10)(model, clean, y, Words(8, negations=("film", "bad")))
    assert torch.equal(kept[1], clean[1])


@pytest.mark.parametrize("leftwards", [False, True])
def test_edits_are_those_of_lists(leftwards: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(1, 50, (200, 6), generator=generator)
    position = torch.randint(1, 5, (200,), generator=generator)
    states = States.start(rows)
    edits = Edits(states.owner, position, torch.full((200,), 77))
    joined = insert(states, edits, torch.full((200,), leftwards))
    exchanged, shorter = substitute(states, edits).rows.tolist(), removed(rows, position, 0).tolist()
    for row, at, new, places, other, short in zip(
        rows.tolist(), position.tolist(), joined.rows.tolist(), joined.origin.tolist(), exchanged, shorter, strict=True
    ):
        longer, origin = [*row[: at + 1], 77, *row[at + 1 :]], [*range(at + 1), -1, *range(at + 1, 6)]
        assert new == (longer[1:] if leftwards else longer[:-1])
        assert places == (origin[1:] if leftwards else origin[:-1])
        assert other == [*row[:at], 77, *row[at + 1 :]]
        assert short == [*row[:at], *row[at + 1 :], 0]
    assert removed(torch.tensor([[0, 4, 5, 6]]), torch.tensor([2]), 0).tolist() == [[0, 0, 4, 6]]


def test_misspellings_are_all_words_at_one_edit() -> None:
    spelt = set(misspellings("abc"))
    letters = "abcdefghijklmnopqrstuvwxyz"
    for word in ("bac", "acb", "bc", "ab", "abz", "zabc", "abcz"):
        assert word in spelt
    assert "abc" not in spelt
    assert {"cba", "a", "abcde"} & spelt == set()
    assert len([word for word in spelt if len(word) == 4]) == 4 * len(letters) - 3


def test_a_misspelt_word_is_what_the_tokenizer_reads() -> None:
    model, x, y = _setting("spelt")
    found = CharacterEdits(positions=9)(model, x, y, Words(2))
    known = {word: i for i, word in enumerate(model.vocabulary.words)}
    edits = 0
    for clean, edited in zip(model.tokens(x), model.tokens(found), strict=True):
        for word, other in zip(clean, edited, strict=True):
            if word != other:
                assert other in {w if w in known else "[UNK]" for w in misspellings(word)}
                edits += 1
    assert edits > 5


def test_keras_and_torch_agree() -> None:
    import keras

    model, x, y = _setting("torch")
    weights = {name: value.detach().numpy() for name, value in model.module.state_dict().items()}  # type: ignore[attr-defined]
    layers = keras.layers
    twin = keras.Sequential(
        [
            layers.Input((7,), dtype="int32"),
            layers.Embedding(30, 6),
            layers.Dense(16, activation="tanh"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3),
        ]
    )
    twin.set_weights(
        [
            weights["embedding.weight"],
            *(weights[f"{layer}.{part}"].T for layer in ("hidden", "head") for part in ("weight", "bias")),
        ]
    )
    other = KerasClassifier(twin, task="text")
    for method in METHODS[:5]:
        found, again = (attacks.create(method)(each, x, y, Words(3)) for each in (model, other))
        assert int((found == again).all(dim=1).sum()) >= N - 1


def test_margins_rise_with_the_beam() -> None:
    model, x, y = _setting("torch")
    greedy, wide = (HotFlip(candidates=4, beam=beam)(model, x, y, Words(3)) for beam in (1, 6))
    broken = [int((model.predict(found) != y).sum()) for found in (greedy, wide)]
    assert broken[1] >= broken[0]
    assert bool((margin(model.logits(wide), y)[(wide != x).any(dim=1)] > 0).all())
