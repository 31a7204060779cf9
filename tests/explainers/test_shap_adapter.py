"""SHAP's explainers behind the adapter: right where they are right, open about the rest, and without traces."""

import random
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_models import forest, inputs_for, keras_cnn, linear, table_mlp, token_net, torch_cnn
from torch import Tensor, nn

from xaibench.classifiers import KerasClassifier, SklearnClassifier, TorchClassifier
from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers import Attribution, explain
from xaibench.types import Classifier

WEIGHT = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
BIAS = torch.tensor([0.3, -0.7])
TARGET = torch.tensor([0, 1, 0, 1])


def _explain(model: Classifier, x: Any, targets: Any = None, **params: Any) -> Attribution:
    return explain(model, x, targets, trust="quick", **params)


@pytest.mark.parametrize("method", ["shap_deep", "shap_gradient", "shap_partition"])
def test_linear_models_share_out_their_terms(method: str) -> None:
    x, background = torch.rand(4, 3), torch.rand(5, 3)
    reference = {"baseline": background[0]} if method == "shap_partition" else {"background": background[:1]}
    found = _explain(linear(WEIGHT, BIAS), x, TARGET, method=method, **reference)
    torch.testing.assert_close(found.values, (x - background[0]) * WEIGHT[TARGET], rtol=1e-4, atol=1e-5)
    assert found.completeness_gap is not None
    assert float(found.completeness_gap.max()) < 1e-4
    if method == "shap_deep":
        several = _explain(linear(WEIGHT, BIAS), x, TARGET, method=method, background=background)
        torch.testing.assert_close(several.values, (x - background.mean(dim=0)) * WEIGHT[TARGET], rtol=1e-4, atol=1e-5)


def test_partition_is_the_mean_over_orders_that_keep_clusters_together() -> None:
    model = torch_cnn()
    x = inputs_for(model, 1)
    # Two pairs of columns: their centres cluster as ((0, 1), (2, 3)).
    groups = torch.tensor([0, 0, 1, 1, 1, 2, 3, 3])
    found = _explain(model, x, 1, method="shap_partition", players=groups)
    orders = [
        [*first, *second]
        for a, b in permutations([(0, 1), (2, 3)])
        for first, second in product(permutations(a), permutations(b))
    ]
    values = torch.zeros(4, dtype=torch.float64)
    for order in orders:
        point = torch.zeros_like(x)
        before = model.logits(point)[0, 1]
        for player in order:
            point[..., groups == player] = x[..., groups == player]
            after = model.logits(point)[0, 1]
            values[player] += (after - before).double().detach() / len(orders)
            before = after
    sums = torch.stack([found.values[..., groups == player].double().sum() for player in range(4)])
    torch.testing.assert_close(sums, values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [torch_cnn, keras_cnn])
