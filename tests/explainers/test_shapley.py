"""Shapley values against closed forms, enumeration of orders, and each other within their own error bars."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
import torch
from small_models import inputs_for, linear, table_mlp, token_net, torch_cnn
from torch import Tensor, nn

from xaibench import load_data, load_model
from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers import Attribution, explain
from xaibench.explainers.perturb import Game
from xaibench.explainers.players import players_of
from xaibench.explainers.shapley.kernel import KernelShap, _fit, _groups, _members
from xaibench.explainers.shapley.rounds import Rounds, random_ranks, settled
from xaibench.explainers.shapley.sampling import ShapleySampling
from xaibench.explainers.target import TargetLogit
from xaibench.types import Classifier

SAMPLERS = ("shapley_sampling", "kernel_shap")
METHODS = ("shapley_exact", *SAMPLERS)


def _explain(model: Classifier, x: Any, targets: Any = None, **params: Any) -> Attribution:
    return explain(model, x, targets, trust="quick", **params)


def _table(function: Callable[[Tensor], Tensor], features: int) -> Classifier:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            value = function(x)
            return torch.stack([value, -value], dim=1)

    return TorchClassifier(Net(), task="tabular", input_shape=(features,))


def _by_orders(model: Classifier, x: Tensor, baseline: Tensor, target: int) -> Tensor:
    """Shapley values of one sample (features,), by going through all orders."""
    orders = list(permutations(range(len(x))))
    values = torch.zeros(len(x), dtype=torch.float64)
    for order in orders:
        point = baseline.clone()
        before = model.logits(point[None])[0, target]
        for player in order:
            point[player] = x[player]
            after = model.logits(point[None])[0, target]
            values[player] += (after - before).double().detach() / len(orders)
            before = after
    return values


@pytest.mark.parametrize("method", METHODS)
def test_a_product_is_shared_evenly(method: str) -> None:
    model = _table(lambda x: x[:, 0] * x[:, 1] + 3 * x[:, 2], 3)
    x, baseline = (
        torch.tensor([[0.9, 0.6, 0.5]], dtype=torch.float64),
        torch.tensor([0.2, 0.1, 0.3], dtype=torch.float64),
    )
    found = _explain(model, x, 0, method=method, baseline=baseline)
    a, b, c, d = 0.9, 0.6, 0.2, 0.1
    expected = torch.tensor([[(a - c) * (b + d) / 2, (b - d) * (a + c) / 2, 0.6]], dtype=torch.float64)
    torch.testing.assert_close(found.values, expected)


def test_the_greatest_is_shared_by_ranks() -> None:
    model = _table(lambda x: x.amax(dim=1), 3)
    found = _explain(
        model, torch.tensor([[0.2, 0.5, 0.8]], dtype=torch.float64), 0, method="shapley_exact", baseline="zero"
    )
    # As the cost of a runway: each stretch is shared by those who need it.
    expected = [0.2 / 3, 0.2 / 3 + 0.3 / 2, 0.2 / 3 + 0.3 / 2 + 0.3]
    assert found.values[0].tolist() == pytest.approx(expected)


def test_enumeration_is_the_mean_over_all_orders() -> None:
    model = table_mlp()
    x, baseline = inputs_for(model, 3), inputs_for(model, 1, seed=1)[0]
    found = _explain(model, x, 2, method="shapley_exact", baseline=baseline)
    expected = torch.stack([_by_orders(model, row, baseline, 2) for row in x])
    torch.testing.assert_close(found.values, expected.float(), rtol=1e-4, atol=1e-5)
    assert found.cost.forward == 3 * 2**5


def test_captum_agrees_on_enumeration() -> None:
    from captum import attr

    class Logits(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return model.logits(x)

    model = torch_cnn()
    x = inputs_for(model, 2)
    groups = torch.arange(64).view(8, 8) // 13
    mask = groups.expand(1, 2, 8, 8).contiguous()
    reference = attr.ShapleyValues(Logits()).attribute(x, baselines=0.0, target=1, feature_mask=mask)
    found = _explain(model, x, 1, method="shapley_exact", players=groups)
    size = 2 * torch.bincount(groups.flatten())[groups]
    torch.testing.assert_close(found.values * size, reference.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("make", [torch_cnn, table_mlp, token_net])
def test_values_add_up_to_the_change_of_the_logit(method: str, make: Callable[[], Classifier]) -> None:
    model = make()
    x = inputs_for(model, 4)
    found = _explain(model, x, method=method, segments=10)
    assert found.baseline is not None
    logits = [model.logits(part).detach().gather(1, found.target[:, None]).squeeze(1) for part in (x, found.baseline)]
    torch.testing.assert_close(found.values.flatten(1).sum(dim=1), logits[0] - logits[1], rtol=1e-4, atol=1e-5)
    assert found.completeness_gap is not None
    assert float(found.completeness_gap.max()) < 1e-5


def _cases() -> list[tuple[str, str, Tensor]]:
    return [
        ("digits-cnn", "digits", torch.arange(64).view(8, 8) // 16 * 3 + torch.arange(64).view(8, 8) % 8 // 3),
        ("cancer-mlp", "breast-cancer", torch.arange(30) % 12),
    ]


@pytest.mark.parametrize("method", SAMPLERS)
@pytest.mark.parametrize(("name", "data", "groups"), _cases(), ids=lambda case: case if isinstance(case, str) else "")
def test_samplers_err_as_much_as_they_say(method: str, name: str, data: str, groups: Tensor) -> None:
    model, x = load_model(name), load_data(data, n=6).inputs
    assert isinstance(x, Tensor)
    exact = _explain(model, x, method="shapley_exact", players=groups, baseline="mean").values.double()
    first = [int((groups == player).flatten().nonzero()[0]) for player in groups.unique()]
    assert len(first) == 12
    scores = []
    for seed in range(25):
        found = _explain(model, x, method=method, players=groups, baseline="mean", budget=704, tolerance=0.0, seed=seed)
        assert found.stderr is not None
        z = (found.values.double() - exact) / found.stderr.double().clamp_min(1e-7)
        scores.append(z.flatten(1)[:, first])
    z = torch.stack(scores)
    # 32 draws or more: a normal deviate has |z| > 2 in 4.6 % and a spread of one.
    assert 0.85 < float(z.std()) < 1.15
    assert 0.02 < float((z.abs() > 2).double().mean()) < 0.08
    assert float(z.mean(dim=0).abs().max()) < 4.5 / 25**0.5
    assert float(z.mean().abs()) < 0.1


@pytest.mark.parametrize("method", SAMPLERS)
def test_error_bars_hold_where_sampling_stops_by_tolerance(method: str) -> None:
    model = torch_cnn()
    x = inputs_for(model, 8)
    exact = _explain(model, x, 0, method="shapley_exact", players="grid").values.double()
    z = []
    for seed in range(20):
        found = _explain(model, x, 0, method=method, players="grid", segments=12, tolerance=0.02, seed=seed)
        assert found.stderr is not None
        z.append(((found.values.double() - exact) / found.stderr.double().clamp_min(1e-8))[:, 0, ::2, ::2])
    assert 0.85 < float(torch.stack(z).std()) < 1.25


@pytest.mark.parametrize("method", SAMPLERS)
def test_sampling_goes_on_until_the_errors_are_small_or_the_budget_is_spent(method: str) -> None:
    model = torch_cnn()
    x = inputs_for(model, 3)
    options: dict[str, Any] = {"method": method, "players": "grid", "segments": 30}
    loose, tight = (_explain(model, x, 1, tolerance=value, budget=10**5, **options) for value in (0.2, 0.05))
    change = (model.logits(x)[:, 1] - model.logits(0 * x)[:, 1]).abs().detach()
    for found, tolerance in ((loose, 0.2), (tight, 0.05)):
        assert found.stderr is not None
        each = players_errors(found.stderr, 30)
        assert bool((each <= tolerance * change).all())
    assert loose.cost.forward < tight.cost.forward / 3
    spent = _explain(model, x, 1, tolerance=0.0, budget=1000, **options)
    assert 700 * 3 < spent.cost.forward <= 3 * 1002
    assert spent.stderr is not None
    more = _explain(model, x, 1, tolerance=0.0, budget=16000, **options)
    assert more.stderr is not None
    assert float(spent.stderr.mean() / more.stderr.mean()) == pytest.approx(4, rel=0.3), "errors fall as the root"


def players_errors(stderr: Tensor, segments: int) -> Tensor:
    """Standard errors (n,) of the least sure player, whose error the elements of its cell share."""
    from xaibench.explainers.superpixels import grid_cells

    cells = grid_cells(stderr, segments).expand(stderr.shape).flatten(1)
    total = torch.zeros(len(stderr), int(cells.max()) + 1).scatter_add_(1, cells, stderr.flatten(1))
    return total.amax(dim=1)


@pytest.mark.parametrize("method", SAMPLERS)
def test_no_coalition_is_evaluated_twice(method: str) -> None:
    model = table_mlp()
    x = inputs_for(model, 2)
    found = _explain(model, x, 0, method=method, tolerance=0.0, budget=4096)
    assert found.cost.forward <= 2 * 2**5


@pytest.mark.parametrize("method", METHODS)
def test_one_player_gets_the_whole_change(method: str) -> None:
    model = linear(torch.tensor([[2.0, 1.0], [0.0, 0.0]]), torch.zeros(2))
    x = torch.tensor([[0.5, 0.25], [0.5, 1.0]])
    found = _explain(model, x, 0, method=method, players=torch.tensor([0, 0]), baseline="zero")
    torch.testing.assert_close(found.values, torch.tensor([[0.625, 0.625], [1.0, 1.0]]))


def test_more_players_than_can_be_enumerated_are_refused() -> None:
    model = torch_cnn()
    x = inputs_for(model, 2)
    with pytest.raises(UnsupportedError, match=r"at most 12 players that differ from the baseline, got 16"):
        _explain(model, x, method="shapley_exact", players="grid", segments=16)
    x[:, :, 4:] = 0
    assert _explain(model, x, method="shapley_exact", players="grid", segments=16).values.any()


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("shapley_sampling", {"budget": 3}, "expected `budget` >= 4 evaluations, got 3"),
        ("kernel_shap", {"tolerance": -1.0}, "expected `tolerance` >= 0, got -1.0"),
        ("kernel_shap", {"budget": 19}, "expected `budget` >= 20, four evaluations for each player, got 19"),
    ],
)
def test_bad_parameters_are_one_clear_line(method: str, params: dict[str, Any], message: str) -> None:
    model = table_mlp()
    with pytest.raises(InputError, match=message):
        _explain(model, inputs_for(model, 2), method=method, **params)


def test_sampling_is_the_mean_over_its_orders_and_their_reverses() -> None:
    model = table_mlp()
    x, baseline = inputs_for(model, 2), inputs_for(model, 1, seed=1)[0]
    baseline[3] = x[1, 3]
    explainer = ShapleySampling(budget=160, tolerance=0.0, baseline=baseline)
    found = explainer(model, x, 2)
    logit = TargetLogit(explainer, model, x, 2, needs=())
    game = Game(logit, players_of("auto", 1, model, x), baseline.expand_as(x))
    assert game.players.count.tolist() == [5, 4], "one feature is that of the baseline"
    assert found.stderr is not None
    for row, players in enumerate(([0, 1, 2, 3, 4], [0, 1, 2, 4])):
        pairs = 160 // (2 * (len(players) - 1))
        places = random_ranks(game, logit.rng(0), torch.full((pairs,), row), torch.arange(pairs))[:, : len(players)]
        rises = torch.zeros(pairs, 5, dtype=torch.float64)
        for pair, order in enumerate(places.argsort(dim=1).tolist()):
            for way in (order, order[::-1]):
                point = baseline.clone()
                before = model.logits(point[None])[0, 2]
                for player in way:
                    point[players[player]] = x[row, players[player]]
                    after = model.logits(point[None])[0, 2]
                    rises[pair, players[player]] += (after - before).double().detach() / 2
                    before = after
        torch.testing.assert_close(found.values[row], rises.mean(dim=0).float(), rtol=1e-4, atol=1e-5)
        there = torch.zeros(5, dtype=torch.float64)
        there[players] = 1
        variance = rises.var(dim=0)
        variance = variance.maximum(there * variance.sum() / len(players) * 8 / (pairs + 7))
        torch.testing.assert_close(found.stderr[row], (variance / pairs).sqrt().float(), rtol=1e-3, atol=1e-5)


def test_regression_on_coalitions_keeps_the_sum_and_leaves_each_draw_out_for_its_error() -> None:
    generator = torch.Generator().manual_seed(2)
    draws, players, change = 15, 4, 0.7
    members = torch.rand(draws, players, generator=generator) < 0.5
    rise = torch.randn(draws, dtype=torch.float64, generator=generator)
    signs = 2.0 * members.double() - 1

    def solve(kept: Tensor) -> Tensor:
        """Least squares under the condition that values add up to the change, by a multiplier."""
        system = torch.zeros(players + 1, players + 1, dtype=torch.float64)
        system[:-1, :-1] = signs[kept].T @ signs[kept]
        system[-1, :-1] = system[:-1, -1] = 1
        right = torch.cat([signs[kept].T @ rise[kept], torch.tensor([change], dtype=torch.float64)])
        return torch.linalg.solve(system, right)[:-1]

    values, stderr = _fit(members, rise, change)
    every = torch.arange(draws)
    torch.testing.assert_close(values, solve(every))
    assert float(values.sum()) == pytest.approx(change)
    # What the values would be had a draw come out otherwise by as much as the others miss it.
    moved = []
    for draw in range(draws):
        missed = rise[draw] - signs[draw] @ solve(every[every != draw])
        step, before = 1e-3, rise[draw].clone()
        rise[draw] += step
        moved.append((solve(every) - values) / step * missed)
        rise[draw] = before
    torch.testing.assert_close(stderr, torch.stack(moved).square().sum(dim=0).sqrt(), rtol=1e-6, atol=0)


def test_sizes_of_coalitions_follow_the_kernel() -> None:
    model = _table(lambda x: x.sum(dim=1), 5)
    x = torch.ones(2, 5, dtype=torch.float64)
    x[1, 4] = 0
    logit = TargetLogit(KernelShap(), model, x, 0, needs=())
    game = Game(logit, players_of("auto", 1, model, x), torch.zeros_like(x))
    draws = 8000
    for row, players in enumerate((5, 4)):
        members = _members(game, logit.rng(0), torch.full((draws,), row), torch.arange(draws))
        assert not members[:, players:].any()
        weight = torch.tensor([1 / (size * (players - size)) for size in range(1, players)])
        found = members.sum(dim=1).bincount(minlength=players)[1:players] / draws
        torch.testing.assert_close(found, weight / weight.sum(), rtol=0, atol=0.025)
        assert float(members[:, :players].float().mean(dim=0).std()) < 0.02


def test_rounds_double_until_each_sample_is_settled_or_done() -> None:
    rounds = Rounds(torch.tensor([4, 4, 2, 4]), torch.tensor([20, 3, 0, 100]))
    seen: list[list[int]] = [[], [], [], []]
    sizes = []
    for turn, (rows, steps) in enumerate(rounds):
        sizes.append(rows.bincount(minlength=4).tolist())
        for row, step in zip(rows.tolist(), steps.tolist(), strict=True):
            seen[row].append(step)
        rounds.settle(torch.tensor([False, False, False, turn == 1]))
    assert sizes == [[4, 3, 0, 4], [4, 0, 0, 4], [8, 0, 0, 0], [4, 0, 0, 0]]
    assert seen == [list(range(20)), list(range(3)), [], list(range(8))]
    assert rounds.done.tolist() == [20, 3, 0, 8]


def test_what_is_settled_is_relative_to_the_change_or_to_a_thousandth() -> None:
    stderr = torch.tensor([[0.1, 0.2], [0.1, 0.21], [0.0, 9e-5], [0.0, 1.1e-4]], dtype=torch.float64)
    change = torch.tensor([-2.0, 2.0, 0.0, 5e-4], dtype=torch.float64)
    assert settled(stderr, change, 0.1).tolist() == [True, False, True, False]


def test_draws_of_a_sample_lie_side_by_side() -> None:
    assert _groups(torch.tensor([0, 0, 2, 2, 2])) == [(0, slice(0, 2)), (2, slice(2, 5))]


def test_two_pairs_of_orders_are_drawn_whatever_the_budget() -> None:
    features = 12
    model = linear(torch.ones(2, features), torch.zeros(2))
    found = _explain(model, torch.rand(1, features), 0, method="shapley_sampling", baseline="zero", budget=4)
    once = 2 * 2 * (features - 1) + 2
    assert once - 6 < found.cost.forward <= once, "a few coalitions may come up twice"


@pytest.mark.parametrize(("players", "budget"), [(64, 4096), (32, 2000)])
def test_a_player_that_mattered_in_no_order_drawn_is_not_sure_to_be_null(players: int, budget: int) -> None:
    model = _table(lambda x: (x > 0).all(dim=1).to(x.dtype), players)
    x = torch.ones(1, players, dtype=torch.float64)
    worst = []
    for seed in range(6):
        found = _explain(
            model, x, 0, method="shapley_sampling", baseline="zero", budget=budget, tolerance=0.0, seed=seed
        )
        assert found.stderr is not None
        assert int((found.values == 0).sum()) > 0, "some come neither first nor last in any order drawn"
        worst.append(float(((found.values - 1 / players).abs() / found.stderr).max()))
    assert max(worst) < 4.5


def test_regression_is_unsure_of_a_player_that_mattered_in_no_coalition_drawn() -> None:
    model = _table(lambda x: (x > 0).all(dim=1).to(x.dtype) + x[:, 0] * x[:, 1], 16)
    x = torch.ones(1, 16, dtype=torch.float64)
    found = _explain(model, x, 0, method="kernel_shap", baseline="zero", budget=256, tolerance=0.0)
    expected = torch.full((16,), 1 / 16, dtype=torch.float64)
    expected[:2] += 0.5
    assert found.stderr is not None
    assert float(((found.values[0] - expected).abs() / found.stderr[0]).max()) < 4.5


def test_an_additive_game_has_no_error() -> None:
    model = linear(torch.ones(2, 12), torch.zeros(2))
    found = _explain(model, torch.rand(2, 12), 0, method="shapley_sampling", baseline="zero")
    assert found.stderr is not None
    assert float(found.stderr.max()) < 1e-6
