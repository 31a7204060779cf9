"""What is easily got wrong from Python ends in one line: what was expected, and what came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from small_models import forest, inputs_for, table_mlp, token_net, torch_cnn
from torch import Tensor, nn

from xaibench.classifiers import TorchClassifier
from xaibench.counterfactuals import counterfactual
from xaibench.data import load_data
from xaibench.errors import InputError, UnsupportedError
from xaibench.examples import tracin
from xaibench.explainers import compare_explainers, explain
from xaibench.explainers.layers import explain_layer
from xaibench.manipulation import attack_explanation
from xaibench.overview import embedding_map, global_importance
from xaibench.quality import assess
from xaibench.robustness import evaluate_robustness
from xaibench.threats import Linf

TABLE = table_mlp()
ROWS = inputs_for(TABLE, 6)
WORDS = token_net()
TOKENS = inputs_for(WORDS, 3)


def table(**options: Any) -> Any:
    return explain(TABLE, ROWS, trust="quick", **{"method": "saliency", **options})


CASES: dict[str, tuple[Callable[[], object], str, str]] = {
    "no method": (lambda: table(method=None), "name of a method", "None"),
    "empty method": (lambda: table(method=" "), "name of a method", "' '"),
    "memory in words": (lambda: table(memory="2GB"), "whole number of bytes", "'2GB'"),
    "seed in letters": (lambda: table(seed="a"), "`seed` as a whole number", "'a'"),
    "seed by truth": (lambda: table(seed=True), "`seed` as a whole number", "True"),
    "parameter twice": (lambda: table(method="lrp:rule=gamma", rule="epsilon"), "'rule' once", "rule='epsilon'"),
    "parameter twice in a spec": (lambda: table(method="lrp:rule=gamma,rule=epsilon"), "'rule' once", "twice"),
    "no layer": (
        lambda: explain_layer(TABLE, ROWS, layer=cast(Any, None), method="layer_activation"),
        "known: 0, 1, 2",
        "None",
    ),
    "a layer's parameter twice": (
        lambda: explain_layer(TABLE, ROWS, layer="0", method="layer_conductance:steps=3", steps=4),
        "'steps' once",
        "steps=4",
    ),
    "forest as it is": (
        lambda: explain(cast(Any, forest()).estimator, ROWS),
        "SklearnClassifier(...)",
        "RandomForestClassifier",
    ),
    "module as it is": (lambda: explain(cast(Any, nn.Linear(5, 2)), ROWS), "TorchClassifier(...)", "Linear"),
    "array as a model": (lambda: explain(cast(Any, ROWS), ROWS), "a classifier", "Tensor"),
    "forest compared": (
        lambda: compare_explainers(cast(Any, forest()).estimator, ROWS),
        "SklearnClassifier(...)",
        "RandomForestClassifier",
    ),
    "threat as a number": (
        lambda: attack_explanation(TABLE, ROWS, threat=cast(Any, 0.03)),
        "a threat such as Linf(0.03)",
        "0.03",
    ),
    "module attacked as it is": (
        lambda: evaluate_robustness(cast(Any, nn.Linear(5, 3)), ROWS, torch.zeros(6).long(), threat=Linf(0.1)),
        "TorchClassifier(...)",
        "Linear",
    ),
    "no method to attack": (
        lambda: attack_explanation(TABLE, ROWS, threat=Linf(0.1), method=cast(Any, None)),
        "name of a method",
        "None",
    ),
    "models as checkpoints": (
        lambda: tracin(cast(Any, [TABLE]), load_data("digits", "train", n=4), ROWS),
        "Checkpoint(model, learning_rate)",
        "TorchClassifier",
    ),
    "importance of a tensor": (lambda: global_importance(cast(Any, ROWS)), "an Attribution", "Tensor"),
    "row that is not there": (lambda: counterfactual(TABLE, ROWS).describe(99), "0..5", "99"),
    "feature both ways": (
        lambda: counterfactual(TABLE, ROWS, increasing=[1, 2], decreasing=[2]),
        "increasing, decreasing or immutable",
        "'feature 2' as both",
    ),
    "limits crossed": (
        lambda: counterfactual(TABLE, ROWS, lower={"feature 1": 3.0}, upper={"feature 1": 1.0}),
        "lower < upper for feature 'feature 1'",
        "3 and 1",
    ),
    "one string": (lambda: WORDS.encode("a good film"), "needs a tokenizer", ""),
    "text of padding": (
        lambda: explain(WORDS, torch.stack([TOKENS[0], torch.zeros(7, dtype=torch.int64)])),
        "texts with words",
        "none in text 1 of 2",
    ),
    "shape of another task": (
        lambda: TorchClassifier(nn.Linear(10, 3), class_names=list("abc"), input_shape=(10,)),
        "(channels, height, width) with task 'image'",
        "got (10); task 'tabular' takes (features)",
    ),
    "assessed by letters": (lambda: assess(TABLE, ROWS, "salience", "deletion"), "'saliency'", "'salience'"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_says_what_is_wrong(case: str) -> None:
    call, expected, got = CASES[case]
    with pytest.raises(InputError) as error:
        call()
    line = str(error.value)
    assert "\n" not in line
    assert expected in line
    assert got in line


@pytest.mark.parametrize(
    "given",
    [[0, 2, 1, 0, 2, 1], (0, 2, 1, 0, 2, 1), np.array([0, 2, 1, 0, 2, 1]), torch.tensor([0, 2, 1, 0, 2, 1]).byte()],
    ids=["list", "tuple", "array", "bytes"],
)
def test_targets_may_be_listed(given: Any) -> None:
    wanted = torch.tensor([0, 2, 1, 0, 2, 1])
    assert torch.equal(table(targets=given).target, wanted)
    assert torch.equal(table(targets=given).values, table(targets=wanted).values)
    assert torch.equal(counterfactual(TABLE, ROWS, given).after, counterfactual(TABLE, ROWS, wanted).after)
    scores = [assess(TABLE, ROWS, "saliency", "deletion", targets=targets) for targets in (given, wanted)]
    one, other = (cast(Any, found.score("saliency", "deletion")).values for found in scores)
    assert torch.equal(one, other)


@pytest.mark.parametrize("one", [2, np.int64(2), np.array(2), torch.tensor(2)], ids=["int", "numpy", "array", "tensor"])
def test_one_target_is_that_of_all(one: Any) -> None:
    assert table(targets=one).target.tolist() == [2] * 6


@pytest.mark.parametrize("given", [[0, 1], [0.0] * 6, [True] * 6, "cat", [[0], [1, 2]], [0, 0, 0, 0, 0, 3], -1, True])
def test_targets_that_are_no_classes(given: Any) -> None:
    with pytest.raises(InputError, match="expected targets"):
        table(targets=given)


@pytest.mark.parametrize("method", ["saliency", "feature_ablation", "shapley_sampling", "attention_rollout"])
def test_no_method_explains_a_text_without_words(method: str) -> None:
    with pytest.raises(InputError, match=r"nothing to explain|attention"):
        explain(WORDS, torch.zeros(1, 7, dtype=torch.int64), method=method, trust="quick")


def test_maps_of_few_samples_choose_fewer_neighbours() -> None:
    x = inputs_for(torch_cnn(), 8)
    assert embedding_map(torch_cnn(), x).neighbours == 3
    assert embedding_map(torch_cnn(), x[:5], method="tsne").neighbours == 2
    assert embedding_map(torch_cnn(), x, x, method="pca").neighbours == 7
    with pytest.raises(InputError, match="neighbours < 4"):
        embedding_map(torch_cnn(), x, neighbours=10)


class Branching(nn.Module):
    """Which way it computes depends on the numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        hidden = self.first(x)
        return self.head(hidden.relu() if hidden.sum() > 0 else hidden)