def test_deep_is_complete_on_chains_and_agrees_with_deep_lift(make: Any) -> None:
    layers = (nn.Conv2d(2, 6, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(216, 4))
    torch.manual_seed(0)
    model = keras_cnn() if make is keras_cnn else TorchClassifier(nn.Sequential(*layers), input_shape=(2, 8, 8))
    x, reference = inputs_for(model, 3), inputs_for(model, 1, seed=5)
    found = _explain(model, x, method="shap_deep", background=reference)
    assert found.completeness_gap is not None
    assert float(found.completeness_gap.max()) < 1e-4
    own = _explain(model, x, method="deep_lift", baseline=reference[0])
    torch.testing.assert_close(found.values, own.values, rtol=1e-3, atol=1e-5)


def test_where_shaps_rules_do_not_hold_the_gap_says_so() -> None:
    class Reused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.first, self.second, self.last = nn.Linear(5, 16), nn.Linear(16, 16), nn.Linear(16, 3)
            self.norm = nn.LayerNorm(16)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.last(torch.relu(self.second(self.norm(torch.relu(self.first(x))))))
            return out

    model = TorchClassifier(Reused(), task="tabular", input_shape=(5,))
    x = torch.rand(6, 5)
    found = _explain(model, x, 1, method="shap_deep", background=torch.rand(3, 5))
    assert found.completeness_gap is not None
    assert float(found.completeness_gap.max()) > 0.02
    assert found.trust.uncovered == ("norm (LayerNorm)", "relu (function)")


class _Rectified(nn.Module):
    """A chain whose first activation is ``act``; by ``again`` it is the second one as well."""

    def __init__(self, act: Any, again: bool = False, stride: int = 2) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.head, self.act, self.pool = nn.Conv2d(2, 4, 3), nn.Linear(4, 3), act, nn.MaxPool2d(2, stride)
        self.between, self.again = nn.Conv2d(4, 4, 1), again

    def forward(self, x: Tensor) -> Tensor:
        x = self.between(self.act(self.conv(x)))
        x = self.act(x) if self.again else x
        return self.head((2 * self.pool(x) - 1).mean((2, 3)))


@pytest.mark.parametrize(
    ("module", "uncovered"),
    [
        (_Rectified(nn.ReLU()), ()),
        (_Rectified(torch.relu), ("relu (function)",)),
        (_Rectified(lambda x: x.relu()), ("relu (function)",)),
        (_Rectified(lambda x: x.clone().relu_()), ("relu (function)",)),
        (_Rectified(F.gelu), ("gelu (function)",)),
        (_Rectified(lambda x: x * x), ("mul (function)",)),
        (_Rectified(lambda x: x / (x + 9)), ("div (function)",)),
        (_Rectified(lambda x: x / 3), ()),
        (_Rectified(nn.ReLU(), again=True), ("act (ReLU, used 2 times)",)),
        (_Rectified(nn.ReLU(), stride=1), ("pool (MaxPool2d, overlapping)",)),
        (
            _Rectified(lambda x: x.relu() if x.detach().sum() > 0 else x.tanh()),
            ("what is no layer (the model cannot be traced)",),
        ),
    ],
)
def test_activations_that_shap_does_not_see_are_named(module: nn.Module, uncovered: tuple[str, ...]) -> None:
    model = TorchClassifier(module, input_shape=(2, 8, 8))
    x = inputs_for(model, 3)
    found = _explain(model, x, 1, method="shap_deep", background=inputs_for(model, 2, seed=1))
    assert found.trust.uncovered == uncovered
    assert found.completeness_gap is not None
    if not uncovered:
        assert float(found.completeness_gap.max()) < 1e-4


def test_gradient_errs_as_much_as_it_says() -> None:
    model = table_mlp()
    x, background = inputs_for(model, 3), inputs_for(model, 6, seed=1)
    nodes, weights = np.polynomial.legendre.leggauss(32)
    limit = torch.zeros(3, 5, dtype=torch.float64)
    for other, (node, weight) in product(background, zip((nodes + 1) / 2, weights / 2, strict=True)):
        point = other + float(node) * (x - other)
        gradient = -model.loss_gradient(point, torch.ones(3, dtype=torch.long), "logit").gradient
        limit += float(weight) / 6 * (gradient * (x - other)).double()
    z = []
    for seed in range(30):
        found = _explain(model, x, 1, method="shap_gradient", background=background, samples=60, seed=seed)
        assert found.stderr is not None
        z.append((found.values.double() - limit) / found.stderr.double())
    assert 0.8 < float(torch.stack(z).std()) < 1.2
    assert float(torch.stack(z).mean(dim=0).abs().max()) < 4.5 / 30**0.5


def test_trees_get_exact_values_of_their_probability() -> None:
    model = forest()
    assert isinstance(model, SklearnClassifier)
    x, baseline = inputs_for(model, 2).double(), inputs_for(model, 1, seed=3)[0].double()
    found = _explain(model, x, 1, method="shap_tree", baseline=baseline)
    orders = list(permutations(range(5)))
    for row in range(2):
        values = np.zeros(5)
        for order in orders:
            points = baseline.repeat(6, 1)
            for step, player in enumerate(order):
                points[step + 1 :, player] = x[row, player]
            values[list(order)] += np.diff(model.estimator.predict_proba(points.numpy())[:, 1]) / len(orders)
        assert found.values[row].tolist() == pytest.approx(values.tolist(), abs=1e-6)
    assert found.completeness_gap is not None
    assert float(found.completeness_gap.max()) < 1e-4
    assert found.trust.notes == ("values share out the probability of the class, not its logit",)


def test_two_classes_of_boosted_trees_get_opposite_values() -> None:
    from sklearn.ensemble import GradientBoostingClassifier

    x = np.random.default_rng(0).random((100, 3))
    model = SklearnClassifier(GradientBoostingClassifier(n_estimators=5).fit(x, x[:, 0] > 0.5))
    points = torch.tensor([[0.9, 0.2, 0.3]])
    first, second = (_explain(model, points, target, method="shap_tree", baseline="zero").values for target in (0, 1))
    torch.testing.assert_close(first, -second)
    assert float(second[0, 0]) > 0.1
    assert int(second.abs().argmax()) == 0


@pytest.mark.parametrize("method", ["shap_deep", "shap_gradient", "shap_partition"])
def test_neither_model_nor_process_is_changed(method: str) -> None:
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))
    module.train()
    model = TorchClassifier(module, input_shape=(2, 8, 8))
    names, x = list(module.state_dict()), torch.rand(2, 2, 8, 8)
    drawn = np.random.get_state(legacy=False)["state"]["key"].tolist()
    before = (random.getstate(), torch.get_rng_state())
    _explain(model, x, method=method)
    assert list(module.state_dict()) == names
    assert module.training
    assert module[1].inplace
    for part in module.modules():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
        assert not part._backward_hooks
        assert not {"x", "y"} & set(vars(part))
    assert random.getstate() == before[0]
    assert np.random.get_state(legacy=False)["state"]["key"].tolist() == drawn
    assert torch.equal(torch.get_rng_state(), before[1])


