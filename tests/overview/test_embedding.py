"""Maps against scikit-learn, and what must hold for them: the same plane for both sets, the same map again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import inputs_for, keras_cnn, token_net
from torch import Tensor

from xaibench.attacks import attacks
from xaibench.data import load_data
from xaibench.errors import InputError
from xaibench.examples import layer_features
from xaibench.overview import embedding_map, map_figure
from xaibench.threats import Linf
from xaibench.zoo import load_model


def digits(n: int) -> tuple[Tensor, Tensor]:
    data = load_data("digits", "test", n=n)
    assert isinstance(data.inputs, Tensor)
    return data.inputs, data.labels


def test_principal_axes_are_those_of_scikit_learn() -> None:
    from sklearn.decomposition import PCA
    from sklearn.manifold import trustworthiness

    model, (x, _) = load_model("digits-cnn"), digits(80)
    moved = (x + 0.2).clamp(max=1)
    found = embedding_map(model, x, moved)
    rows, others = (layer_features(model, part).double().numpy() for part in (x, moved))
    reference = PCA(2).fit(rows)
    for ours, theirs in ((found.points, reference.transform(rows)), (found.others, reference.transform(others))):
        assert ours is not None
        sign = np.sign((ours.numpy() * theirs).sum(axis=0))
        np.testing.assert_allclose(ours.numpy(), theirs * sign, atol=1e-5)
    assert found.explained is not None
    np.testing.assert_allclose(found.explained.numpy(), reference.explained_variance_ratio_, atol=1e-8)
    assert found.others is not None
    both = np.concatenate([found.points, found.others])
    expected = trustworthiness(np.concatenate([rows, others]), both, n_neighbors=10)
    assert found.trustworthiness == pytest.approx(expected, abs=1e-6)


def test_others_do_not_move_the_principal_axes() -> None:
    model, (x, _) = load_model("digits-cnn"), digits(40)
    assert torch.equal(embedding_map(model, x).points, embedding_map(model, x, x[:5] * 0).points)
    same = embedding_map(model, x, x)
    assert same.others is not None
    torch.testing.assert_close(same.others, same.points)


def test_neighbours_stay_neighbours_in_a_layout() -> None:
    model, (x, y) = load_model("digits-cnn"), digits(150)
    attacked = attacks.create("fgsm")(model, x[:50], y[:50], Linf(0.1))
    found = embedding_map(model, x, attacked, method="tsne", perplexity=20)
    assert found.points.shape == (150, 2)
    assert found.others is not None
    assert found.others.shape == (50, 2)
    assert found.trustworthiness > 0.95
    near = torch.cdist(found.points, found.points).fill_diagonal_(torch.inf).argmin(dim=1)
    assert float((y[near] == y).double().mean()) > 0.85
    again = embedding_map(model, x, attacked, method="tsne", perplexity=20)
    assert torch.equal(found.points, again.points)
    figure = map_figure(found, y, [str(i) for i in range(10)], y[:50])
    assert sum(len(part.x) for part in figure.data) == 200


@pytest.mark.parametrize("make", [keras_cnn, token_net])
def test_any_layer_of_any_framework(make: object) -> None:
    model = make()  # type: ignore[operator]
    x = inputs_for(model, 24)
    assert embedding_map(model, x).layer is None
    assert embedding_map(model, x, layer=model.layers[0]).points.shape == (24, 2)


def test_bad_input_is_refused() -> None:
    model, (x, y) = load_model("digits-cnn"), digits(12)
    with pytest.raises(InputError, match="at least 4 samples"):
        embedding_map(model, x[:3])
    with pytest.raises(InputError, match="1 <= neighbours < 6"):
        embedding_map(model, x, neighbours=6)
    with pytest.raises(InputError, match="perplexity < 12"):
        embedding_map(model, x, perplexity=12, method="tsne")
    with pytest.raises(InputError, match="method 'pca' or 'tsne'"):
        embedding_map(model, x, neighbours=3, method="umap")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a class for each"):
        map_figure(embedding_map(model, x, neighbours=3), y[:3], ["0"])
