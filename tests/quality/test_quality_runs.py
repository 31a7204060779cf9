"""Methods measured and ranked on real models: who finds what was planted, and whether marks are found out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from small_models import inputs_for, keras_cnn, table_mlp, token_net, torch_cnn
from torch import Tensor, nn

from xaibench.classifiers import TorchClassifier
from xaibench.cli import run
from xaibench.data import Data, load_data
from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers import Attribution, TargetLogit, explainers
from xaibench.metrics import quality_metrics
from xaibench.quality import Bench, RankingRecord, Shifted, assess, rank_explainers
from xaibench.types import Bounds, Classifier
from xaibench.zoo import load_model

SIDE = 8


def _square(n: int) -> Tensor:
    found = torch.zeros(n, SIDE, SIDE, dtype=torch.bool)
    found[:, 2:5, 3:6] = True
    return found


def _looks_at_the_square() -> tuple[Classifier, Data]:
    """A linear model of pictures whose weights lie on one square, and pictures that it gets right."""
    head = nn.Linear(SIDE * SIDE, 2)
    with torch.no_grad():
        weight = _square(1)[0].flatten().float()
        head.weight.copy_(torch.stack([weight, -weight]))
        head.bias.copy_(torch.tensor([-6.0, 6.0]))
    model = TorchClassifier(nn.Sequential(nn.Flatten(), head), input_shape=(1, SIDE, SIDE), class_names=("a", "b"))
    x = torch.rand(24, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    x = torch.where(_square(24)[:, None], 0.8 + 0.2 * x, 0.7 * x)
    labels = torch.zeros(24, dtype=torch.long)
    labels[:3] = 1
    return model, Data(
        name="square",
        split="test",
        task="image",
        inputs=x,
        labels=labels,
        class_names=("a", "b"),
        ids=torch.arange(24),
        digest="",
        bounds=Bounds(),
        masks=_square(24),
    )


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """Maps that do not look at the model."""

    name: ClassVar[str]

    def __call__(self, model: Classifier, inputs: Any, targets: Any = None, *, seed: int = 0) -> Attribution:
        logit = TargetLogit(self, model, inputs, targets, needs=())
        noise = logit.rng(seed).uniform(tuple(logit.x.shape[1:]))
        inside = _square(len(noise))[:, None].float()
        return logit.attribution({"random_map": noise, "worst_map": noise - inside}[self.name], seed=seed)


@pytest.fixture
def with_bad_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("random_map", "worst_map"):
        kind = type(name, (_Drawn,), {"name": name})
        monkeypatch.setitem(explainers._classes, name, kind)


@pytest.mark.usefixtures("with_bad_methods")
def test_the_method_that_finds_the_planted_square_comes_first() -> None:
    model, data = _looks_at_the_square()
    methods = ("worst_map", "random_map", "input_x_gradient")
    found = rank_explainers(model, data, methods, n=24)
    assert found.by == "relevance_rank"
    assert [row.method for row in found.rows] == list(reversed(methods))
    assert [row.place for row in found.rows] == [1, 2, 3]
    assert [row.first for row in found.rows] == [1.0, 0.0, 0.0]
    assert not any(row.tied for row in found.rows)
    assert found.left_out == 3
    assert found.assessment.n == 21
    best = found.rows[0].score
    assert best.mean == 1.0
    assert best.interval == (1.0, 1.0)
    assert found.rows[1].score.mean == pytest.approx(9 / 64, abs=0.1)
    assert found.rows[1].score.interval[0] < found.rows[1].score.mean < found.rows[1].score.interval[1]
    for metric in ("deletion", "insertion", "faithfulness_correlation", "road", "mask_auc"):
        again = rank_explainers(model, data, methods, by=metric, n=24)
        assert [row.method for row in again.rows] == list(reversed(methods)), metric
    json.dumps(found.as_dict(), allow_nan=False)


@pytest.mark.usefixtures("with_bad_methods")
def test_methods_that_do_as_well_are_called_tied() -> None:
    model, data = _looks_at_the_square()
    found = rank_explainers(model, data, ("input_x_gradient", "saliency:absolute=false", "random_map"), n=24)
    assert [row.tied for row in found.rows] == [False, True, False]
    assert {row.score.mean for row in found.rows[:2]} == {1.0}


@pytest.mark.parametrize(("margin", "tied"), [(0.02, True), (2.0, False)])
def test_a_margin_within_chance_is_a_tie(
    margin: float, tied: bool, monkeypatch: pytest.MonkeyPatch, with_bad_methods: None
) -> None:
    """The second method is worse in every sample, or only on the whole."""

    @dataclass(frozen=True, kw_only=True)
    class Known:
        name: ClassVar[str]
        higher_is_better: ClassVar[bool] = True

        def __call__(self, case: Any) -> Tensor:
            noise = torch.randn(2, len(case.x), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
            first = bool((case.values.flatten(1).amin(dim=1) >= 0).all())
            return noise[0] + margin + noise[0].mean().neg() if first else noise[1] - noise[1].mean()

    Known.name = "known"
    monkeypatch.setitem(quality_metrics._classes, "known", Known)
    model, data = _looks_at_the_square()
    found = rank_explainers(model, data, ("worst_map", "random_map"), ("known",), n=24)
    assert [row.method for row in found.rows] == ["random_map", "worst_map"]
    assert found.rows[1].tied == tied
    assert (found.rows[0].first > 0.95) != tied


def test_data_without_masks_are_ranked_by_faithfulness() -> None:
    model, data = load_model("cancer-mlp"), load_data("breast-cancer")
    found = rank_explainers(model, data, ("saliency", "integrated_gradients", "input_x_gradient"), n=12)
    assert found.by == "faithfulness_correlation"
    assert found.rows[-1].method == "saliency"
    assert found.left_out == 0
    assert found.assessment.n == 12


def test_explanations_move_onto_the_watermark() -> None:
    data = load_data("evidence-watermark", "test_biased", n=16)
    methods = ("saliency", "integrated_gradients:baseline=mean,steps=16,max_steps=16", "occlusion")
    share = {}
    for name in ("evidence-cnn", "evidence-cnn-watermark"):
        found = assess(
            load_model(name),
            data.inputs,
            methods,
            ("spurious_mass", "relevance_mass"),
            targets=data.labels,
            masks=data.masks,
            spurious_masks=data.spurious_masks,
        )
        share[name] = found
    for method in methods:
        honest, leaning = (
            share[name].score(method, "spurious_mass") for name in ("evidence-cnn", "evidence-cnn-watermark")
        )
        assert honest is not None
        assert leaning is not None
        assert leaning.interval[0] > honest.interval[1], method
        away, there = (
            share[name].score(method, "relevance_mass") for name in ("evidence-cnn-watermark", "evidence-cnn")
        )
        assert away is not None
        assert there is not None
        assert away.mean < there.mean


@pytest.mark.parametrize("make", [torch_cnn, keras_cnn, table_mlp, token_net])
def test_every_metric_that_applies_gives_a_number_for_every_sample(make: Callable[[], Classifier]) -> None:
    model = make()
    x = inputs_for(model, 4)
    masks = None
    if model.task == "image":
        masks = torch.zeros(4, 8, 8, dtype=torch.bool)
        masks[:, 2:4, 2:4] = True
    found = assess(model, x, ["input_x_gradient"], quality_metrics.names(), masks=masks, spurious_masks=masks)
    refused = {refusal.metric for refusal in found.refused}
    assert len(found.scores) + len(refused) == len(quality_metrics.names())
    for score in found.scores:
        assert score.values.shape == (4,)
        assert bool(score.values.isfinite().all()), score.metric
        assert score.interval[0] <= score.mean <= score.interval[1]
    known = {"mask_auc", "pointing_game", "relevance_mass", "relevance_rank", "spurious_mass"}
    numbers = {"input_alignment", "input_invariance", "local_lipschitz", "max_sensitivity"}
    expected: dict[str, set[str]] = {"image": set(), "tabular": known | {"road"}, "text": known | numbers | {"road"}}
    assert refused == expected[model.task]


def test_scores_are_the_metrics_of_the_attributions() -> None:
    model = torch_cnn()
    x = inputs_for(model, 5)
    found = assess(model, x, ["saliency"], ["deletion:steps=4"], seed=3)
    explainer = explainers.create("saliency")
    bench = Bench(model=model, inputs=x, seed=3)
    case = bench.case(explainer, explainer(model, x, seed=3))
    expected = quality_metrics.create("deletion:steps=4")(case)
    assert torch.equal(found.scores[0].values, expected)
    assert found.scores[0].mean == pytest.approx(float(expected.mean()))
    parts = [
        assess(model, part, ["saliency"], ["deletion:steps=4"], seed=3).scores[0].values for part in (x[:2], x[2:])
    ]
    torch.testing.assert_close(torch.cat(parts), expected, rtol=1e-4, atol=1e-6)
    tight = assess(model, x, ["saliency"], ["deletion:steps=4"], seed=3, memory=1)
    torch.testing.assert_close(tight.scores[0].values, expected, rtol=1e-4, atol=1e-6)


def test_what_does_not_apply_is_listed_with_its_reason() -> None:
    model = table_mlp()
    found = assess(model, inputs_for(model, 3), ["saliency", "attention_rollout"], ["road", "sparseness"])
    assert found.methods == ("saliency",)
    assert [(one.method, one.metric) for one in found.refused] == [("saliency", "road"), ("attention_rollout", None)]
    assert all(one.reason and "\n" not in one.reason for one in found.refused)
    assert found.score("saliency", "road") is None
    json.dumps(found.as_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"methods": ["salience"]}, InputError, "unknown explainer 'salience'"),
        ({"metrics": ["road2"]}, InputError, "unknown metric 'road2'"),
        ({"methods": []}, InputError, "expected methods and metrics, got 0 and 1"),
        ({"masks": torch.zeros(4, 3, 3, dtype=torch.bool)}, InputError, r"expected `masks` as \(4, 8, 8\), got \(4, 3"),
    ],
)
def test_bad_input_is_one_clear_line(change: dict[str, Any], error: type[Exception], message: str) -> None:
    model = torch_cnn()
    given: dict[str, Any] = {"methods": ["saliency"], "metrics": ["sparseness"], **change}
    with pytest.raises(error, match=message):
        assess(model, inputs_for(model, 4), **given)


def test_a_model_that_gets_nothing_right_has_no_evidence_to_find() -> None:
    model, data = _looks_at_the_square()
    with pytest.raises(UnsupportedError, match="the model gets 0 of 3 samples right"):
        rank_explainers(model, data.take([0, 1, 2]), ("saliency",))
    with pytest.raises(InputError, match="expected `n` >= 2 and two samples or more, got 0 and 24"):
        rank_explainers(model, data, ("saliency",), n=0)


@pytest.mark.parametrize("make", [torch_cnn, keras_cnn, table_mlp])
def test_a_shifted_model_does_the_same_on_shifted_inputs(make: Callable[[], Classifier]) -> None:
    model = make()
    x = inputs_for(model, 4)
    low, high = model.bounds.tensors(x)
    offset = 0.5 * (high - low)
    shifted = Shifted(model, offset)
    moved, y = x + offset, model.predict(x)
    torch.testing.assert_close(shifted.logits(moved), model.logits(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(shifted.scorer(moved)(moved), model.logits(x), rtol=1e-4, atol=1e-4)
    assert torch.equal(shifted.predict(moved), y)
    ours, theirs = shifted.loss_gradient(moved, y).gradient, model.loss_gradient(x, y).gradient
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))
    torch.testing.assert_close(torch.stack(shifted.bounds.tensors(x)), torch.stack([low + offset, high + offset]))


def test_a_shift_is_a_share_of_each_range() -> None:
    model = table_mlp()
    x, explainer = inputs_for(model, 3), explainers.create("input_x_gradient")
    bench = Bench(model=model, inputs=x)
    case = bench.case(explainer, bench.explain(explainer))
    assert case.explain_shifted is not None
    before, after = case.explain_shifted(0.25)
    low, high = model.bounds.tensors(x)
    gradient = -model.loss_gradient(x, bench.target, "logit").gradient
    torch.testing.assert_close(before, x * gradient)
    torch.testing.assert_close(after, (x + 0.25 * (high - low)) * gradient, rtol=1e-3, atol=1e-4)


def test_methods_that_read_the_graph_are_not_measured_on_one_that_is_not_shifted() -> None:
    model = torch_cnn()
    found = assess(model, inputs_for(model, 2), ["lrp", "deep_lift"], ["input_invariance", "sparseness"])
    assert [(one.method, one.metric) for one in found.refused] == [
        ("lrp", "input_invariance"),
        ("deep_lift", "input_invariance"),
    ]


def test_padding_of_texts_does_not_count() -> None:
    model, explainer = token_net(), explainers.create("input_x_gradient")
    x = inputs_for(model, 4)
    x[:, 5:] = 0
    bench = Bench(model=model, inputs=x)
    case = bench.case(explainer, bench.explain(explainer))
    assert case.where is not None
    assert torch.equal(case.where, x != 0)
    assert not bool(case.baseline.any())


def test_which_methods_a_shift_of_inputs_fools() -> None:
    """As Kindermans et al. found: gradients are not fooled, input x gradient is, paths if their baseline stays."""
    model = torch_cnn()
    fixed = "integrated_gradients:baseline=zero,steps=8,max_steps=8"
    methods = ["saliency", "input_x_gradient", "integrated_gradients:steps=8,max_steps=8", fixed]
    found = assess(model, inputs_for(model, 4), methods, ["input_invariance"])
    fooled = {score.method: score.mean for score in found.scores}
    assert fooled[methods[0]] == pytest.approx(0, abs=1e-3)
    assert fooled[methods[1]] > 0.5
    assert fooled[methods[2]] == pytest.approx(0, abs=1e-3)
    assert fooled[fixed] > 0.2


def test_the_command_prints_the_ranking(capfd: pytest.CaptureFixture[str]) -> None:
    methods = ("--methods", "saliency,input_x_gradient", "--methods", "attention_raw")
    arguments = ("rank-explainers", "evidence-cnn", "--data", "evidence", "--n", "6", *methods)
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["by"] == "relevance_rank"
    assert [row["method"] for row in found["ranking"]] == ["saliency", "input_x_gradient"]
    assert found["refused"][0]["method"] == "attention_raw"
    assert run(arguments) == 0
    out, err = capfd.readouterr()
    assert "explainers by relevance_rank (higher is better) on 6 samples" in out
    assert "xaibench: attention_raw does not apply: attention_raw needs attention" in err
    assert run([*arguments, "--by", "nonsense"]) == 2
    assert "unknown metric 'nonsense'" in capfd.readouterr().err


def test_an_interrupted_assessment_goes_on_from_its_finished_methods(tmp_path: Path) -> None:
    model, data = load_model("cancer-mlp"), load_data("breast-cancer", n=8)
    methods, metrics = ("saliency", "grad_cam", "input_x_gradient"), ("deletion", "pointing_game", "completeness")

    class StopError(Exception):
        pass

    def stop(stage: str, done: int, total: int, info: Any) -> None:
        if done == 2:
            raise StopError

    whole = assess(model, data.inputs, methods, metrics)
    with pytest.raises(StopError):
        assess(model, data.inputs, methods, metrics, folder=tmp_path, progress=stop)
    (folder,) = tmp_path.iterdir()
    first = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(first) == 2
    resumed = assess(model, data.inputs, methods, metrics, folder=tmp_path)
    assert resumed.as_dict() == whole.as_dict()
    assert len(whole.refused) > 1
    for one, other in zip(resumed.scores, whole.scores, strict=True):
        assert torch.equal(one.values.nan_to_num(-9), other.values.nan_to_num(-9))
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir() if path in first} == first
    next(iter(first)).write_text("{")
    assert assess(model, data.inputs, methods, metrics, folder=tmp_path).as_dict() == whole.as_dict()
    assess(model, data.inputs[:5], methods, metrics, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_ranking_is_written_whole_and_its_unfinished_work_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ranked"
    command = ("rank-explainers", "cancer-mlp", "--methods", "saliency,occlusion", "--n", "6", "--json")
    assert run((*command, "--out", str(out))) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [path.name for path in out.iterdir()] == ["ranking.json"]
    kept = json.loads((out / "ranking.json").read_text(encoding="utf-8"))
    assert {key: kept[key] for key in printed} == printed
    record = RankingRecord.read(out / "ranking.json")
    assert record.model_digest == load_model("cancer-mlp").digest
    assert [row.method for row in record.of_metric(record.by)] == [row.method for row in record.ranking]
    deletions = {row["method"]: row["mean"] for row in printed["scores"] if row["metric"] == "deletion"}
    assert [row.method for row in record.of_metric("deletion")] == sorted(deletions, key=lambda name: deletions[name])
    (out / "ranking.json").write_text('{"model": 1}')
    with pytest.raises(InputError, match="expected a valid ranking"):
        RankingRecord.read(out / "ranking.json")
    (tmp_path / "file").write_text("")
    assert run((*command, "--out", str(tmp_path / "file"))) == 2
