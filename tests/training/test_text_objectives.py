"""Objectives for text: what they exchange is allowed and the worst there is; moved embeddings stay in their ball."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from torch.nn import functional as F

from xaibench.attacks.text.neighbours import embedding_matrix
from xaibench.errors import InputError
from xaibench.threats import Linf, Threat, Words, contains
from xaibench.training.keras_learner import KerasLearner
from xaibench.training.learner import Normalisation
from xaibench.training.objectives import Forward, FreeLB, Objective, SubstitutionTraining, TrainingLoss
from xaibench.training.recipe import Recipe
from xaibench.training.torch_learner import TorchLearner

VOCABULARY = ["[PAD]", "[UNK]", "good", "fine", "bad", "poor", "not", "film", "plot", "."]
PLAN = Recipe.of(
    {"name": "tiny", "data": "imdb", "architecture": {"name": "gru"}, "optimizer": {"name": "sgd"}},
)
X = torch.tensor([[2, 7, 6, 4, 9, 0], [4, 8, 3, 0, 0, 0], [7, 5, 5, 2, 8, 3], [8, 2, 6, 7, 1, 9]])
Y = torch.tensor([1, 0, 0, 1])
FRAMEWORKS = ["torch", "keras"]


def tokenizer() -> Any:
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(["[PAD]", "[UNK]"])
    made.enable_padding(length=6, pad_id=0, pad_token="[PAD]")
    return made


class Sum(nn.Module):
    """A network that is linear in its embeddings, other weights at every place: first-order promises are exact."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(len(VOCABULARY), 3), nn.Linear(18, 2)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.head(self.embedding(x).flatten(1))
        return z


def learner(framework: str) -> TorchLearner | KerasLearner:
    torch.manual_seed(0)
    module = Sum()
    options: dict[str, Any] = {"task": "text", "input_shape": (6,), "tokenizer": tokenizer()}
    if framework == "torch":
        return TorchLearner(module, PLAN, Normalisation(), **options)
    from keras import Input, Sequential, layers

    model = Sequential(
        [Input((6,), dtype="int32"), layers.Embedding(len(VOCABULARY), 3), layers.Flatten(), layers.Dense(2)]
    )
    state = module.state_dict()
    values = state["embedding.weight"], state["head.weight"].T, state["head.bias"]
    model.set_weights([value.numpy() for value in values])
    return KerasLearner(model, PLAN, Normalisation(), **options)


class Seen:
    """An objective, watched: the texts that it trains on, and its loss."""

    def __init__(self, objective: Objective) -> None:
        self.objective, self.adversarial = objective, objective.adversarial

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        self.text = self.objective.perturb(forward, x, y)
        return self.text

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        return self.objective.loss(forward, x, perturbed, y)


def texts(
    objective: Objective, framework: str = "torch", *, k: int = 2, seed: int = 0, taught: Any = None
) -> tuple[Tensor, Any, Words]:
    taught = taught or learner(framework)
    threat = Words(k).fit(taught.classifier)
    seen = Seen(objective)
    taught.step([(X, Y)], seen, rate=0.0, seed=seed, threat=threat)
    return seen.text, taught, threat


SPECS = [
    SubstitutionTraining(steps=1),
    SubstitutionTraining(steps=2, neighbours=2),
    SubstitutionTraining(steps=0, draws=3),
    SubstitutionTraining(steps=0, draws=2, neighbours=2),
    SubstitutionTraining(steps=1, draws=1, positions=2),
]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("objective", SPECS, ids=str)
def test_exchanged_texts_are_allowed_and_the_same_in_both_frameworks(
    objective: SubstitutionTraining, framework: str
) -> None:
    before = X.clone()
    found, taught, threat = texts(objective, framework)
    assert torch.equal(before, X)
    assert bool(contains(threat, found, X, taught.bounds).all())
    assert bool((found != X).any())
    assert torch.equal(found, texts(objective)[0])


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_no_word_is_exchanged_for_one_that_lowers_the_loss(framework: str) -> None:
    # Each word by itself promises most of all that are allowed, or is exchanged for it: nothing is left to gain.
    best, taught, threat = texts(SubstitutionTraining(steps=1, positions=6), framework, k=6)
    seen = Seen(SubstitutionTraining(steps=1, positions=6))
    taught.step([(best, Y)], seen, rate=0.0, seed=0, threat=threat)
    assert torch.equal(seen.text, best)
    neighbours = Seen(SubstitutionTraining(steps=1, positions=6, neighbours=2))
    taught.step([(best, Y)], neighbours, rate=0.0, seed=0, threat=threat)
    assert torch.equal(neighbours.text, best)


def worst(taught: Any, threat: Words, k: int) -> Tensor:
    """The largest loss (n,) over all texts with up to ``k`` words exchanged, by trying every one."""
    ids = threat.allowed.nonzero().flatten().tolist()
    found = []
    for row, label in zip(X, Y, strict=True):
        places = threat.editable(row[None])[0].nonzero().flatten().tolist()
        options = [[*ids, int(row[place])] for place in places]
        rows = row.repeat(len(list(product(*options))), 1)
        rows[:, places] = torch.tensor(list(product(*options)))
        rows = rows[(rows != row).sum(1) <= k]
        loss = F.cross_entropy(taught.logits(rows), label.expand(len(rows)), reduction="none")
        found.append(loss.max())
    return torch.stack(found)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_on_a_linear_network_the_gradient_finds_the_worst_text_of_all(framework: str, steps: int) -> None:
    found, taught, threat = texts(SubstitutionTraining(steps=steps), framework)
    loss = F.cross_entropy(taught.logits(found), Y, reduction="none")
    torch.testing.assert_close(loss, worst(taught, threat, 2), rtol=1e-4, atol=1e-5)


