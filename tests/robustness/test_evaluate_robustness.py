"""Robust accuracy as a bracket: against closed forms, across batches and shards, and with bad input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_models import inputs_for, keras_cnn, linear, table_mlp, token_net, torch_cnn
from torch import Tensor

from xaibench import evaluate_robustness
from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError, UnsupportedError
from xaibench.robustness import Meter, RobustnessResult, ensemble_names, stages
from xaibench.robustness.result import CLEAN
from xaibench.threats import L0, L1, L2, Linf, Threat, Words, contains
from xaibench.types import Classifier

QUICK: dict[str, Any] = {"checks": False, "certify": False}


def _linear_task(n: int = 120) -> tuple[Classifier, Tensor, Tensor, Tensor]:
    """A linear model of three classes, samples far from the box, and their exact distances in Linf."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(3, 10, generator=generator)
    model = linear(weight, torch.zeros(3))
    x = (0.5 + 0.1 * torch.randn(n, 10, generator=generator)).clamp(0.3, 0.7)
    logits = model.logits(x).detach()
    y = logits.argmax(dim=1)
    gaps = logits.gather(1, y[:, None]) - logits
    distance = gaps / (weight[y][:, None] - weight).abs().sum(dim=2).clamp_min(1e-9)
    return model, x, y, distance.scatter(1, y[:, None], torch.inf).amin(dim=1)


@pytest.mark.parametrize("attack", ["verdict", "autoattack", ["fgsm", "pgd"]])
def test_a_linear_model_is_judged_exactly(attack: Any) -> None:
    model, x, y, distance = _linear_task(60)
    eps = float(distance.median())
    result = evaluate_robustness(model, x, y, threat=Linf(eps), attack=attack, checks=False)
    clear = (distance - eps).abs() > 0.02 * eps
    truth = distance > eps
    assert torch.equal(result.robust[clear], truth[clear])
    assert torch.equal(result.proved[clear], truth[clear]), "CROWN is exact on linear models"
    low, high = result.bracket
    assert low <= high
    assert result.unproved is None


def test_fields_agree_with_each_other() -> None:
    model, x = torch_cnn(), inputs_for(torch_cnn(), 40)
    y = model.predict(x)
    y[::5] = (y[::5] + 1) % model.num_classes
    threat = Linf(0.02)
    result = evaluate_robustness(model, x, y, threat=threat, attack=["fgsm", "pgd"], **QUICK)
    broken = torch.tensor([bool(name) for name in result.broken_by])
    assert torch.equal(result.robust, ~broken)
    assert result.broken_by[0] == CLEAN
    assert result.clean_accuracy == 0.8
    assert bool(contains(threat, result.adversarials, x, model.bounds).all())
    assert torch.equal(result.predictions, model.predict(result.adversarials))
    assert torch.equal(result.robust, result.predictions == y)
    assert torch.equal(result.distance, threat.distance(result.adversarials, x))
    assert not bool(result.distance[result.robust].any())
    assert {"fgsm", "pgd", CLEAN} >= {name for name in result.broken_by if name}
    first, second = result.stages
    assert first.attacked == 32
    assert second.attacked == 32 - first.broken
    assert [result.broken_by.count(stage.attack) for stage in result.stages] == [first.broken, second.broken]
    assert first.broken > 0
    assert result.total_cost.backward >= first.attacked + second.attacked
    assert set(result.cost) == {"fgsm", "pgd"}


@pytest.mark.parametrize(
    ("build", "attack"),
    [
        (torch_cnn, "verdict"),
        (keras_cnn, ["apgd_t:steps=8,targets=2", "square:queries=30"]),
        (table_mlp, ["apgd_ce:steps=8,restarts=2", "fab_t:steps=8"]),
    ],
    ids=["torch", "keras", "table"],
)
def test_samples_do_not_depend_on_batch_order_or_shard(build: Any, attack: Any) -> None:
    model = build()
    x = inputs_for(model, 40, seed=3)
    y, ids = model.predict(x), torch.arange(40) * 3 + 1
    threat = Linf(0.02) if model.task == "image" else Linf(0.1, scale=model.bounds.span)

    def run(rows: Tensor, **rest: Any) -> RobustnessResult:
        rest = {"attack": attack, **QUICK, **rest}
        return evaluate_robustness(model, x[rows], y[rows], threat=threat, sample_ids=ids[rows], **rest)

    whole = run(torch.arange(40))
    assert 0 < int(whole.robust.sum()) < 40
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    shuffled = run(order)
    assert torch.equal(shuffled.adversarials, whole.adversarials[order])
    shards = RobustnessResult.merge([run(rows) for rows in torch.arange(40).split(13)])
    assert torch.equal(shards.adversarials, whole.adversarials)
    assert shards.broken_by == whole.broken_by
    for size in (1, 7, 64):
        other = run(torch.arange(40), attack=f"pgd:steps=5,batch_size={size}")
        assert torch.equal(other.robust, run(torch.arange(40), attack="pgd:steps=5").robust)