@pytest.mark.parametrize("method", ["lrp", "deep_lift"])
def test_what_cannot_be_traced_is_refused_in_silence(method: str, capfd: pytest.CaptureFixture[str]) -> None:
    model = TorchClassifier(Branching(), task="tabular", input_shape=(5,))
    with pytest.raises(UnsupportedError, match="cannot be traced"):
        explain(model, torch.rand(3, 5), method=method)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", ["saliency", "occlusion", "integrated_gradients"])
def test_a_model_that_normalises_by_the_batch_is_no_function_of_one_input(method: str) -> None:
    module = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 3))
    model = TorchClassifier(module, task="tabular", input_shape=(5,))
    with pytest.raises(UnsupportedError, match=r"normalises by the batch: layer '1' \(BatchNorm1d\)"):
        explain(model, ROWS, method=method)


@pytest.mark.parametrize("method", ["lime", "rise", "grad_cam", "blur_integrated_gradients", "shapley_sampling"])
def test_signals_have_no_pictures_to_cut(method: str) -> None:
    model = TorchClassifier(nn.Sequential(nn.Flatten(), nn.Linear(18, 3)), input_shape=(2, 9))
    x = torch.rand(2, 2, 9)
    with pytest.raises(UnsupportedError, match=r"needs images \(n, channels, height, width\), got \(2, 2, 9\)"):
        explain(model, x, method=method)
    assert explain(model, x, method="integrated_gradients").values.shape == x.shape