def test_neighbours_are_those_of_the_embedding() -> None:
    found, taught, threat = texts(SubstitutionTraining(steps=1, neighbours=2))
    unit = F.normalize(embedding_matrix(taught.classifier, len(VOCABULARY)), dim=1)
    for old, new in zip(X[found != X].tolist(), found[found != X].tolist(), strict=True):
        others = [i for i in threat.allowed.nonzero().flatten().tolist() if i != old]
        assert new in sorted(others, key=lambda i: -float(unit[old] @ unit[i]))[:2]


def test_more_draws_make_no_text_easier() -> None:
    """The first draws are the same, and the worst is kept."""
    losses = []
    for draws in (1, 4, 16):
        found, taught, _ = texts(SubstitutionTraining(steps=0, draws=draws))
        losses.append(F.cross_entropy(taught.logits(found), Y, reduction="none"))
    assert bool((losses[0] <= losses[1]).all() and (losses[1] <= losses[2]).all())
    assert bool((losses[0] < losses[2]).any())


def test_draws_depend_on_the_seed_alone() -> None:
    objective = SubstitutionTraining(steps=0, draws=1)
    assert torch.equal(texts(objective, seed=1)[0], texts(objective, seed=1)[0])
    assert not torch.equal(texts(objective, seed=1)[0], texts(objective, seed=2)[0])


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_the_loss_weighs_clean_texts(weight: float) -> None:
    taught = learner("torch")
    objective = SubstitutionTraining(clean=weight)
    found, _, threat = texts(objective, taught=taught)
    clean, moved = (float(F.cross_entropy(taught.logits(text), Y)) for text in (X, found))
    result = taught.step([(X, Y)], objective, rate=0.0, seed=0, threat=threat)
    assert result.loss / len(Y) == pytest.approx(weight * clean + (1 - weight) * moved, rel=1e-5)


def test_the_table_of_neighbours_is_kept_in_checkpoints_and_made_anew() -> None:
    taught, objective = learner("torch"), SubstitutionTraining(neighbours=2, refresh=2)
    assert isinstance(taught, TorchLearner)
    threat = Words(2).fit(taught.classifier)
    tables = []
    for step in range(3):
        taught.step([(X, Y)], objective, rate=0.0, seed=step, threat=threat)
        tables.append(taught.state()["memory.neighbours"])
        embedding = dict(taught._module.named_parameters())["embedding.weight"]
        embedding.data += torch.randn(10, 3, generator=torch.Generator().manual_seed(step))
    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[1], tables[2])


class Shifts:
    """A network that keeps every shift that it sees."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self.rng = forward.rng
        self.shifts: list[Tensor] = []

    def embed(self, x: Tensor) -> Tensor:
        return self._forward.embed(x)

    def __call__(self, x: Tensor, *, shift: Tensor) -> tuple[Tensor, ...]:
        self.shifts.append(shift.detach())
        return self._forward(x, shift=shift)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_free_lb_averages_the_losses_of_its_steps_within_the_ball(framework: str) -> None:
    objective = FreeLB(steps=4, radius=0.3, step_size=0.5)
    kept: list[Any] = []

    class Inside:
        adversarial = False

        def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
            return objective.perturb(forward, x, y)

        def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
            network: Any = Shifts(forward)
            result = objective.loss(network, x, perturbed, y)
            losses = [F.cross_entropy(forward(x, shift=shift)[0], y) for shift in network.shifts]
            kept.extend([network.shifts, forward.embed(x), [float(loss.detach()) for loss in losses]])
            return result

    result = learner(framework).step([(X, Y)], Inside(), rate=0.0, seed=0)
    shifts, embedded, losses = kept
    assert len(shifts) == 4
    assert result.loss / len(Y) == pytest.approx(sum(losses) / 4, rel=1e-5)
    assert losses == sorted(losses)  # an ascent
    words = X != 0
    radius = 0.3 * (embedded * words[:, :, None]).flatten(1).norm(dim=1)
    for shift in shifts:
        assert bool((shift.flatten(1).norm(dim=1) <= radius * (1 + 1e-5)).all())
        assert bool((shift[~words] == 0).all())
    torch.testing.assert_close(shifts[3].flatten(1).norm(dim=1), radius)  # of a linear network the end is on the rim


def test_free_lb_moves_torch_and_keras_alike() -> None:
    learners = [learner(framework) for framework in FRAMEWORKS]
    for taught in learners:
        for step in range(3):
            taught.step([(X, Y)], FreeLB(steps=2, radius=0.5), rate=0.3, seed=step)
    torch.testing.assert_close(learners[0].logits(X), learners[1].logits(X), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [{"draws": -1}, {"steps": 0}, {"neighbours": -1}, {"refresh": 0}, {"positions": 0}, {"clean": 1.5}],
    ids=str,
)
def test_bad_options_of_substitution_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        SubstitutionTraining(**options)


@pytest.mark.parametrize("options", [{"steps": 0}, {"radius": 0.0}, {"step_size": -1.0}], ids=str)
def test_bad_options_of_free_lb_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        FreeLB(**options)


def test_another_threat_or_other_inputs_are_refused() -> None:
    taught = learner("torch")
    for threat in (None, Linf(0.1)):
        given: Threat | None = threat
        with pytest.raises(InputError, match="threat"):
            taught.step([(X, Y)], SubstitutionTraining(), rate=0.0, seed=0, threat=given)
    with pytest.raises(InputError, match="token ids"):
        taught.step([(X.float(), Y)], FreeLB(), rate=0.0, seed=0)