def test_verdict_is_at_least_as_strong_as_autoattack() -> None:
    model = torch_cnn()
    x = inputs_for(model, 60, seed=20)
    y = model.predict(x)
    for threat in (Linf(0.012), L2(0.1), L1(0.5)):
        ours, theirs = (
            int(evaluate_robustness(model, x, y, threat=threat, attack=attack, **QUICK).robust.sum())
            for attack in ("verdict", ["apgd_ce", "apgd_t:targets=3", "fab_t:targets=3"])
        )
        assert ours <= theirs, str(threat)
        assert 0 < ours < 60


def test_proofs_are_never_broken_and_save_work() -> None:
    model = torch_cnn()
    x = inputs_for(model, 30, seed=7)
    y = model.predict(x)
    threat = Linf(0.012)
    plain = evaluate_robustness(model, x, y, threat=threat, attack=["fgsm", "pgd:steps=50"], **QUICK)
    proving = evaluate_robustness(model, x, y, threat=threat, attack=["fgsm", "pgd:steps=50"], checks=False)
    assert bool(proving.proved.any())
    assert torch.equal(proving.robust, plain.robust)
    assert not bool((proving.proved & ~plain.robust).any())
    assert not bool(proving.proved[proving.robust].all())
    assert proving.stages[1].attacked == int((proving.robust & ~proving.proved).sum()) + proving.stages[1].broken
    assert "certify" in proving.cost


def test_what_cannot_be_proved_is_said() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.GELU(), torch.nn.Linear(4, 2))
    model = TorchClassifier(module, task="tabular", input_shape=(3,))
    x = torch.rand(4, 3)
    result = evaluate_robustness(model, x, model.predict(x), threat=Linf(0.01), attack="fgsm", checks=False)
    assert result.unproved is not None
    assert not bool(result.proved.any())


def test_the_protocol_of_each_ensemble() -> None:
    assert ensemble_names() == ("autoattack", "autoattack-plus", "autoattack-rand", "verdict", "verdict-quick")
    model = torch_cnn()

    def labels(name: str, threat: Threat) -> list[str]:
        return [stage.label for stage in stages(name, model, threat)]

    assert labels("autoattack", Linf(0.1)) == ["apgd_ce", "apgd_t", "fab_t", "square"]
    assert labels("autoattack", L1(1.0)) == ["apgd_ce:restarts=5", "apgd_t:targets=5", "fab_t:steps=200", "square"]
    assert labels("autoattack-rand", L2(1.0)) == ["apgd_ce:eot=20", "apgd_dlr:eot=20"]
    assert labels("verdict", L2(1.0))[: len(labels("verdict-quick", L2(1.0)))] == labels("verdict-quick", L2(1.0))
    assert not any(label.startswith("square") for label in labels("verdict-quick", L2(1.0)))
    assert labels("autoattack-plus", L2(1.0))[1] == "apgd_dlr:restarts=5"
    pair = linear(torch.randn(2, 4), torch.zeros(2))
    notes = {stage.label: stage.note for stage in stages("autoattack-plus", pair, Linf(0.1))}
    assert notes["apgd_t"] == "margin loss in place of DLR, which needs 4 classes"
    assert notes["apgd_dlr:restarts=5"] == "margin loss in place of DLR, which needs 3 classes"
    assert notes["square"] is None
    assert notes["fab_t"] == "1 targets, for there are no more wrong classes"


