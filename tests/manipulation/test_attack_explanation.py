"""Attacks on explanations: closed forms, a grid over a whole ball, and what every result must keep."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from small_models import inputs_for, keras_cnn, linear, table_mlp, token_net, torch_cnn
from torch import Tensor, nn

import xaibench
from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers import explainers
from xaibench.manipulation import TargetMap, TopK, attack_explanation
from xaibench.threats import L2, Linf, Threat, contains, feature_scale
from xaibench.types import Classifier

WEIGHT = torch.tensor([[2.0, 1.0, 0.5, 0.25], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
SEARCHES = ("gradient", "queries")


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("method", ["saliency", "saliency:absolute=false"])
def test_the_gradient_of_a_linear_model_cannot_be_moved(method: str, search: Any) -> None:
    x = torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model = linear(WEIGHT, torch.zeros(2))
    for objective in ("top_k", "rank"):
        found = attack_explanation(
            model,
            x,
            threat=Linf(0.1),
            method=method,
            objective=objective,
            search=search,
            steps=5,
        )
        torch.testing.assert_close(found.after, found.before)
        assert found.movement.rank_correlation.tolist() == pytest.approx([1.0] * 3)
        assert found.movement.top_k_overlap.tolist() == [1.0] * 3


@pytest.mark.parametrize(("search", "steps"), [("gradient", 30), ("queries", 300)])
def test_input_x_gradient_of_a_linear_model_moves_as_far_as_its_closed_form(search: Any, steps: int) -> None:
    """The weight of the first place is least with it at its lowest and all others at their highest."""
    x = torch.tensor([[0.9, 0.5, 0.5, 0.5], [0.6, 0.3, 0.2, 0.8]], dtype=torch.float64)
    eps = 0.05
    found = attack_explanation(
        linear(WEIGHT, torch.tensor([5.0, 0.0])),
        x,
        threat=Linf(eps),
        method="input_x_gradient",
        objective=TopK(share=0.25),
        search=search,
        steps=steps,
    )
    best = WEIGHT[0] * (x + eps * torch.tensor([-1.0, 1.0, 1.0, 1.0]))
    weight = best[:, 0] / best.sum(dim=1)
    assert found.reached.tolist() == pytest.approx((0.5 * (1 - weight)).tolist(), abs=1e-6)
    torch.testing.assert_close(found.after, best)


def _net(seed: int) -> Classifier:
    torch.manual_seed(seed)
    return TorchClassifier(
        nn.Sequential(nn.Linear(2, 12), nn.ReLU(), nn.Linear(12, 2)), task="tabular", input_shape=(2,)
    )


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_layers_are_moved_as_far_as_a_grid_over_the_ball_finds(seed: int, search: Any) -> None:
    model, x, eps = _net(seed), torch.tensor([[0.45, 0.55]]), 0.2
    goal, target = TopK(share=0.5), model.predict(x)
    steps = torch.linspace(-eps, eps, 81)
    grid = x + torch.cartesian_prod(steps, steps)
    maps = explainers.create("saliency")(model, grid, target.expand(len(grid))).values
    before = explainers.create("saliency")(model, x, target).values
    reached = goal.reached(maps, before.expand_as(maps))
    best = float(reached[model.predict(grid) == target].max())
    found = attack_explanation(
        model, x, threat=Linf(eps), method="saliency", objective=goal, search=search, steps=100, restarts=3
    )
    assert best > 0
    assert float(found.reached) >= 0.97 * best
    assert float(found.reached) <= best + 0.05


@cache
def _case(name: str) -> tuple[Classifier, Tensor, Threat]:
    model = {"torch": torch_cnn, "keras": keras_cnn, "table": table_mlp}[name]()
    return model, inputs_for(model, 5), Linf(0.1, scale=feature_scale(model.task, model.bounds))


@pytest.mark.parametrize("search", ["gradient", "queries", "noise"])
@pytest.mark.parametrize("name", ["torch", "keras", "table"])
def test_what_is_found_lies_in_the_ball_is_classified_alike_and_is_explained_as_stated(name: str, search: Any) -> None:
    model, x, threat = _case(name)
    before, digest = x.clone(), model.digest
    for method in ("saliency", "integrated_gradients:steps=4"):
        found = attack_explanation(model, x, threat=threat, method=method, search=search, steps=6)
        assert found.search == search
        assert bool(contains(threat, found.inputs, x, model.bounds).all())
        assert torch.equal(model.predict(found.inputs), model.predict(x))
        assert bool(found.kept.all())
        explainer = explainers.create(method)
        torch.testing.assert_close(explainer(model, x, found.target).values, found.before, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(
            explainer(model, found.inputs, found.target).values, found.after, rtol=1e-3, atol=1e-5
        )
        assert float(found.reached.max()) > 0
    assert torch.equal(x, before)
    assert model.digest == digest


def test_l2_balls_are_kept_to_as_well() -> None:
    model, x, _ = _case("torch")
    found = attack_explanation(model, x, threat=L2(0.5), objective="centre", steps=10)
    assert bool(contains(L2(0.5), found.inputs, x, model.bounds).all())
    assert found.movement.centre_shift is not None
    assert float(found.movement.centre_shift.mean()) > 0.01


@pytest.mark.parametrize("search", ["gradient", "queries", "noise"])
def test_a_sample_comes_out_the_same_in_any_batch(search: Any) -> None:
    model, x, threat = _case("torch")

    def attack(some: Tensor) -> Tensor:
        return attack_explanation(model, some, threat=threat, search=search, steps=8, restarts=2).inputs

    whole = attack(x)
    parts = torch.cat([attack(x[:2]), attack(x[2:])])
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(attack(x.flip(0)).flip(0), whole, rtol=1e-4, atol=1e-4)


def test_more_steps_and_starts_from_what_was_found_never_lose_ground() -> None:
    model, x, threat = _case("torch")
    found = attack_explanation(model, x, threat=Linf(0.05), steps=10)
    wider = attack_explanation(model, x, threat=threat, steps=1, start=found.inputs)
    assert bool((wider.reached >= found.reached - 1e-6).all())
    more = attack_explanation(model, x, threat=Linf(0.05), steps=10, restarts=3)
    assert bool((more.reached >= found.reached - 1e-6).all())


def test_a_search_moves_maps_of_a_shipped_model_much_further_than_noise_of_the_same_size() -> None:
    model, data = xaibench.load_model("digits-cnn"), xaibench.load_data("digits", n=24)
    assert isinstance(data.inputs, Tensor)
    left = {
        search: float(
            attack_explanation(
                model, data.inputs, threat=Linf(0.1), search=search, steps=steps
            ).movement.top_k_overlap.mean()
        )
        for search, steps in (("gradient", 30), ("noise", 1))
    }
    assert 1 - left["gradient"] > 1.5 * (1 - left["noise"]) > 0


def test_a_search_for_another_order_turns_ranks_around_further_than_many_draws_of_noise() -> None:
    model, data = xaibench.load_model("digits-cnn"), xaibench.load_data("digits", n=16)
    assert isinstance(data.inputs, Tensor)
    turned = {
        search: float(
            1
            - attack_explanation(
                model, data.inputs, threat=Linf(0.1), objective="rank", search=search
            ).movement.rank_correlation.mean()
        )
        for search in ("gradient", "noise")
    }
    assert turned["gradient"] > 1.25 * turned["noise"] > 0


def test_a_map_is_led_towards_another_one_and_logits_can_be_held() -> None:
    model, x, threat = _case("torch")
    wanted = torch.zeros(2, 8, 8)
    wanted[:, :4, :4] = 1.0
    goal = TargetMap(target=wanted)
    free, held = (
        attack_explanation(model, x, threat=threat, objective=goal, steps=40, hold_logits=weight)
        for weight in (0.0, 30.0)
    )

    def missed(values: Tensor) -> Tensor:
        """The squared difference of shares, by hand."""
        size = values.abs().sum(dim=1)
        goal = wanted.sum(dim=0) / wanted.sum()
        return (size / size.sum(dim=(1, 2), keepdim=True) - goal).square().sum(dim=(1, 2))

    assert bool((missed(free.after) < missed(free.before)).all())
    clean = model.logits(x)
    change = [float((model.logits(found.inputs) - clean).norm(dim=1).mean()) for found in (free, held)]
    assert change[1] < 0.7 * change[0]


def test_methods_without_a_gradient_are_searched_by_queries() -> None:
    class Corner:
        """A map of the input itself: no gradient search knows it."""

        name = "corner"

        def __call__(self, model: Classifier, inputs: Tensor, targets: Any = None, *, seed: int = 0) -> Any:
            return explainers.create("input_x_gradient")(model, inputs, targets)

    model, x, threat = _case("torch")
    assert attack_explanation(model, x, threat=threat, method=Corner(), steps=2).search == "queries"  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError, match="corner of this torch model cannot be differentiated"):
        attack_explanation(model, x, threat=threat, method=Corner(), search="gradient")  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    model, x, threat = _case("torch")
    table, rows, ball = _case("table")
    text = token_net()
    wrong: list[tuple[Classifier, Tensor, Threat, dict[str, Any], str]] = [
        (text, inputs_for(text, 2), threat, {}, "explanations of text are not manipulated"),
        (model, x, threat, {"steps": 0}, "expected `steps` and `restarts` >= 1, got 0 and 1"),
        (model, x, threat, {"search": "luck"}, "expected search as auto, gradient, queries, noise, got 'luck'"),
        (model, x, threat, {"method": "salience"}, "did you mean 'saliency'"),
        (model, x, threat, {"objective": "centr"}, "did you mean 'centre'"),
        (model, x, threat, {"objective": "top_k:share=2"}, r"share of the places in \(0, 1\], got 2"),
        (model, x, threat, {"start": x[:1]}, r"expected starts as \(5, 2, 8, 8\), got \(1, 2, 8, 8\)"),
        (model, x, threat, {"objective": TargetMap(target=torch.ones(3, 3))}, r"broadcasts to \(2, 8, 8\)"),
        (model, x, threat, {"objective": TargetMap(target=torch.zeros(8, 8))}, "not all zero"),
        (model, x, Linf(2.0), {}, "size of the box"),
        (table, rows, ball, {"objective": "centre"}, "needs images"),
    ]
    for classifier, inputs, ball_, options, message in wrong:
        with pytest.raises(InputError, match=message) as refused:
            attack_explanation(classifier, inputs, threat=ball_, **options)
        assert "\n" not in str(refused.value)
