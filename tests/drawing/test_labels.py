"""Methods go by the names they have in print, in the report and in the app alike."""

from __future__ import annotations

import pytest

from xaibench.attacks import attacks
from xaibench.drawing.labels import _NAMES, _STAGES, method_label, name_label, stage_label
from xaibench.explainers import explainers
from xaibench.metrics.case import quality_metrics
from xaibench.robustness import ensemble_names
from xaibench.robustness.verdict import pursuit
from xaibench.training import objectives


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ("deep_lift", "DeepLIFT"),
        ("hires_cam", "HiRes-CAM"),
        ("grad_cam_plus_plus", "Grad-CAM++"),
        ("smoothgrad:sigma=0.2", "SmoothGrad (sigma=0.2)"),
        ("kernel_shap", "Kernel SHAP"),
        ("rise", "RISE"),
        ("lime", "LIME"),
        ("lrp:rule=gamma", "LRP (rule=gamma)"),
        ("integrated_gradients", "Integrated gradients"),
        ("apgd_ce", "APGD CE"),
    ],
)
def test_methods_are_called_as_in_print(spec: str, label: str) -> None:
    assert method_label(spec) == label


def test_no_name_in_the_table_is_out_of_date() -> None:
    known = {*explainers.names(), *attacks.names(), *quality_metrics.names(), *objectives.names(), *ensemble_names()}
    assert _NAMES.keys() <= known
    labels = [name_label(name) for name in known]
    assert len(set(labels)) == len(labels)
    assert not any(label.split()[-1].lower() == "cam" for label in labels)


def test_every_stage_of_verdict_is_told_in_words() -> None:
    stages = [stage.label for stage in pursuit()]
    assert set(stages) == _STAGES.keys()
    assert not any(stage.lower() == stage_label(stage).lower() for stage in stages)
