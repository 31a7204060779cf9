"""The documentation is true: its examples run, its generated parts are up to date, its links lead somewhere."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the registries as they were: a page may register methods of its own."""
    from xaibench.attacks import attacks
    from xaibench.explainers import explainers
    from xaibench.training import objectives

    for registry in (attacks, explainers, objectives):
        monkeypatch.setattr(registry, "_classes", dict(registry._classes))


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_python_examples_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(ROOT / "models"))
    code = blocks(page, "python")
    module = tmp_path / "page.py"
    module.write_text("\n".join(code), encoding="utf-8")
    runpy.run_path(str(module))
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) >= len(re.findall(r"^print\(", "\n".join(code), re.MULTILINE))


@pytest.mark.usefixtures("registries")
def test_the_explainer_of_the_guide_keeps_what_all_promise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(ROOT / "tests" / "explainers")
    import test_explainer_properties as promises
    from rows import EVERYWHERE, Row

    code = blocks(ROOT / "docs" / "adding-an-explainer.md", "python")[0]
    (tmp_path / "guide.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("guide")
    row = Row("row_gradient:sharpness=0.5", ignored=None)
    for name in EVERYWHERE:
        promises.test_values_have_the_form_of_the_inputs_and_nothing_changes(row, name)
        promises.test_results_do_not_depend_on_batches(row, name)
        promises.test_targets_choose_the_logit(row, name)
        promises.test_the_cost_is_what_was_spent_and_batches_bound_it(row, name)
    promises.test_specs_make_the_explainer_again(row)
    promises.test_what_does_not_fit_is_refused(row)


@pytest.mark.usefixtures("registries")
def test_the_objective_of_the_guide_keeps_what_all_promise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(ROOT / "tests" / "training")
    import test_objective_properties as promises

    code = blocks(ROOT / "docs" / "adding-an-objective.md", "python")[0]
    (tmp_path / "objective_of_the_guide.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("objective_of_the_guide")
    row = promises.Row("random_points:weight=0.5")
    promises.test_perturbed_inputs_depend_on_the_seed_alone(row)
    for threat in promises.THREATS.values():
        promises.test_perturbed_inputs_are_allowed(row, threat)
    for framework in ("torch", "keras"):
        promises.test_a_step_of_no_length_moves_no_weights(row, framework)
        promises.test_a_state_holds_all_that_later_steps_depend_on(row, framework)
    promises.test_specs_make_the_objective_again(row)
    promises.test_token_ids_are_refused_where_they_do_not_fit(row)
    promises.test_a_threat_is_asked_for_where_one_is_needed(row)


def test_the_model_format_of_the_guide_keeps_what_all_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    import torch

    from xaibench import Capability, InputError, UnsupportedError, evaluate_robustness, explain
    from xaibench.threats import Linf

    code = "\n".join(blocks(ROOT / "docs" / "adding-a-model-format.md", "python")[:2])
    (tmp_path / "format_of_the_guide.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    import format_of_the_guide as guide  # type: ignore[import-not-found]

    rng = np.random.default_rng(1)
    weights, bias = rng.normal(size=(5, 3)), rng.normal(size=3)
    np.savez(tmp_path / "linear.npz", weights=weights, bias=bias)
    read, asked = guide.read_linear(tmp_path / "linear.npz"), guide.ArchiveClassifier(weights, bias)
    x = torch.from_numpy(rng.normal(size=(20, 5)).astype(np.float32))
    expected = torch.from_numpy(x.double().numpy() @ weights + bias)
    y = expected.argmax(1)
    for model in (read, asked):
        torch.testing.assert_close(model.logits(x).double(), expected, atol=1e-5, rtol=1e-5)
        assert (model.predict(x) == y).all()
        with pytest.raises(InputError):
            model.logits(x[:, :4])
    # The logit of a linear model is the sum of its Shapley values from a baseline of zero and its bias.
    shapley = explain(asked, x, y, method="shapley_exact", baseline="zero").values
    torch.testing.assert_close(shapley.double(), x.double() * torch.from_numpy(weights.T[y]), atol=1e-4, rtol=1e-4)
    assert Capability.GRADIENTS in read.capabilities
    assert Capability.GRADIENTS not in asked.capabilities
    with pytest.raises(UnsupportedError, match="gives no gradients"):
        explain(asked, x, method="saliency")
    attacked = evaluate_robustness(read, x, y, threat=Linf(0.3), attack="apgd_ce")
    assert 0 < attacked.robust_accuracy < 1
    assert asked.digest != guide.ArchiveClassifier(weights, bias + 1e-9).digest
    assert asked.digest == guide.ArchiveClassifier(weights.copy(), bias).digest
    (tmp_path / "damaged.npz").write_bytes(b"PK damaged")
    with pytest.raises(InputError, match="weights and bias"):
        guide.read_linear(tmp_path / "damaged.npz")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")], ids=lambda page: page.stem)
def test_recipes_in_pages_are_valid(page: Path) -> None:
    from xaibench.training import Recipe

    for text in blocks(page, "toml"):
        Recipe.of(tomllib.loads(text))


GENERATED = (
    "README.md",
    "docs/command-line.md",
    "docs/explanations.md",
    "docs/honest-numbers.md",
    "docs/objectives.md",
    "docs/recipes.md",
    "docs/reports.md",
)


@pytest.mark.parametrize("path", GENERATED)
def test_generated_parts_are_up_to_date(path: str) -> None:
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    assert set(generate["PARTS"]) == set(GENERATED)
    assert (ROOT / path).read_text(encoding="utf-8") == generate["generated"](path), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"""(?:\]\(|src=")([^)#"]+)[)"]""", page.read_text(encoding="utf-8")):
        # The site leaves out pictures of the app that were not taken yet.
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_in_pages_exist(page: Path) -> None:
    from typer.main import get_command

    from xaibench.cli import app

    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"(?:^|`)xaibench ([a-z][a-z-]*)", text, re.MULTILINE)
    assert set(named) <= known
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)(?=[ `\n])", text, re.MULTILINE)) <= targets
