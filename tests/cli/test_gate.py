"""``verify``, ``check``, ``compare`` and ``attack``: what they print, their exit codes, and the numbers behind them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import factories
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from xaibench.cli import run
from xaibench.comparison.paired import mcnemar
from xaibench.data import load_data
from xaibench.evaluate import Plan
from xaibench.evaluate import run as evaluate
from xaibench.evaluate.hardness import CheckOutcome, SelfChecks
from xaibench.report import Report, write_report
from xaibench.report.gate import Demands, judge, junit

DIGITS = ("factories:digits", "--data", "digits")
PLAN = Plan(
    model="factories:digits",
    data="digits",
    n=12,
    samples=0,
    attacks=("fgsm",),
    eps=0.05,
    curve=(0.02,),
    minimal=0,
    corruptions=0,
    checks=False,
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(evaluate(PLAN), tmp_path_factory.mktemp("gate") / "digits").parent


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs a command; gives its exit code, its standard output (read as JSON if asked for) and its standard error."""

    def call(*arguments: str) -> tuple[int, Any, str]:
        code = run(arguments)
        out, err = capfd.readouterr()
        return code, json.loads(out) if "--json" in arguments else out, err

    return call


def test_verify_prints_a_line_for_each_group_and_succeeds(ask: Any, report: Path) -> None:
    code, out, err = ask("verify", str(report), "--model", "factories:digits")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 14
    assert all(line.startswith("✓ ") for line in out.splitlines())


