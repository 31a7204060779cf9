"""Global importance, swarms and permutation importance against definitions, closed forms and scikit-learn."""

from __future__ import annotations

import dataclasses

import factories
import pytest
import torch
from small_models import inputs_for, linear, table_mlp, torch_cnn
from torch import Tensor

from xaibench.data import Data, load_data
from xaibench.data.dataset import data_digest
from xaibench.errors import InputError
from xaibench.explainers import Attribution, explain
from xaibench.overview import (
    beeswarm,
    global_importance,
    importance_figure,
    permutation_importance,
    swarm_figure,
)
from xaibench.types import Bounds
from xaibench.zoo import load_model


def attributed(values: Tensor, target: Tensor) -> Attribution:
    """Given values as if an explainer had found them."""
    model = table_mlp()
    found = explain(model, inputs_for(model, 1), method="saliency", trust="quick")
    return dataclasses.replace(found, values=values, target=target)


def test_means_by_feature_and_class() -> None:
    values = torch.tensor([[1.0, -2.0], [-3.0, 0.0], [5.0, 4.0]])
    found = global_importance(attributed(values, torch.tensor([0, 0, 2])), names=("a", "b"), classes=4)
    assert found.mean.tolist() == [3.0, 2.0]
    assert found.by_class is not None
    assert found.by_class[[0, 2]].tolist() == [[2.0, 1.0], [5.0, 4.0]]
    assert bool(found.by_class[[1, 3]].isnan().all())
    assert found.count.tolist() == [3, 3]
    assert found.top(1).tolist() == [0]
    assert found.names == ("a", "b")


def test_intervals_cover_the_mean_as_often_as_they_say() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(60, 400, generator=generator)
    found = global_importance(attributed(values, torch.zeros(60, dtype=torch.int64)), confidence=0.9)
    truth = (2 / torch.pi) ** 0.5
    share = float(((found.low <= truth) & (truth <= found.high)).double().mean())
    assert 0.84 < share < 0.94, share
    half = float((found.high - found.low).mean()) / 2
    assert half == pytest.approx(1.645 * (1 - 2 / torch.pi) ** 0.5 / 60**0.5, rel=0.1)


def test_words_count_where_they_occur() -> None:
    """The value of each word is its own in `factories.words`: 1 for good, 3 for lovely, 0 for film."""
    model = factories.words()
    found = explain(model, ["good good film", "lovely film", "film"], 0, method="input_x_gradient", trust="quick")
    overall = global_importance(found)
    assert overall.names == ("film", "good", "lovely")
    assert overall.mean.tolist() == pytest.approx([0.0, 2.0, 3.0])
    assert overall.count.tolist() == [3, 1, 1]
    assert overall.low.isnan().tolist() == [False, True, True]
    figure = importance_figure(overall)
    assert figure.data[0].y[0] == "lovely"
    assert list(figure.data[0].error_x.array)[:2] == [0.0, 0.0], "no interval is known of those that occur once"
    assert figure.layout.xaxis.fixedrange
    assert figure.layout.xaxis.title.text == "mean absolute attribution by Input × gradient,<br>95 % intervals"
    with pytest.raises(InputError, match="no names for text"):
        global_importance(found, names=("a",))


def test_pixels_are_named_by_place() -> None:
    model = torch_cnn()
    found = explain(model, inputs_for(model, 3), method="saliency", trust="quick")
    overall = global_importance(found)
    assert overall.names[8 * 8 + 10] == "channel 1, row 1, column 2"
    assert overall.mean.tolist() == pytest.approx(found.values.double().abs().mean(dim=0).flatten().tolist())


def test_a_swarm_holds_values_ranks_and_separate_points() -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(80, 4, generator=generator) * torch.tensor([1.0, 5.0, 0.1, 2.0])
    inputs = torch.randn(80, 4, generator=generator)
    inputs[:, 3] = 7.0
    swarm = beeswarm(attributed(values, torch.zeros(80, dtype=torch.int64)), inputs, names="abcd", most=3)
    assert swarm.names == ("b", "d", "a")
    assert swarm.index.tolist() == [1, 3, 0]
    assert torch.equal(swarm.attribution, values.double()[:, [1, 3, 0]])
    order = inputs[:, 1].argsort()
    assert swarm.rank[order, 0].tolist() == pytest.approx([i / 79 for i in range(80)])
    assert set(swarm.rank[:, 1].tolist()) == {0.5}
    assert float(swarm.offset.abs().max()) == pytest.approx(0.4)
    for k in range(3):
        span = float(swarm.attribution.max() - swarm.attribution.min())
        points = list(zip(swarm.attribution[:, k].tolist(), swarm.offset[:, k].tolist(), strict=True))
        height = min(abs(o) for o in swarm.offset.flatten().tolist() if o)
        for i, (x, y) in enumerate(points):
            for other_x, other_y in points[:i]:
                assert abs(x - other_x) > 1e-9 * span or abs(y - other_y) >= height * 0.99
    assert len(swarm_figure(swarm).data) == 3


