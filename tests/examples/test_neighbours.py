"""Neighbours against a loop, medoids against every exchange, the discrepancy against its definition."""

from __future__ import annotations

import itertools

import pytest
import torch
from small_models import inputs_for, keras_cnn, linear, table_mlp, token_net, torch_cnn
from torch import Tensor, nn

from xaibench.classifiers import TorchClassifier
from xaibench.data import load_data
from xaibench.errors import InputError, UnsupportedError
from xaibench.examples import layer_features, nearest_neighbours, prototypes
from xaibench.examples.neighbours import Neighbours
from xaibench.examples.prototypes import gaussian_kernel, k_medoids, mmd_critic
from xaibench.explainers import memory_budget
from xaibench.zoo import load_model


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_neighbours_are_those_of_a_loop(metric: str) -> None:
    model = torch_cnn()
    x, data = inputs_for(model, 3, 1), inputs_for(model, 20, 2)
    found = nearest_neighbours(model, x, data, layer="4", k=4, metric=metric)  # type: ignore[arg-type]
    ours, theirs = (model.activations(part, "4").detach().flatten(1).double() for part in (x, data))
    for i, row in enumerate(ours):
        if metric == "cosine":
            apart = [1 - float(torch.cosine_similarity(row, other, dim=0)) for other in theirs]
        else:
            apart = [float((row - other).norm()) for other in theirs]
        expected = sorted(range(20), key=lambda j: apart[j])[:4]
        assert found.index[i].tolist() == expected
        assert found.distance[i].tolist() == pytest.approx([apart[j] for j in expected], abs=1e-6)
    assert found.label is None
    with pytest.raises(InputError, match="labelled data"):
        found.agreement(torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize("make", [torch_cnn, keras_cnn, table_mlp, token_net])
def test_default_features_enter_the_last_layer(make: object) -> None:
    model = make()  # type: ignore[operator]
    x = inputs_for(model, 7)
    rows = layer_features(model, x)
    with memory_budget(1):
        torch.testing.assert_close(layer_features(model, x), rows)
    found = nearest_neighbours(model, x, x, k=1, metric="euclidean")
    assert found.index.flatten().tolist() == list(range(7))
    assert float(found.distance.max()) == 0


def test_neighbours_share_the_class_where_the_model_is_good() -> None:
    model, test = load_model("digits-cnn"), load_data("digits", "test", n=60)
    found = nearest_neighbours(model, test.inputs, load_data("digits", "train"), k=5)
    assert float(found.agreement(model.predict(test.inputs)).mean()) > 0.9


def test_tables_are_measured_in_shares_of_their_ranges() -> None:
    model = table_mlp()
    x = inputs_for(model, 4)
    low, high = model.bounds.tensors(x)
    torch.testing.assert_close(layer_features(model, x, "inputs"), (x - low) / (high - low))


def clusters(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 12.0]])
    return (centres.repeat(n, 1) + torch.randn(3 * n, 2, generator=generator)).double()


def test_medoids_are_the_best_of_all_choices() -> None:
    x = clusters(5)
    apart = torch.cdist(x, x)
    index, mean = k_medoids(apart, 3)
    best = min(float(apart[:, list(choice)].amin(dim=1).mean()) for choice in itertools.combinations(range(15), 3))
    assert mean == pytest.approx(best)
    assert float(apart[:, index].amin(dim=1).mean()) == pytest.approx(mean)


def test_no_exchange_improves_medoids() -> None:
    x = torch.rand(30, 3, generator=torch.Generator().manual_seed(2)).double()
    apart = torch.cdist(x, x)
    index, mean = k_medoids(apart, 4)
    chosen = index.tolist()
    for place, other in itertools.product(range(4), range(30)):
        trial = [*chosen[:place], other, *chosen[place + 1 :]]
        assert float(apart[:, trial].amin(dim=1).mean()) >= mean - 1e-12


def discrepancy(kernel: Tensor, chosen: list[int]) -> float:
    """The definition: mean kernel within the data, minus twice that across, plus that within the chosen."""
    return float(kernel.mean() - 2 * kernel[:, chosen].mean() + kernel[chosen][:, chosen].mean())


def test_mmd_critic_is_greedy_by_the_definition() -> None:
    kernel = gaussian_kernel(torch.cdist(clusters(6), clusters(6)))
    index, critics, objective = mmd_critic(kernel, 5, 3)
    chosen: list[int] = []
    for _ in range(5):
        chosen.append(min((i for i in range(18) if i not in chosen), key=lambda i: discrepancy(kernel, [*chosen, i])))
    assert index.tolist() == chosen
    assert objective == pytest.approx(discrepancy(kernel, chosen), abs=1e-12)
    witness = (kernel.mean(dim=1) - kernel[:, chosen].mean(dim=1)).abs()
    expected: list[int] = []
    for _ in range(3):

        def value(i: int) -> float:
            some = [*expected, i]
            return float(witness[some].sum() + torch.logdet(kernel[some][:, some]))

        expected.append(max((i for i in range(18) if i not in chosen + expected), key=value))
    assert critics.tolist() == expected


def test_prototypes_cover_the_clusters() -> None:
    x = torch.cat([clusters(10), torch.tensor([[40.0, 40.0]]).double()]).float()
    model = TorchClassifier(nn.Linear(2, 2), task="tabular", bounds=(-50.0, 50.0))
    for method in ("mmd_critic", "k_medoids"):
        found = prototypes(model, x, count=3 if method == "mmd_critic" else 4, layer="inputs", method=method)  # type: ignore[arg-type]
        assert {int(i) % 3 for i in found.index if i < 30} == {0, 1, 2}
        assert bool((found.nearest[found.index] == torch.arange(len(found.index))).all())


def test_bad_input_is_refused() -> None:
    model = linear(torch.eye(2), torch.zeros(2))
    x = torch.rand(5, 2)
    with pytest.raises(InputError, match="1 <= k <= 5"):
        nearest_neighbours(model, x, x, k=6)
    with pytest.raises(InputError, match="metric 'cosine' or 'euclidean'"):
        nearest_neighbours(model, x, x, metric="manhattan")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="together at most 5"):
        prototypes(model, x, count=4, criticisms=2, layer="inputs")
    with pytest.raises(InputError, match="no criticisms with k_medoids"):
        prototypes(model, x, count=2, criticisms=1, method="k_medoids", layer="inputs")
    with pytest.raises(InputError, match="unknown layer"):
        layer_features(torch_cnn(), torch.rand(2, 2, 8, 8), "conv9")
    with pytest.raises(InputError, match="task 'tabular'"):
        nearest_neighbours(model, x, load_data("digits", n=3))
    headless = TorchClassifier(nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten()), input_shape=(1, 8, 8))
    with pytest.raises(UnsupportedError, match="name one of"):
        layer_features(headless, torch.rand(2, 1, 8, 8))


def test_agreement_is_the_share_of_neighbours_with_the_class() -> None:
    index = torch.zeros(3, 4, dtype=torch.long)
    labels = torch.tensor([[1, 1, 0, 2], [2, 2, 2, 2], [0, 1, 0, 1]])
    found = Neighbours(index=index, distance=index.double(), label=labels, layer=None, metric="cosine")
    assert found.agreement(torch.tensor([1, 0, 0])).tolist() == [0.5, 0.0, 0.5]
    unlabelled = Neighbours(index=index, distance=index.double(), label=None, layer=None, metric="cosine")
    with pytest.raises(InputError, match="expected neighbours from labelled data"):
        unlabelled.agreement(torch.tensor([1, 0, 0]))
