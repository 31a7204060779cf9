"""Classifier and samples: loaded or given, what a model does not say taken from the options and the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import factories
import pytest
import torch
from torch import Tensor, nn

from xaibench import Plan, TorchClassifier
from xaibench.card import Card
from xaibench.data import load_data
from xaibench.errors import InputError
from xaibench.evaluate import ModelOptions, load_pair, run
from xaibench.registry import Spec
from xaibench.report.command import command, python_call
from xaibench.types import Bounds

SOURCE = """
import torch
from torch import nn
def table():
    torch.manual_seed(0)
    return nn.Linear(30, 2)
def pixels():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
def words():
    from factories import Words
    return Words([0.0, 0.0, 1.0, 2.0, -1.0])
"""


@pytest.fixture(autouse=True)
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own_models.py").write_text(SOURCE)


def test_task_and_box_of_a_table_come_from_the_data() -> None:
    model, data = load_pair("own_models:table", "breast-cancer", n=20)
    assert model.task == "tabular"
    assert model.bounds == data.bounds == load_data("breast-cancer").bounds
    assert data.digest == load_data("breast-cancer", n=20).digest
    narrow, _ = load_pair("own_models:table", "breast-cancer", n=20, options=ModelOptions(bounds=(0.0, 5000.0)))
    assert narrow.bounds == Bounds(0.0, 5000.0)


def test_images_are_brought_to_the_range_of_the_model() -> None:
    given = ModelOptions(bounds=(-20.0, 255.0), mean=(3.0,), std=(7.0,))
    model, data = load_pair("own_models:pixels", "digits", n=9, options=given)
    assert isinstance(model, TorchClassifier)
    assert isinstance(data.inputs, Tensor)
    assert model.bounds == Bounds(0.0, 1.0)
    expected = model.module((data.inputs * 275 - 20 - 3) / 7)
    torch.testing.assert_close(model.logits(data.inputs), expected, rtol=1e-4, atol=1e-4)


def test_weights_take_the_sizes_of_the_data_unless_their_architecture_has_its_own(root: Path) -> None:
    folder = root / "models" / "digits-cnn"
    card = Card.read(folder / "config.json")
    params = {key: value for key, value in card.architecture.params.items() if key not in ("input_shape", "classes")}
    sizes = {"input_shape": list(card.input_shape), "classes": 10}
    own = ModelOptions(mean=card.mean, std=card.std)
    shipped, _ = load_pair(str(folder))
    for given in (params, {**params, **sizes}):
        options = own.model_copy(update={"architecture": str(Spec(card.architecture.name, given))})
        model, data = load_pair(str(folder / "model.safetensors"), "digits", n=7, options=options)
        torch.testing.assert_close(model.logits(data.inputs), shipped.logits(data.inputs))
    options = own.model_copy(update={"architecture": str(Spec(card.architecture.name, {**params, "classes": 3}))})
    with pytest.raises(InputError, match=r"as \(3, "):
        load_pair(str(folder / "model.safetensors"), "digits", n=7, options=options)


def test_a_tokenizer_can_be_named(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"": 0, "[UNK]": 1, "good": 2, "lovely": 3, "bad": 4}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save("words.json")
    Path("reviews.csv").write_text("text,label\n" + "good lovely,0\nbad bad,1\n" * 10)
    options = ModelOptions(tokenizer="words.json")
    model, data = load_pair("own_models:words", "reviews.csv", options=options, split="all")
    assert model.task == "text"
    assert model.logits(data.inputs[:2]).tolist() == [[3.0, -3.0], [-2.0, 2.0]]
    with pytest.raises(InputError, match=r"expected a tokenizer in none\.json"):
        load_pair("own_models:words", "reviews.csv", options=ModelOptions(tokenizer="none.json"), split="all")


def test_a_model_with_a_card_takes_no_options(root: Path) -> None:
    with pytest.raises(InputError, match="expected no `mean` for digits-cnn, whose card says what it is"):
        load_pair(str(root / "models" / "digits-cnn"), options=ModelOptions(mean=(0.5,)))


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"task": "sound"}, "task"),
        ({"bounds": "0"}, "bounds"),
        ({"mean": "0.1,x"}, "mean.1"),
        ({"outputs": "odds"}, "outputs"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], where: str) -> None:
    with pytest.raises(InputError, match=f"bad model option: `{where}`: "):
        ModelOptions.of(options)
    with pytest.raises(InputError, match=f"bad plan: `options.{where}`: "):
        Plan(model="m", options=options)


def test_bounds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(InputError, match="expected bounds with lower < upper, got 255"):
        load_pair("own_models:pixels", "digits", n=2, options=ModelOptions(bounds=(255.0, 0.0)))


def test_data_must_be_known() -> None:
    with pytest.raises(InputError, match="expected `data` for own_models:pixels"):
        load_pair("own_models:pixels")


def test_more_rows_than_there_are_give_all_in_an_order_that_can_be_had_again() -> None:
    _, everything = load_pair("own_models:pixels", "digits", n=100_000, seed=3)
    _, again = load_pair("own_models:pixels", "digits", n=len(everything), seed=3)
    assert len(everything) == len(load_data("digits"))
    assert everything.digest == again.digest


@pytest.mark.parametrize("attacks", [("pgd", "pgd:steps=20"), ("pgd:steps=3,restarts=2", "pgd:restarts=2,steps=3")])
def test_one_attack_in_two_spellings_is_refused(attacks: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="expected each of `attacks` once"):
        Plan(model="m", attacks=attacks)


def test_objects_are_measured_under_the_names_of_the_plan() -> None:
    model = TorchClassifier(nn.Sequential(nn.Flatten(), factories.linear(load_data("digits", "train"))))
    rows = load_data("digits", "train", n=12, seed=5)
    plan = Plan(model="mine", eps=0.1, attacks=("fgsm",), explainers=("saliency",), samples=1)
    found = run(plan, model, rows)
    assert (found.model.name, found.model.digest) == ("mine", model.digest)
    assert (found.data.digest, found.data.split, found.data.n) == (rows.digest, "train", 12)
    assert found.plan.given == ("data", "model")
    assert command(found.plan) is None
    assert python_call(found.plan).endswith(", data=data, model=model)")
    call = python_call(found.plan).replace("xaibench.run", "run").replace("xaibench.Plan", "Plan")
    assert eval(call, {"run": run, "Plan": Plan, "model": model, "data": rows}).digest == found.digest
    with pytest.raises(InputError, match="expected `data` as an object, which this plan only names"):
        run(found.plan, model)


def test_weights_do_not_go_with_an_object() -> None:
    with pytest.raises(InputError, match="expected no `weights` with a classifier"):
        run(Plan(model="mine", weights="w.pt"), factories.digits(), load_data("digits", n=2))


def test_what_fails_to_load_is_not_loaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counted(name: str, *arguments: Any) -> Any:
        asked.append(name)
        return load_data(name, *arguments)

    monkeypatch.setattr("xaibench.evaluate.inputs.load_data", counted)
    with pytest.raises(InputError, match="unknown data"):
        load_pair(factories.digits(), "digist", n=5)
    assert asked == ["digist"]
