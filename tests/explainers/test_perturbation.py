"""Occlusion, ablation, permutation, RISE and LIME against closed forms, naive loops, Captum and enumeration."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from small_models import inputs_for, linear, table_mlp, token_net, torch_cnn
from torch import Tensor, nn

from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers import Attribution, explain
from xaibench.explainers.lime import Lime
from xaibench.explainers.players import Players, players_of
from xaibench.explainers.rise import Rise
from xaibench.explainers.superpixels import superpixels
from xaibench.types import Classifier

WEIGHT = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]], dtype=torch.float64)
BIAS = torch.tensor([0.3, -0.7], dtype=torch.float64)
TARGET = torch.tensor([0, 1, 0, 1])
SHAPLEY = ("shapley_exact", "shapley_sampling", "kernel_shap")


def _explain(model: Classifier, x: Any, targets: Any = None, **params: Any) -> Attribution:
    return explain(model, x, targets, trust="quick", **params)


def _features(n: int = 4) -> Tensor:
    return torch.rand(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def _logit(model: Classifier, x: Tensor, target: int) -> Tensor:
    return model.logits(x)[:, target].detach().double()


class _Logits(nn.Module):
    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self._model = model

    def forward(self, x: Tensor) -> Tensor:
        return self._model.logits(x)


@pytest.mark.parametrize(
    "method", ["occlusion", "feature_ablation", "lime", "shapley_exact", "shapley_sampling", "kernel_shap"]
)
def test_linear_models_share_out_their_terms(method: str) -> None:
    x, baseline = _features(), torch.tensor([0.2, 0.9, 0.4], dtype=torch.float64)
    found = _explain(linear(WEIGHT, BIAS), x, TARGET, method=method, baseline=baseline)
    loose = method == "lime"
    expected = (x - baseline) * WEIGHT[TARGET]
    torch.testing.assert_close(found.values, expected, rtol=0.02 if loose else 1e-9, atol=0.01 if loose else 1e-9)
    if found.stderr is not None:
        assert float(found.stderr.max()) < (0.01 if loose else 1e-8)


def test_permutation_of_a_linear_model_is_the_distance_to_the_mean_of_the_background() -> None:
    x, background = _features(), torch.rand(20, 3, dtype=torch.float64)
    found = _explain(linear(WEIGHT, BIAS), x, TARGET, method="feature_permutation", background=background)
    terms = (x[:, None] - background) * WEIGHT[TARGET][:, None]
    torch.testing.assert_close(found.values, terms.mean(dim=1))
    assert found.stderr is not None
    torch.testing.assert_close(found.stderr, terms.std(dim=1) / 20**0.5)
    assert found.trust.notes == ("20 given background samples",)


@pytest.mark.parametrize(("window", "stride"), [(3, 2), (2, 2), (5, 4), (8, 8), (1, 1)])
def test_occlusion_is_a_loop_over_windows(window: int, stride: int) -> None:
    model = torch_cnn()
    x = inputs_for(model, 3)
    found = _explain(model, x, 1, method="occlusion", window=window, stride=stride, baseline="mean")
    starts = sorted({min(start, 8 - window) for start in range(0, 8 - window + stride, stride)})
    total, cover = torch.zeros(3, 1, 8, 8, dtype=torch.float64), torch.zeros(8, 8)
    for top, left in product(starts, starts):
        hidden = x.clone()
        hidden[:, :, top : top + window, left : left + window] = 0.5
        fall = _logit(model, x, 1) - _logit(model, hidden, 1)
        total[:, 0, top : top + window, left : left + window] += fall[:, None, None]
        cover[top : top + window, left : left + window] += 1
    torch.testing.assert_close(found.values, (total / cover).expand(x.shape).float(), rtol=1e-4, atol=1e-5)


def test_captum_agrees_on_occlusion_and_ablation() -> None:
    from captum import attr

    model = torch_cnn()
    x = inputs_for(model, 4)
    target = model.predict(x)
    reference = attr.Occlusion(_Logits(model)).attribute(x, (2, 4, 4), strides=(2, 2, 2), target=target, baselines=0.0)
    found = _explain(model, x, method="occlusion", window=4, stride=2)
    torch.testing.assert_close(found.values, reference.float(), rtol=1e-4, atol=1e-5)
    groups = torch.arange(64).view(8, 8) // 5
    reference = attr.FeatureAblation(_Logits(model)).attribute(
        x, target=target, feature_mask=groups.expand(1, 2, 8, 8), baselines=0.0
    )
    size = 2 * torch.bincount(groups.flatten())[groups]
    found = _explain(model, x, method="feature_ablation", players=groups)
    torch.testing.assert_close(found.values * size, reference.float(), rtol=1e-4, atol=1e-5)


def test_windows_over_texts_and_tables_are_neighbours() -> None:
    model = token_net()
    x = inputs_for(model, 2)
    found = _explain(model, x, 0, method="occlusion", window=2, stride=2)
    total, cover = torch.zeros(2, 7, dtype=torch.float64), torch.zeros(7)
    for start in (0, 2, 4, 5):
        hidden = x.clone()
        hidden[:, start : start + 2] = 0
        total[:, start : start + 2] += (_logit(model, x, 0) - _logit(model, hidden, 0))[:, None]
        cover[start : start + 2] += 1
    torch.testing.assert_close(found.values, (total / cover).float(), rtol=1e-4, atol=1e-6)


def test_nothing_is_evaluated_for_parts_that_the_baseline_does_not_change() -> None:
    model = torch_cnn()
    x = torch.zeros(1, 2, 8, 8)
    x[..., 2, 3] = 1
    groups = torch.arange(64).view(8, 8)
    found = _explain(model, x, 0, method="feature_ablation", players=groups)
    assert found.cost.forward == 3 - 1  # the baseline is the input without its only player
    assert found.values.count_nonzero() == 2
    assert _explain(model, x, 0, method="occlusion", window=1).cost.forward == 2
    for method in ("shapley_exact", "shapley_sampling", "kernel_shap", "lime", "feature_ablation", "occlusion"):
        empty = _explain(model, 0 * x, 0, method=method)
        assert not empty.values.any()
        assert empty.cost.forward <= 2


def test_rise_is_a_mean_over_its_masks() -> None:
    model = torch_cnn()
    x = inputs_for(model, 3)
    masks = Rise(cells=3, keep=0.3, samples=40)._masks(torch.arange(40), x, 7)
    assert masks.shape == (40, 1, 8, 8)
    assert float(masks.min()) >= 0
    assert float(masks.max()) <= 1
    found = _explain(model, x, 2, method="rise", cells=3, keep=0.3, samples=40, seed=7, baseline="max")
    for row in range(3):
        scores = _logit(model, masks * x[row] + 1 - masks, 2)
        weighted = (scores[:, None, None] * masks[:, 0]).sum(0) / masks[:, 0].sum(0) - scores.mean()
        torch.testing.assert_close(found.values[row], weighted.expand(2, 8, 8).float(), rtol=1e-3, atol=1e-5)


def test_masks_of_rise_are_open_as_often_as_asked_everywhere() -> None:
    masks = Rise(cells=4, keep=0.3)._masks(torch.arange(4000), torch.zeros(1, 1, 12, 10), 0)
    mean = masks.mean(dim=0)
    assert float((mean - 0.3).abs().max()) < 5 * 0.46 / 4000**0.5
    assert float((masks[1:] - masks[:-1]).abs().mean()) > 0.1, "masks differ"


def test_rise_finds_the_pixel_that_counts() -> None:
    weight = torch.zeros(2, 64)
    weight[0, 8 * 2 + 5] = 3.0
    line = nn.Linear(64, 2)
    with torch.no_grad():
        line.weight.copy_(weight)
    model = TorchClassifier(nn.Sequential(nn.Flatten(), line), input_shape=(1, 8, 8))
    found = _explain(model, torch.ones(1, 1, 8, 8), 0, method="rise", cells=8)
    assert int(found.values.argmax()) == 8 * 2 + 5
    assert float(found.values.max()) == pytest.approx(1.5, abs=0.1), "the logit is 3 where seen, 1.5 on average"


def _lime_by_enumeration(
    score: Callable[[Tensor], Tensor], x: Tensor, baseline: Tensor, ridge: float, width: float
) -> Tensor:
    """The weights of LIME for one sample (features,) from all coalitions, by normal equations with an intercept."""
    count = len(x)
    z = torch.tensor(list(product([0.0, 1.0], repeat=count)), dtype=torch.float64)
    scores = score((z * x + (1 - z) * baseline).float())
    size = z.sum(dim=1)
    cosine = torch.where(size > 0, size / (size.clamp_min(1) * count).sqrt(), torch.zeros(()))
    kernel = torch.exp(-((1 - cosine) ** 2) / width**2)
    design = torch.cat([torch.ones(len(z), 1), z], dim=1).double()
    penalty = torch.diag(torch.tensor([0.0] + [1.0] * count, dtype=torch.float64)) * ridge * kernel.sum()
    return torch.linalg.solve(design.T @ (kernel[:, None] * design) + penalty, design.T @ (kernel * scores))[1:]


@pytest.mark.parametrize(("ridge", "width"), [(1e-3, 0.25), (0.05, 0.6)])
def test_lime_comes_to_the_regression_on_all_coalitions(ridge: float, width: float) -> None:
    model = table_mlp()
    x, baseline = inputs_for(model, 3), torch.tensor([0.1, 2.0, 400.0, 0.008, 1.2])
    limit = torch.stack(
        [
            _lime_by_enumeration(lambda z: _logit(model, z, 1), row.double(), baseline.double(), ridge, width)
            for row in x
        ]
    )
    options: dict[str, Any] = {"method": "lime", "baseline": baseline, "ridge": ridge, "kernel_width": width}
    scores = []
    for seed in range(30):
        found = _explain(model, x, 1, samples=400, seed=seed, **options)
        assert found.stderr is not None
        scores.append((found.values.double() - limit) / found.stderr.double())
    z = torch.stack(scores)
    assert float(z.mean(dim=0).abs().max()) < 4 / 30**0.5
    assert 0.85 < float(z.std()) < 1.15


def test_lime_says_how_well_a_line_fits() -> None:
    (straight,) = _explain(linear(WEIGHT, BIAS), _features(1), 0, method="lime").trust.notes
    assert straight == "the linear model explains 100% of the logit's variance nearby (weighted R2)"
    (bent,) = _explain(torch_cnn(), inputs_for(torch_cnn(), 2), 0, method="lime").trust.notes
    assert "at worst" in bent
    assert "100%" not in bent


def test_replaced_words_may_be_unknown_instead_of_padding() -> None:
    model = token_net()
    x = inputs_for(model, 2)
    found = _explain(model, x, 1, method="feature_ablation", baseline=torch.tensor(29))
    for place in range(7):
        other = x.clone()
        other[:, place] = 29
        fall = (_logit(model, x, 1) - _logit(model, other, 1)).float()
        torch.testing.assert_close(found.values[:, place], fall, rtol=1e-4, atol=1e-6)


def test_the_unknown_word_is_a_baseline_of_texts_with_a_tokenizer() -> None:
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 3, "good": 2}, unk_token="[UNK]"))
    plain = token_net()
    assert isinstance(plain, TorchClassifier)
    model = TorchClassifier(plain.module, task="text", input_shape=(7,), tokenizer=tokenizer)
    x = inputs_for(model, 2)
    found = _explain(model, x, 1, method="occlusion", baseline="unknown")
    assert found.baseline is not None
    assert found.baseline.tolist() == [[3] * 7] * 2
    with pytest.raises(UnsupportedError, match="needs a tokenizer with a token for unknown words"):
        _explain(plain, x, 1, method="occlusion", baseline="unknown")
    with pytest.raises(InputError, match="'unknown' for text alone, got it for task 'image'"):
        _explain(torch_cnn(), inputs_for(torch_cnn(), 1), 1, method="occlusion", baseline="unknown")


@pytest.mark.parametrize("method", ["feature_ablation", "lime", *SHAPLEY])
def test_texts_of_different_length_share_a_batch(method: str) -> None:
    model = token_net()
    x = inputs_for(model, 4)
    x[1, 3:], x[2, 1:] = 0, 0
    found = _explain(model, x, 1, method=method)
    assert not found.values[x == 0].any(), "padding is no player"
    for row in range(4):
        alone = _explain(model, x[row : row + 1], 1, method=method)
        torch.testing.assert_close(alone.values, found.values[row : row + 1], rtol=1e-4, atol=1e-6)


def test_a_grid_is_made_of_nearly_equal_cells() -> None:
    model = torch_cnn()
    x = inputs_for(model, 2)
    players = players_of("grid", 6, model, x)
    assert players.count.tolist() == [6, 6]
    assert players.index.shape == (2, 1, 8, 8)
    rows, columns = (players.index[0, 0] == 3).nonzero(as_tuple=True)
    assert (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1) == len(rows), "a rectangle"
    assert players_of("grid", 1000, model, x).count.tolist() == [64, 64], "no more cells than pixels"


def test_superpixels_keep_to_the_edges_of_colours() -> None:
    x = torch.zeros(2, 2, 8, 8)
    x[0, :, :, 3:], x[1, :, 5:] = 1, 1  # edges that no grid of 2 by 2 has
    players = players_of("superpixels", 4, torch_cnn(), x)
    for row in range(2):
        for player in range(int(players.count[row])):
            colours = x[row, 0][players.index[row, 0] == player]
            assert len(colours.unique()) == 1
    assert torch.equal(players_of("auto", 4, torch_cnn(), x[1:]).index, players.index[1:])


def test_players_are_numbered_from_zero_for_each_sample() -> None:
    players = Players.of_labels(torch.tensor([[7, 7, -1, 3], [-5, -1, -1, -1], [0, 100, 9, 0]]))
    assert players.index.tolist() == [[1, 1, -1, 0], [-1, -1, -1, -1], [0, 2, 1, 0]]
    assert players.count.tolist() == [2, 0, 3]
    shared = players.spread(torch.tensor([[1.0, 4.0, 9.0], [5.0, 5.0, 5.0], [2.0, 3.0, 4.0]]), torch.Size([3, 4]))
    assert shared.tolist() == [[2, 2, 0, 1], [0, 0, 0, 0], [1, 4, 3, 1]]


def test_elements_without_a_player_are_always_there() -> None:
    x, baseline = _features(), torch.zeros(3, dtype=torch.float64)
    found = _explain(
        linear(WEIGHT, BIAS), x, TARGET, method="shapley_exact", players=torch.tensor([4, -1, 4]), baseline=baseline
    )
    together = (x * WEIGHT[TARGET])[:, [0, 2]].sum(dim=1) / 2
    torch.testing.assert_close(found.values, torch.stack([together, 0 * together, together], dim=1))


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("occlusion", {"window": -1}, "expected `window` and `stride` >= 0, got -1 and 0"),
        ("occlusion", {"window": 9}, "expected `window` of at most 8, got 9"),
        ("occlusion", {"window": 2, "stride": 3}, "`stride` of at most the window of 2, got 3"),
        ("rise", {"samples": 1}, "expected `samples` >= 2, got 1"),
        ("rise", {"cells": 0}, "expected `cells` >= 1, got 0"),
        ("rise", {"keep": 1.0}, "expected 0 < `keep` < 1, got 1.0"),
        ("lime", {"samples": 1}, "expected `samples` >= 2, got 1"),
        ("lime", {"kernel_width": 0.0}, "expected `kernel_width` > 0, got 0.0"),
        ("lime", {"ridge": 0.0}, "expected `ridge` > 0, got 0.0"),
        ("feature_permutation", {"samples": 1}, "expected `samples` >= 2, got 1"),
        ("feature_ablation", {"segments": 0}, "expected `segments` >= 1, got 0"),
        (
            "feature_ablation",
            {"players": "words"},
            "players of image as auto, superpixels, grid or a tensor, got 'words'",
        ),
        (
            "feature_ablation",
            {"players": "pixels"},
            "expected `players` of .* got 'pixels'",
        ),
        ("feature_ablation", {"players": torch.zeros(8, 7).long()}, r"broadcast to \(2, 2, 8, 8\), got \(8, 7\)"),
        ("feature_ablation", {"players": torch.zeros(8, 8)}, "expected players as whole numbers, got float32"),
    ],
)
def test_bad_parameters_are_one_clear_line(method: str, params: dict[str, Any], message: str) -> None:
    model = torch_cnn()
    with pytest.raises(InputError, match=message):
        _explain(model, inputs_for(model, 2), method=method, **params)


def test_rise_needs_images() -> None:
    model = table_mlp()
    with pytest.raises(UnsupportedError, match="rise masks images smoothly, got tabular"):
        _explain(model, inputs_for(model, 2), method="rise")


@pytest.mark.parametrize("method", ["rise", "lime", "feature_permutation"])
def test_standard_errors_are_the_spread_over_seeds(method: str) -> None:
    model = torch_cnn()
    x = inputs_for(model, 3)
    samples = {"rise": 100, "lime": 300, "feature_permutation": 8}[method]
    found = [_explain(model, x, 1, method=method, samples=samples, seed=seed) for seed in range(40)]
    values = torch.stack([one.values for one in found]).double()
    errors = torch.stack([one.stderr for one in found if one.stderr is not None]).double()
    ratio = values.std(dim=0) / errors.square().mean(dim=0).sqrt()
    assert 0.85 < float(ratio.nanmedian()) < 1.15


@pytest.mark.parametrize("count", [1, 2, 3])
def test_permutation_has_errors_from_two_background_samples_on(count: int) -> None:
    x, background = _features(), torch.rand(3, 3, dtype=torch.float64)[:count]
    found = _explain(linear(WEIGHT, BIAS), x, TARGET, method="feature_permutation", background=background)
    if count == 1:
        assert found.stderr is None
        return
    terms = (x[:, None] - background) * WEIGHT[TARGET][:, None]
    assert found.stderr is not None
    torch.testing.assert_close(found.stderr, terms.std(dim=1) / count**0.5)


def test_standard_errors_of_lime_spare_a_degree_for_each_player_and_one_for_the_level() -> None:
    generator = torch.Generator().manual_seed(3)
    draws, players, ridge, width = 12, 4, 0.01, 0.4
    members = (torch.rand(1, draws, players, generator=generator) < 0.5).double()
    scores = torch.randn(1, draws, dtype=torch.float64, generator=generator)
    weights, stderr, fit = Lime(ridge=ridge, kernel_width=width)._fit(members, scores, torch.tensor([players]))
    z, y = members[0], scores[0]
    kernel = torch.exp(-(((1 - (z.sum(dim=1) / players).sqrt()) / width) ** 2))
    kernel = kernel / kernel.sum()
    design = torch.cat([torch.ones(draws, 1, dtype=torch.float64), z], dim=1)
    penalty = ridge * torch.diag(torch.tensor([0.0] + [1.0] * players, dtype=torch.float64))
    inverse = torch.linalg.inv(design.T @ torch.diag(kernel) @ design + penalty)
    coefficients = inverse @ design.T @ (kernel * y)
    error = y - design @ coefficients
    middle = design.T @ torch.diag((kernel * error) ** 2) @ design
    covariance = inverse @ middle @ inverse * draws / (draws - players - 1)
    torch.testing.assert_close(weights[0], coefficients[1:])
    torch.testing.assert_close(stderr[0], covariance.diagonal()[1:].sqrt())
    spread = (kernel * (y - (kernel * y).sum()) ** 2).sum()
    torch.testing.assert_close(fit[0], 1 - (kernel * error**2).sum() / spread)


def test_standard_errors_of_rise_are_those_of_what_each_mask_adds() -> None:
    model = torch_cnn()
    x, count = inputs_for(model, 2), 30
    found = _explain(model, x, 2, method="rise", cells=3, keep=0.4, samples=count, seed=5)
    masks = Rise(cells=3, keep=0.4)._masks(torch.arange(count), x, 5).double()
    for row in range(2):
        scores = _logit(model, (masks * x[row]).float(), 2)[:, None, None]
        seen = (scores * masks[:, 0]).sum(dim=0) / masks[:, 0].sum(dim=0)
        added = masks[:, 0] * (scores - seen) / masks[:, 0].mean(dim=0) - (scores - scores.mean())
        expected = (added.square().sum(dim=0) / (count - 1) / count).sqrt()
        assert found.stderr is not None
        torch.testing.assert_close(found.stderr[row], expected.expand(2, 8, 8).float(), rtol=1e-3, atol=1e-6)


def test_padding_is_no_player_whatever_the_baseline_and_zeros_of_tables_are() -> None:
    words = torch.tensor([[5, 1, 2, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 3]])
    players = players_of("auto", 1, token_net(), words)
    assert players.count.tolist() == [3, 7]
    assert players.index.tolist() == [[0, 1, 2, -1, -1, -1, -1], list(range(7))]
    x = torch.tensor([[0.0, 1.0, 0.0, 0.0, -1.0]])
    assert players_of("auto", 1, table_mlp(), x).index.tolist() == [[0, 1, 2, 3, 4]]


def test_players_of_pixels_matter_if_any_channel_differs_and_of_channels_if_any_pixel_does() -> None:
    x, baseline = torch.zeros(1, 2, 2, 3), torch.zeros(1, 2, 2, 3)
    x[0, 1, 0, 2] = 1.0
    pixels = Players.of_labels(torch.arange(6).view(1, 1, 2, 3)).among(x, baseline)
    assert pixels.index.tolist() == [[[[-1, -1, 0], [-1, -1, -1]]]]
    channels = Players.of_labels(torch.arange(2).view(1, 2, 1, 1)).among(x, baseline)
    assert channels.index.flatten().tolist() == [-1, 0]
    every = Players.of_labels(torch.arange(12).view(1, 2, 2, 3) // 4).among(x, baseline)
    assert every.index.flatten().tolist() == [-1] * 8 + [0] * 4


def test_superpixels_do_not_depend_on_the_range_of_values_or_on_channels_that_repeat() -> None:
    x = torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(6))
    found = superpixels(x, 9)
    assert len(found[0].unique()) > 4
    assert torch.equal(superpixels(40 * x - 7, 9), found)
    assert torch.equal(superpixels(x.expand(3, 4, 12, 12).contiguous(), 9), found)