def test_layers_may_have_any_name() -> None:
    import keras

    keras.utils.clear_session()  # names count from the start again, as in another process
    layers = [
        keras.layers.Input((5,)),
        keras.layers.Dense(4, "relu", name="dense"),
        keras.layers.Dense(3, name="dense_1"),
    ]
    model = KerasClassifier(keras.Sequential(layers), task="tabular")
    assert _explain(model, torch.rand(2, 5), method="shap_deep", samples=2).values.any()


def test_a_failure_inside_shap_leaves_tensorflow_as_it_was() -> None:
    import keras
    import tensorflow as tf
    from tensorflow.python.eager import execute

    network = keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(4, "gelu"), keras.layers.Dense(3)])
    model = KerasClassifier(network, task="tabular")
    recorder = execute.record_gradient
    before = [value.copy() for value in network.get_weights()]
    with pytest.raises(UnsupportedError, match="shap_deep: SHAP cannot explain this model") as refused:
        _explain(model, torch.rand(2, 5), method="shap_deep")
    assert "\n" not in str(refused.value)
    assert execute.record_gradient is recorder
    for mine, was in zip(network.get_weights(), before, strict=True):
        assert (mine == was).all()
    with tf.GradientTape() as tape:
        x = tf.Variable([[0.5]])
        y = tf.nn.relu(x) * tf.nn.gelu(x)
    assert tape.gradient(y, x) is not None
    assert _explain(model, torch.rand(2, 5), method="saliency").values.any()


@pytest.mark.parametrize(
    ("make", "method", "params", "message"),
    [
        (table_mlp, "shap_tree", {}, "shap_tree takes a SklearnClassifier over trees, got TorchClassifier"),
        (token_net, "shap_deep", {}, "shap_deep takes images and tables"),
        (token_net, "shap_gradient", {}, "shap_gradient takes images and tables"),
        (forest, "shap_deep", {}, "shap_deep needs gradients of the model: a scikit-learn estimator computes no"),
        (table_mlp, "shap_deep", {"samples": 0}, "expected `samples` >= 1, got 0"),
        (table_mlp, "shap_gradient", {"samples": 1}, "`background_samples` >= 1, got 1 and 32"),
        (table_mlp, "shap_partition", {"budget": 1}, "expected `budget` >= 4 evaluations, got 1"),
    ],
)
def test_what_does_not_apply_is_refused_in_one_line(
    make: Any, method: str, params: dict[str, Any], message: str
) -> None:
    model = make()
    with pytest.raises(InputError, match=message):
        _explain(model, inputs_for(model, 2), method=method, **params)


def test_estimators_that_are_no_trees_are_refused() -> None:
    from sklearn.linear_model import LogisticRegression

    x = np.random.default_rng(0).random((20, 3))
    model = SklearnClassifier(LogisticRegression().fit(x, x[:, 0] > 0.5))
    with pytest.raises(UnsupportedError, match="SHAP cannot explain LogisticRegression"):
        _explain(model, torch.rand(2, 3), method="shap_tree")
