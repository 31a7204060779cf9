"""Several explainers side by side: their agreement against scipy, and those that do not apply."""

import dataclasses

import pytest
import torch
from rows import MODELS
from scipy.stats import spearmanr
from small_models import inputs_for

from xaibench.explainers import compare_explainers, explain
from xaibench.explainers.comparison import agreement

PANEL = ("saliency", "input_x_gradient", "integrated_gradients:steps=8")


def test_agreement_adds_up_channels_and_drops_signs_where_one_has_none() -> None:
    model = MODELS["torch"]()
    x = inputs_for(model, 3)
    found = compare_explainers(model, x, methods=PANEL, trust="quick")
    sizes = [value.values.abs().sum(dim=1).flatten(1) for value in found.attributions.values()]
    signed = [value.values.sum(dim=1).flatten(1) for value in found.attributions.values()]
    for row in range(3):
        assert float(found.agreement[row, 1, 2]) == pytest.approx(spearmanr(signed[1][row], signed[2][row]).statistic)
        assert float(found.agreement[row, 0, 1]) == pytest.approx(spearmanr(sizes[0][row], sizes[1][row]).statistic)
    torch.testing.assert_close(found.agreement, found.agreement.mT)
    mean = found.agreement[:, 1, [0, 2]].mean()
    assert found.mean_agreement()["input_x_gradient"] == pytest.approx(float(mean))


def test_padding_of_texts_has_no_part() -> None:
    model = MODELS["torch-text"]()
    one = explain(model, inputs_for(model, 2), method="input_x_gradient", trust="quick")
    words = (("a", "good", "film", "", "", "", ""), ("b", "c", "d", "e", "f", "g", "h"))
    one = dataclasses.replace(one, words=words)
    other = dataclasses.replace(one, values=one.values.roll(1, dims=1))
    found = agreement([one, other], 2)[:, 0, 1]
    assert float(found[0]) == pytest.approx(spearmanr(one.values[0, :3], other.values[0, :3]).statistic)
    assert float(found[1]) == pytest.approx(spearmanr(one.values[1], other.values[1]).statistic)


def test_what_does_not_apply_is_noted_and_all_explain_the_same_targets() -> None:
    model = MODELS["table"]()
    x = inputs_for(model, 4)
    reports: list[tuple[int, int]] = []
    found = compare_explainers(
        model,
        x,
        methods=("grad_cam", "saliency", "occlusion"),
        trust="quick",
        progress=lambda _stage, done, total, _info: reports.append((done, total)),
    )
    assert list(found.refused) == ["grad_cam"]
    assert list(found.attributions) == ["saliency", "occlusion"]
    assert all(torch.equal(value.target, model.predict(x)) for value in found.attributions.values())
    assert reports == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert compare_explainers(model, x, methods=("saliency",), trust="quick").mean_agreement() == {"saliency": None}
