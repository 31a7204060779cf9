"""The page of explanations: every view shows what the library computes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest

import xaibench.explainers
import xaibench.quality
from xaibench import load_data, load_model
from xaibench.attacks import attacks
from xaibench.drawing.colours import SYMBOLS
from xaibench.drawing.labels import name_label
from xaibench.jobs import jobs
from xaibench.overview import permutation_importance
from xaibench.pages.explanations.points import Points
from xaibench.pages.explanations.ranking import as_good_as_first, verdict
from xaibench.pages.explanations.rankings import find_rankings, place_of
from xaibench.quality import RankingRecord, assess
from xaibench.reading import percent
from xaibench.threats import Linf, Words

Opened = Callable[..., AppTest]


def shown(app: AppTest) -> str:
    """Everything that the page says."""
    assert not app.exception, app.exception
    return "\n".join([*(one.value for one in app.markdown), *(one.value for one in app.caption)])


def chart(app: AppTest, place: int = 0) -> Any:
    """A chart of the page, as Plotly has it."""
    return json.loads(app.get("plotly_chart")[place].proto.spec)


def shipped(root: Path, name: str = "evidence-cnn") -> RankingRecord:
    return RankingRecord.read(root / "reports" / "explainers" / name / "ranking.json")


def test_a_shipped_ranking_stands_there_at_once(opened: Opened, root: Path) -> None:
    app = opened("explanations", model="toy-image")
    record = shipped(root)
    text = shown(app)
    assert "has no ranking yet" in text
    first = record.of_metric(record.by)[0]
    assert f"#### {name_label(first.method)} comes first" in text.replace("\\", "")
    assert f"**{first.mean:.2f}**" in text
    bars = chart(app)["data"][0]
    assert bars["y"] == [name_label(row.method) for row in record.ranking]
    assert re.search("higher is better", json.dumps(chart(app)["layout"]["xaxis"]))


def test_another_figure_orders_anew(opened: Opened, root: Path) -> None:
    app = opened("explanations", model="toy-image", ranking="evidence-cnn-watermark", metric="spurious_mass")
    record = shipped(root, "evidence-cnn-watermark")
    bars = chart(app)["data"][0]
    assert bars["y"] == [name_label(row.method) for row in record.of_metric("spurious_mass")]
    assert "leans on the watermark" in shown(app)


def test_rankings_are_read_from_the_folder_of_reports_and_broken_ones_passed_over(
    opened: Opened, root: Path, tmp_path: Path
) -> None:
    home = tmp_path / "reports" / "explainers"
    kept = shipped(root).model_dump(mode="json") | {"model": "toy-image", "n": 7}
    for name, text in (("own", json.dumps(kept)), ("broken", "{")):
        (home / name).mkdir(parents=True)
        (home / name / "ranking.json").write_text(text, encoding="utf-8")
    assert set(find_rankings()) == {"evidence-cnn", "evidence-cnn-watermark", "own"}
    app = opened("explanations", model="toy-image")
    assert "on 7 samples" in shown(app)
    assert "The model has changed since" in shown(app)
    shutil.rmtree(home)


def test_what_may_be_first_by_chance_counts_as_well_as_the_first(root: Path) -> None:
    record = shipped(root)
    assert as_good_as_first(record, record.by) == (record.ranking[0].method,)
    second = record.ranking[1].model_copy(update={"first": 0.03})
    close = record.model_copy(update={"ranking": (record.ranking[0], second, *record.ranking[2:])})
    assert as_good_as_first(close, close.by) == (record.ranking[0].method, second.method)
    assert f"{name_label(second.method)} may be as good" in verdict(close, close.by).replace("\\", "")
    rows = record.of_metric("mask_auc")
    level = as_good_as_first(record, "mask_auc")
    edge = rows[0].interval[0]
    assert edge is not None
    assert level == tuple(row.method for row in rows if row.interval[1] is not None and row.interval[1] >= edge)


def test_a_ranking_starts_as_a_job(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened("explanations", model="toy-table")
    app.button[-1].click().run()
    assert not app.exception
    (job,) = jobs("rank")
    assert job.arguments[:4] == ("rank-explainers", "toy-table", "--n", "32")
    assert job.out == place_of(job.arguments[:4])
    assert app.query_params["ranking_run"] == job.id
    from xaibench.jobs import stop

    stop(job)


def test_quality_is_what_assess_says(opened: Opened) -> None:
    app = opened("explanations", model="toy-image", look="quality", method="saliency,occlusion", quality_rows="4")
    model, data = load_model("toy-image"), load_data("digits")
    table = chart(app)["data"][0]
    x = data.inputs[:4]
    assert isinstance(x, torch.Tensor)
    found = assess(model, x, ("saliency", "occlusion"), ("insertion", "complexity"))
    columns = [re.sub(r"<br>.*", "", head) for head in table["x"]]
    for row, method in enumerate(("saliency", "occlusion")):
        for metric in ("insertion", "complexity"):
            score = found.score(method, metric)
            assert score is not None
            assert table["text"][row][columns.index(name_label(metric))] == f"{score.mean:.2f}".replace("-", "−")
    best = max(("saliency", "occlusion"), key=lambda method: found.score(method, "insertion").mean)  # type: ignore[union-attr]
    shade = [row[columns.index("Insertion")] for row in table["z"]]
    assert shade[("saliency", "occlusion").index(best)] == 1.0
    agreement = chart(app, 1)["data"][0]["text"]
    assert agreement[0][1] == agreement[1][0]
    assert f"(rank correlation {agreement[0][1]})" in shown(app)


def test_a_method_that_does_not_apply_is_one_calm_line(opened: Opened) -> None:
    app = opened("explanations", model="toy-table", look="quality", method="saliency,grad_cam", quality_rows="4")
    assert "Grad-CAM is left out" in shown(app).replace("\\", "")
    assert len(chart(app)["data"][0]["y"]) == 1


def test_another_method_measures_only_that_one(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    st.cache_data.clear()
    app = opened("explanations", model="toy-table", look="quality", method="saliency", quality_rows="4")
    calls: list[Any] = []
    measure = xaibench.quality.assess

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(args[2])
        return measure(*args, **kwargs)

    monkeypatch.setattr(xaibench.quality, "assess", counted)
    app.sidebar.multiselect(key="method").set_value(["saliency", "occlusion"]).run()
    assert not app.exception
    assert calls == ["occlusion"]


@pytest.mark.parametrize("model", ["toy-image", "toy-table"])
def test_maps_move_most_when_they_are_attacked(opened: Opened, model: str) -> None:
    app = opened("explanations", model=model, look="attacked", moved="saliency", move="now")
    lines = {line["name"]: line["y"] for line in chart(app)["data"]}
    assert lines["attack on the explanation"][0] == 1
    assert lines["attack on the explanation"][-1] <= lines["random noise"][-1]
    share = lines["attack on the explanation"][-1]
    assert f"leaves {percent(share)} of the top places of Saliency" in shown(app)


def test_maps_are_moved_on_demand_alone_and_what_a_report_holds_stands_there(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xaibench.evaluate import Plan, run
    from xaibench.pages.explanations import computed
    from xaibench.places import reports_home
    from xaibench.report import write_report

    def refuse(*_: object) -> None:
        raise AssertionError("nobody asked")

    monkeypatch.setattr(computed, "moved", refuse)
    app = opened("explanations", model="toy-table", look="attacked", moved="saliency")
    assert not app.exception
    assert not app.get("plotly_chart")
    assert "No report on toy-table as it is now" in shown(app).replace("\\", "")
    assert app.button(key="move now").label == "Measure Saliency on 8 samples now"
    small: dict[str, Any] = {"attacks": ("fgsm",), "n": 10, "explainers": ("saliency",), "samples": 0, "proofs": 0}
    small |= {"checks": False, "minimal": 0, "corruptions": 0, "assessed": 2, "compared": 4, "manipulated": 4}
    write_report(run(Plan(model="toy-table", **small)), reports_home() / "moved")
    app = opened("explanations", model="toy-table", look="attacked", moved="saliency")
    assert "From the report moved" in shown(app)
    assert len(app.get("plotly_chart")) == 1


def test_the_map_shows_what_the_attack_does(opened: Opened) -> None:
    app = opened("explanations", model="toy-image", look="map", map_eps="0.15")
    model, data = load_model("toy-image"), load_data("digits").take(range(200))
    x = data.inputs
    assert isinstance(x, torch.Tensor)
    before = model.predict(x)
    after = model.predict(attacks.create("fgsm")(model, x, data.labels, Linf(0.15), ids=data.ids))
    right = before == data.labels
    fooled = right & (after != data.labels)
    assert f"#### {int(right.sum())} of 200 samples" in shown(app)
    assert f"the {int(fooled.sum())} that are fooled" in shown(app)
    filled, hollow = rows_by_symbol(app)
    assert sorted(row for rows in filled.values() for row in rows) == sorted(data.ids.tolist())
    assert sorted(row for rows in hollow.values() for row in rows) == sorted(data.ids[fooled].tolist())
    for index, symbol in enumerate(SYMBOLS):
        same = torch.tensor([int(label) % len(SYMBOLS) == index for label in data.labels])
        assert sorted(filled[symbol]) == sorted(data.ids[same].tolist())
        assert sorted(hollow.get(symbol, [])) == sorted(data.ids[same & fooled].tolist())
    crosses = [trace for trace in chart(app)["data"] if trace.get("marker", {}).get("symbol") == "x-thin"]
    assert sum(len(trace["x"]) for trace in crosses) == int((~right).sum())
    names = [trace["name"] for trace in chart(app)["data"] if trace.get("showlegend")]
    assert names == list(data.class_names)


def rows_by_symbol(app: AppTest) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """The rows of filled and of hollow points, by their shapes."""
    filled: dict[str, list[int]] = {}
    hollow: dict[str, list[int]] = {}
    for trace in chart(app)["data"]:
        if "customdata" in trace:
            symbol = trace["marker"]["symbol"]
            found = hollow if symbol.endswith("-open") else filled
            found.setdefault(symbol.removesuffix("-open"), []).extend(row for row, *_ in trace["customdata"])
    return filled, hollow


def test_a_point_is_picked_by_list_and_leads_to_the_other_pages(opened: Opened) -> None:
    app = opened("explanations", model="toy-image", look="map")
    chosen = int(app.selectbox(key="sample").options[5].split(":")[0])
    app.selectbox(key="sample").set_value(chosen).run()
    assert app.query_params["sample"] == str(chosen)
    next(button for button in app.button if button.label == "Explain it").click().run()
    assert not app.exception
    assert app.query_params["sample"] == str(chosen)


def test_texts_are_attacked_word_by_word(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    from xaibench.pages.explanations import computed

    monkeypatch.setattr(computed, "_SECONDS", 600.0)
    app = opened("explanations", model="toy-text", look="map", map_words="1")
    model = load_model("toy-text")
    data = load_data(model.card.data.name)  # type: ignore[union-attr]
    x = model.encode(data.inputs)  # type: ignore[arg-type]
    right = model.predict(x) == data.labels
    tried = right.nonzero().flatten()[:40]
    found = attacks.create("hotflip:beam=1,candidates=8")(
        model, x[tried], data.labels[tried], Words(1).fit(model), ids=data.ids[tried]
    )
    fooled = tried[model.predict(found) != data.labels[tried]]
    assert 0 < len(fooled) < len(tried) == int(right.sum())
    assert f"{len(tried) - len(fooled)} still are after HotFlip within 1 word" in shown(app)
    assert f"the {len(fooled)} that are fooled" in shown(app)
    _, hollow = rows_by_symbol(app)
    assert sorted(row for rows in hollow.values() for row in rows) == sorted(data.ids[fooled].tolist())
    told = {
        row: text
        for trace in chart(app)["data"]
        if trace.get("marker", {}).get("symbol", "").endswith("-open")
        for row, text in trace.get("customdata", ())
    }
    for place in fooled.tolist():
        old, new = model.tokens(x[place : place + 1])[0], model.tokens(found[tried == place])[0]
        changed = [(one, other) for one, other in zip(old, new, strict=True) if one != other]
        assert len(changed) == 1
        assert told[int(data.ids[place])].endswith(": " + " → ".join(changed[0]))
    assert "Changed: " in shown(app)


def test_time_ends_an_attack_on_texts(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    from xaibench.pages.explanations import computed

    st.cache_data.clear()
    monkeypatch.setattr(computed, "_SECONDS", -1.0)
    app = opened("explanations", model="toy-text", look="map", map_words="1")
    assert "of the 4 it was tried on" in shown(app)
    st.cache_data.clear()
    monkeypatch.undo()


def test_what_matters_overall_is_the_permutation_importance(opened: Opened) -> None:
    app = opened("explanations", model="toy-table", look="overall")
    found = permutation_importance(load_model("toy-table"), load_data("breast-cancer"), score="loss")
    first = found.names[int(found.top(1)[0])]
    assert f"#### {first[:1].upper() + first[1:]} matters most" in shown(app)
    assert chart(app)["data"][0]["y"][0] == first
    assert len(app.get("plotly_chart")) == 2


@pytest.mark.parametrize("model", ["toy-image", "toy-text"])
def test_images_and_texts_have_an_overall_view_too(opened: Opened, model: str) -> None:
    text = shown(opened("explanations", model=model, look="overall"))
    told = {"toy-image": "on average over 100 samples", "toy-text": "The words that matter most over 40 texts"}
    assert told[model] in text


def test_nothing_is_fooled_without_an_attack() -> None:
    data = load_data("digits", n=10)
    points = Points(data=data, probabilities=torch.eye(10)[data.labels])
    assert bool(points.right.all())
    assert not bool(points.fooled.any())


def test_hostile_choices_count_as_the_defaults(opened: Opened) -> None:
    hostile = {"look": "<script>", "ranking": "../../etc", "metric": "a", "sample": "-1", "quality_rows": "1e9"}
    app = opened("explanations", model="../x", **hostile)
    assert not app.exception
    assert "comes first" in shown(app)
    assert app.sidebar.selectbox(key="model").value == "toy-image"