def table(n: int, weight: list[float], seed: int = 0) -> Data:
    x = torch.rand(n, len(weight), generator=torch.Generator().manual_seed(seed))
    y = (x @ torch.tensor(weight) > sum(weight) / 2).long()
    names = ("no", "yes")
    return Data("made", "test", "tabular", x, y, names, torch.arange(n), data_digest(x, y, names), Bounds(0.0, 1.0))


def test_permutation_importance_is_that_of_scikit_learn() -> None:
    from sklearn.inspection import permutation_importance as reference

    model, data = load_model("cancer-mlp"), load_data("breast-cancer", "test")
    assert isinstance(data.inputs, Tensor)

    class Estimator:
        def fit(self) -> None: ...

        def score(self, x: object, y: object) -> float:
            return float((model.predict(torch.tensor(x).float()) == torch.tensor(y)).double().mean())

    found = permutation_importance(model, data, repeats=40)
    theirs = reference(Estimator(), data.inputs.numpy(), data.labels.numpy(), n_repeats=40, random_state=0)
    error = (found.high - found.low) / 2 + 1e-9
    z = (found.mean - torch.tensor(theirs.importances_mean)) / error
    assert float(z.abs().max()) < 3.5, z
    assert found.names == data.feature_names


def test_features_that_the_model_ignores_have_none_and_groups_go_together() -> None:
    weight = [3.0, 1.0, 0.0, 2.0]
    model = linear(torch.tensor([[0.0] * 4, weight]), torch.tensor([0.0, -3.0]))
    data = table(400, weight)
    found = permutation_importance(model, data, score="loss", repeats=8)
    assert float(found.mean[2]) == 0 == float(found.high[2])
    assert found.top(4).tolist() == [0, 3, 1, 2]
    assert bool((found.low <= found.mean).all())
    accuracy = permutation_importance(model, data, repeats=8)
    assert float(accuracy.mean[0]) > 0.1
    grouped = permutation_importance(model, data, repeats=8, groups={"both": [0, 3]})
    assert grouped.names == ("feature 1", "feature 2", "both")
    assert float(grouped.mean[2]) > float(accuracy.mean[0])
    # All features at once: as good as chance, which is one half here.
    every = permutation_importance(model, data, repeats=20, groups={"all": [0, 1, 2, 3]})
    assert float(every.mean[0]) == pytest.approx(0.5, abs=0.05)
    assert torch.equal(permutation_importance(model, data, repeats=8).mean, accuracy.mean)


def test_bad_input_is_refused() -> None:
    found = attributed(torch.rand(3, 2), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(InputError, match="2 feature names, got 1"):
        global_importance(found, names=("a",))
    with pytest.raises(InputError, match="`confidence` between"):
        global_importance(found, confidence=1.0)
    with pytest.raises(InputError, match="above the largest target"):
        global_importance(attributed(torch.rand(1, 2), torch.tensor([3])), classes=2)
    with pytest.raises(InputError, match="the explained inputs"):
        beeswarm(found, torch.rand(2, 2))
    with pytest.raises(InputError, match="a table for permutation importance"):
        permutation_importance(load_model("digits-cnn"), load_data("digits", n=4))
    data = table(10, [1.0, 1.0])
    model = linear(torch.eye(2), torch.zeros(2))
    with pytest.raises(InputError, match="groups of different features"):
        permutation_importance(model, data, groups={"a": [0], "b": [0]})
    with pytest.raises(InputError, match="2 `repeats`"):
        permutation_importance(model, data, repeats=1)


def test_classes_are_as_many_as_the_largest_target_needs() -> None:
    model = table_mlp()
    x = inputs_for(model, 4)
    found = explain(model, x, torch.tensor([0, 1, 1, 0]), method="input_x_gradient", trust="quick")
    by_class, wider = global_importance(found).by_class, global_importance(found, classes=4).by_class
    assert by_class is not None
    assert wider is not None
    assert by_class.shape == (2, 5)
    sizes = found.values.abs().double()
    torch.testing.assert_close(by_class, torch.stack([sizes[[0, 3]].mean(dim=0), sizes[[1, 2]].mean(dim=0)]))
    assert wider.shape == (4, 5)
    with pytest.raises(InputError, match="expected `classes` above the largest target, 1, got 1"):
        global_importance(found, classes=1)