def test_verify_names_the_first_false_claim(ask: Any, report: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(report, tmp_path / "forged")
    forge(folder, lambda document: document["results"]["clean"].update(log_loss=0.01))
    code, out, err = ask("verify", str(folder))
    assert (code, out) == (1, "")
    assert err.startswith("xaibench: false claim: digest of report.json: stated ")
    code, found, _ = ask("verify", str(folder), "--json")
    assert (code, found["true"], found["held"]) == (1, False, {})
    assert ask("verify", str(tmp_path / "nowhere"))[0] == 2


def forge(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Edit a report's document, and nothing else."""
    document = json.loads((folder / "report.json").read_text())
    change(document)
    (folder / "report.json").write_text(json.dumps(document, indent=2))


FORGERIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "an accuracy": (lambda d: d["results"]["clean"].update(accuracy=0.99), "expected clean.accuracy to be"),
    "what nothing else tells": (lambda d: d["results"]["clean"].update(log_loss=0.01), "changed after"),
    "words": (lambda d: d.update(summary="It is perfect."), "changed after"),
    "no digest": (lambda d: d.update(digest=None, summary="It is perfect."), "changed after"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_an_edited_report_passes_no_gate_and_is_handed_on_nowhere(
    forgery: str, ask: Any, report: Path, tmp_path: Path
) -> None:
    change, said = FORGERIES[forgery]
    folder = shutil.copytree(report, tmp_path / "forged")
    forge(folder, change)
    page = (folder / "index.html").read_bytes()
    for arguments in (
        ("check", str(folder), "--min-clean", "0.5"),
        ("card", "--report", str(folder)),
        ("report", str(folder)),
        ("compare", str(report), str(folder), "--quick"),
    ):
        code, out, err = ask(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert said in err
    assert (folder / "index.html").read_bytes() == page


def test_a_report_that_was_only_laid_out_anew_is_still_itself(ask: Any, report: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(report, tmp_path / "same")
    forge(folder, lambda document: document["timings"].update(seconds={}))
    assert ask("check", str(folder), "--min-clean", "0.5")[0] == 0
    for version in ("v1", "v2", "v3"):
        old = Path(__file__).parents[1] / "report" / "old" / version
        assert ask("check", str(old), "--min-clean", "0")[0] == 0


def test_check_passes_and_fails_with_the_reasons(ask: Any, report: Path, tmp_path: Path) -> None:
    robustness = Report.read(report).results.robustness
    assert robustness is not None
    share = robustness.bracket[1]
    code, _, err = ask("check", str(report), "--min-robust", str(share), "--min-clean", "0.5")
    assert (code, err) == (0, "")
    path = tmp_path / "out.xml"
    code, _, err = ask(
        "check", str(report), "--min-robust", str(share + 0.01), "--max-warnings", "0", "--junit", str(path)
    )
    assert code == 1
    assert [line.partition(": expected")[0] for line in err.splitlines()] == [
        "xaibench: robust accuracy",
        "xaibench: self-checks with status warning",
    ]
    suite = ElementTree.parse(path).getroot()[0]
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("2", "2")
    assert [case.attrib["name"] for case in suite] == ["robust accuracy", "self-checks with status warning"]
    assert suite[1][0].attrib["message"] == "expected <= 0, got not measured"
    assert ask("check", str(report), "--min-proved", "0", "--json")[1]["passed"]


@pytest.mark.parametrize("arguments", [(), ("--min-robust", "40"), ("--max-warnings", "-1"), ("--verdict", "fine")])
def test_check_refuses_what_it_cannot_ask(arguments: tuple[str, ...], ask: Any, report: Path) -> None:
    code, out, err = ask("check", str(report), *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "expected" in err


def test_verdicts_are_ranked(report: Path) -> None:
    found = Report.read(report)
    assert found.results.robustness is not None
    warning = CheckOutcome(check="a", status="warning", figure=1.0, limit=0.5, advice="<look>")
    for verdict, outcomes, met in (
        ("reliable", (), (True, True, True)),
        ("doubtful", (warning,), (False, True, False)),
        ("unreliable", (warning, warning.model_copy(update={"status": "fail"})), (False, False, False)),
    ):
        checks = SelfChecks(verdict=verdict, outcomes=outcomes)  # type: ignore[arg-type]
        robustness = found.results.robustness.model_copy(update={"checks": checks})
        marked = found.model_copy(update={"results": found.results.model_copy(update={"robustness": robustness})})
        asked = (Demands(verdict="reliable"), Demands(verdict="doubtful"), Demands(max_warnings=0))
        assert tuple(judge(marked, demands)[0].met for demands in asked) == met
        assert ElementTree.fromstring(junit(marked, judge(marked, asked[0]))).attrib["failures"] == str(int(not met[0]))


def test_mcnemar_is_its_binomial_sum() -> None:
    """1 against 9 samples: 2 (1 + 10) / 2^10."""
    first = torch.tensor([True] * 1 + [False] * 9 + [True] * 30)
    second = torch.tensor([False] * 1 + [True] * 9 + [True] * 30)
    test = mcnemar("clean", first, second)
    assert (test.only_first, test.only_second) == (1, 9)
    assert test.p_value == pytest.approx(22 / 1024)
    assert test.accuracy == (31 / 40, 39 / 40)
    assert mcnemar("clean", first, first).p_value == 1.0


def test_compare_sets_reports_and_models_side_by_side(ask: Any, report: Path) -> None:
    code, found, _ = ask("compare", str(report), str(report), "--quick", "--json")
    assert code == 0
    clean, robust = found["tests"]
    stated = Report.read(report).results
    assert stated.robustness is not None
    assert clean["accuracy"] == [stated.clean.accuracy] * 2
    assert robust["accuracy"] == [stated.robustness.bracket[1]] * 2
    assert (robust["p_value"], robust["only_first"]) == (1.0, 0)
    assert found["within"]["radii"] == [0.0, 0.02, 0.05]
    models = ("factories:digits", "factories:digits_keras", "--data", "digits", "--n", "12", "--eps", "0.05")
    code, found, _ = ask("compare", *models, "--attack", "fgsm", "--quick", "--json")
    assert found["tests"][1]["accuracy"] == robust["accuracy"]
    assert "McNemar" in ask("compare", str(report), str(report), "--quick")[1]


def test_compare_refuses_other_samples_and_threats(ask: Any, report: Path, tmp_path: Path) -> None:
    for name, change, reason in (
        ("seed", {"seed": 3}, "the same samples"),
        ("threat", {"eps": 0.07, "curve": None}, "one threat model"),
        ("none", {"attacks": (), "eps": None, "curve": None}, "attacks on both"),
    ):
        other = write_report(evaluate(PLAN.model_copy(update=change)), tmp_path / name).parent
        code, out, err = ask("compare", str(report), str(other))
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert reason in err


def test_attack_shows_samples_and_saves_what_was_changed(ask: Any, tmp_path: Path) -> None:
    arguments = (*DIGITS, "--attack", "fgsm", "--eps", "0.1", "--n", "6", "--out", str(tmp_path))
    code, found, _ = ask("attack", *arguments, "--json")
    assert code == 0
    data, model = load_data("digits", n=6), factories.digits()
    assert isinstance(data.inputs, Tensor)
    assert [row["id"] for row in found["samples"]] == data.ids.tolist()
    broken = [row for row in found["samples"] if row["attacked"] is not None]
    assert broken
    for row in broken:
        assert row["attacked"] != row["label"] == row["prediction"]
        assert 0 < row["distance"] <= 0.1 + 1e-6
    assert sorted(found["pictures"]) == sorted(str(tmp_path / f"{row['id']}.png") for row in broken)
    place = data.ids.tolist().index(broken[0]["id"])
    pixels = np.asarray(Image.open(found["pictures"][0]))
    scale = pixels.shape[0] // 8
    assert pixels.shape == (8 * scale, 26 * scale, 3)
    shown = pixels[scale // 2 :: scale, scale // 2 :: scale, 0].astype(float) / 255
    assert np.abs(shown[:, :8] - data.inputs[place, 0].numpy()).max() < 0.003
    assert np.abs(shown[:, 9:17] - shown[:, :8]).max() == pytest.approx(0.1, abs=0.005)
    assert model.predict(torch.tensor(shown[None, None, :, 9:17]).float()).item() == int(broken[0]["attacked"])
    table = ask("attack", *arguments)[1]
    assert f"{len(broken)} of " in table
    assert str(tmp_path) in table


def test_attack_takes_rows_and_texts(ask: Any, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "pictures"))
    found = ask("attack", *DIGITS, "--attack", "pgd", "--index", "7", "--index", "2", *out, "--json")[1]
    assert [row["id"] for row in found["samples"]] == [7, 2]
    code, _, err = ask("attack", *DIGITS, "--index", "99999", *out)
    assert (code, err.count("\n")) == (2, 1)
    assert "99999" in err
    table = factories.words_table(str(tmp_path / "texts.csv"))
    words = ("factories:words", "--data", table, "--split", "all", "--attack", "hotflip", "--eps", "2")
    found = ask("attack", *words, "--n", "4", "--json")[1]
    for row in found["samples"]:
        assert row["attacked"] is None or 1 <= len(row["inserted"]) <= 2
    shown = ask("attack", *words, "--n", "4")[1]
    assert "words changed" in shown


def test_help_comes_by_example(ask: Any) -> None:
    for name in ("verify", "check", "compare", "attack"):
        assert f"xaibench {name} " in ask(name, "--help")[1]