def test_models_without_gradients_are_searched() -> None:
    class Steps(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            total = torch.floor(40 * x.sum(dim=1, keepdim=True)) / 40
            return torch.cat([total, 3.0 - total], dim=1).detach()

    model = TorchClassifier(Steps(), task="tabular", input_shape=(4,))
    x = torch.full((6, 4), 0.39)
    result = evaluate_robustness(model, x, model.predict(x), threat=Linf(0.1), **QUICK)
    assert [stage.attack for stage in result.stages] == ["square"]
    assert not bool(result.robust.any())
    with pytest.raises(UnsupportedError, match="pgd needs gradients of the model"):
        evaluate_robustness(model, x, model.predict(x), threat=Linf(0.1), attack="pgd", **QUICK)


def test_text_is_attacked_by_words() -> None:
    model = token_net()
    x = inputs_for(model, 6)
    result = evaluate_robustness(model, x, model.predict(x), threat=Words(2), attack="hotflip", **QUICK)
    assert result.distance.max() <= 2
    with pytest.raises(InputError, match="expected a threat of words for text, got linf"):
        evaluate_robustness(model, x, model.predict(x), threat=Linf(0.1), **QUICK)


def test_a_meter_counts_samples_both_ways() -> None:
    model = torch_cnn()
    meter, x = Meter(model), inputs_for(model, 5)
    with meter.measured() as cost:
        meter.predict(x)
        meter.loss_gradient(x, model.predict(x))
        point = x.clone().requires_grad_()
        meter.logits(point).sum().backward()
        meter.scorer(x)(x)
    assert (cost[0].forward, cost[0].backward) == (20, 10)
    assert meter.task == model.task


def test_bad_input_is_refused_in_one_line() -> None:
    model = torch_cnn()
    x = inputs_for(model, 4)
    y = model.predict(x)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"threat": Linf(2.0)}, "expected 0 < eps <= 1, .* got 2"),
        ({"labels": y + 9}, r"expected classes in 0\.\.3, got"),
        ({"labels": [0, 1]}, "expected 4 class indices"),
        ({"inputs": x + 0.9}, r"expected inputs within 0\.0\.\.1\.0, got"),
        ({"inputs": x * float("nan")}, "expected finite inputs, got NaN or infinity in 4 of 4"),
        ({"attack": "pdg"}, "unknown attack 'pdg'"),
        ({"attack": []}, "expected at least one attack, got none"),
        ({"attack": "verdict:steps=3"}, "expected no parameters for verdict"),
        ({"attack": "hotflip"}, "this attack does not exist for task 'image'; these do: .*apgd_ce"),
        ({"sample_ids": torch.arange(3)}, "expected 4 sample ids"),
        ({"sample_ids": [0, 1]}, "expected 4 sample ids"),
        ({"sample_ids": [0, 1, 1, 2]}, "expected another id for each sample, got 4 with 3 values"),
        ({"batch_size": 0}, "expected `batch_size` >= 1, got 0"),
    ]
    for change, message in wrong:
        arguments: dict[str, Any] = {"inputs": x, "labels": y, "threat": Linf(0.1), **QUICK, **change}
        with pytest.raises(InputError, match=message):
            evaluate_robustness(model, **arguments)
    single = TorchClassifier(torch.nn.Linear(2, 1), task="tabular", input_shape=(2,), class_names=["only"])
    with pytest.raises(InputError, match="class"):
        evaluate_robustness(single, torch.rand(2, 2), [0, 0], threat=Linf(0.1), **QUICK)


def test_a_refused_attack_is_named_and_the_rest_goes_on() -> None:
    class Undefined(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            total = x.sum(dim=1, keepdim=True) + 0 * torch.sqrt((x[:, :1] - x[:, :1]).clamp_min(0))
            return torch.cat([1.2 - total, total], dim=1)

    model = TorchClassifier(Undefined(), task="tabular", input_shape=(3,))
    x = torch.full((5, 3), 0.15)
    result = evaluate_robustness(
        model, x, [0] * 5, threat=Linf(0.2), attack=["pgd", "uniform_noise", "square:queries=200"], **QUICK
    )
    notes = [stage.note for stage in result.stages]
    assert notes[0] is not None
    assert notes[0].startswith("left out: a gradient attack needs finite gradients")
    assert notes[1:] == [None] * (len(notes) - 1)
    assert not bool(result.robust.any())


def test_nan_logits_are_bad_input() -> None:
    class Sick(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.sum(dim=1), torch.log(x[:, 0] - 0.5)], dim=1)

    model = TorchClassifier(Sick(), task="tabular", input_shape=(2,))
    with pytest.raises(InputError, match="expected finite logits from the model, got NaN or infinity for 1 of 2"):
        evaluate_robustness(model, torch.tensor([[0.2, 0.2], [0.9, 0.1]]), [0, 0], threat=Linf(0.01), **QUICK)


def test_nan_logits_near_the_inputs_are_bad_input_too() -> None:
    class Unsure(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            total = x.sum(dim=1, keepdim=True)
            return torch.cat([1.0 - total, total], dim=1) / (total.sub(0.5).abs() > 0.05)

    model = TorchClassifier(Unsure(), task="tabular", input_shape=(2,), outputs="logits")
    x = torch.full((4, 2), 0.1)
    with pytest.raises(InputError, match="expected finite logits from the model, got NaN or infinity at points near"):
        evaluate_robustness(model, x, [0] * 4, threat=Linf(0.16), attack="square:queries=300", **QUICK)


def test_l0_has_a_verdict_too() -> None:
    model = torch_cnn()
    x = inputs_for(model, 12)
    result = evaluate_robustness(model, x, model.predict(x), threat=L0(4), **QUICK)
    assert len(result.stages) > 0
    assert float(result.distance.max()) <= 4
    with pytest.raises(UnsupportedError, match="autoattack is defined for linf, l2, l1, got a threat in l0"):
        evaluate_robustness(model, x, model.predict(x), threat=L0(4), attack="autoattack", **QUICK)
