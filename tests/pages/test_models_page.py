"""The Models page: the gallery says what the cards say, broken folders harm nothing, and models can be added."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from xaibench.card import Card
from xaibench.errors import InputError
from xaibench.homes import model_names
from xaibench.intake import Request
from xaibench.pages.models import adding, hub
from xaibench.pages.models.networks import networks_that_fit
from xaibench.pages.shared.text import plain
from xaibench.reading import percent

Opened = Callable[..., AppTest]
HOSTILE = '<img src=x onerror="alert(1)"> **bold** [link](javascript:alert(1)) $x$'


@pytest.fixture
def home(toy_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the toy models that a test may spoil."""
    home = tmp_path / "models"
    shutil.copytree(toy_models, home)
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(home))
    return home


def change(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def html(app: AppTest) -> str:
    return "".join(element.proto.body for element in app.get("html"))


def test_every_model_is_shown_with_its_figures(opened: Opened, toy_models: Path) -> None:
    app = opened("models")
    assert not app.exception
    for name in ("toy-image", "toy-table", "toy-text"):
        card = Card.read(toy_models / name / "config.json")
        assert f"<h4>{name}</h4>" in html(app)
        assert f"<b>{percent(card.metrics['test']['accuracy'])}</b> right; not attacked yet" in html(app)


def test_the_first_button_breaks_something(opened: Opened) -> None:
    app = opened("models")
    app.button(key="hero-attack").click().run()
    assert app.session_state["_address.kept"]["model"] == "toy-image"


def test_a_card_leads_to_its_model(opened: Opened) -> None:
    app = opened("models")
    app.button(key="explain-toy-table").click().run()
    assert not app.exception
    assert app.session_state["_address.kept"]["model"] == "toy-table"


def test_filters_are_in_the_address(opened: Opened) -> None:
    app = opened("models", task="text")
    assert "toy-text" in html(app)
    assert "toy-image" not in html(app)
    app = opened("models", task="no such task", trained_on="../../etc")
    assert "toy-image" in html(app)
    assert not app.exception


def test_details_open_by_address_and_say_what_the_card_says(opened: Opened) -> None:
    app = opened("models", details="toy-image")
    assert not app.exception
    assert "small_cnn (" in html(app)
    assert "1 × 8 × 8 (channels, height, width)" in html(app)
    assert app.query_params["details"] == "toy-image"


@pytest.mark.parametrize("name", ["../toy-image", "/etc", "os:getcwd", "a\0b", "x" * 10_000, HOSTILE])
def test_an_address_opens_nothing_but_models_at_hand(opened: Opened, name: str) -> None:
    app = opened("models", details=name)
    assert not app.exception
    assert not app.error


def test_a_model_of_ones_own_goes_by_the_name_that_was_typed(opened: Opened, home: Path) -> None:
    own = home / "own-wrong-6191b3"
    shutil.copytree(home / "toy-image", own)
    told = Request(title=f"Wrong {HOSTILE}"[:80], format="pt", data="digits")
    (own / "added.json").write_text(told.model_dump_json(), encoding="utf-8")
    app = opened("models")
    shown = html(app)
    assert f"<h4>{escape(told.title)}</h4>" in shown
    assert shown.count(">yours<") == 1
    assert shown.index(">yours<") < shown.index("<h4>toy-image</h4>"), "the reader's own come first"
    assert "toy-image" not in re.findall("<h4>(.*?)</h4>", html(opened("models", whose="own")))
    app = opened("explain", model=own.name, method="saliency")
    assert f"{told.title} ({own.name})" in app.sidebar.selectbox(key="model").options
    (own / "added.json").write_text("{", encoding="utf-8")
    assert ">yours<" not in html(opened("models"))


@pytest.mark.parametrize("key", ["model", "details"])
def test_a_model_in_the_address_that_is_not_here_is_named(opened: Opened, key: str) -> None:
    app = opened("models", **{key: "gone"})
    assert [info.value for info in app.info] == [plain_notice("gone")]
    assert key not in app.query_params
    assert not opened("models", **{key: "toy-image"}).info


def plain_notice(name: str) -> str:
    return plain(f"The address names what is not here: Model {name}. The page goes on with its own choice.")


def test_a_page_of_a_model_opens_one_at_hand(opened: Opened) -> None:
    app = opened("explain", model="../toy-image", method="saliency")
    assert not app.exception
    assert not app.error
    assert app.sidebar.selectbox(key="model").value == "toy-image"


def test_a_broken_folder_is_named_with_the_reason_and_harms_no_other(opened: Opened, home: Path) -> None:
    (home / "cut").mkdir()
    (home / "cut" / "config.json").write_text('{"schema_version": 1', encoding="utf-8")
    (home / "bare").mkdir()
    shutil.copy(home / "toy-image" / "config.json", home / "bare" / "config.json")
    (home / "undescribed").mkdir()
    (home / "undescribed" / "model.safetensors").write_bytes(b"")
    (home / "wrong<b>").mkdir()
    shutil.copytree(home / "toy-table", home / "os:getcwd")
    (home / "wrong").mkdir()
    change_to = json.loads((home / "toy-image" / "config.json").read_text(encoding="utf-8")) | {"task": HOSTILE}
    (home / "wrong<b>" / "config.json").write_text("{}", encoding="utf-8")
    (home / "wrong" / "config.json").write_text(json.dumps(change_to), encoding="utf-8")
    app = opened("models")
    assert not app.exception
    assert "<h4>toy-image</h4>" in html(app)
    said = " ".join(warning.value for warning in app.warning)
    assert "**cut** cannot be used" in said
    assert r"**bare** cannot be used: expected model\.safetensors in it, got No such file" in said
    assert r"**undescribed** cannot be used: expected config\.json in it" in said
    assert r"**wrong\<b\>** cannot be used: expected letters, digits" in said
    assert "**wrong** cannot be used: expected a valid model description" in said
    assert f"**{plain('os:getcwd')}** cannot be used" in said
    assert "os:getcwd" not in model_names()


def test_text_of_a_card_is_text(opened: Opened, home: Path) -> None:
    change(home / "toy-image", name=HOSTILE, summary=HOSTILE + "x" * 10_000)
    app = opened("models", details="toy-image")
    assert not app.exception
    assert "<img" not in html(app)
    assert "&lt;img src=x" in html(app)
    assert not [each for each in app.markdown if "<img" in each.value.replace("\\<", "")]


def test_figures_that_are_none_are_not_shown(opened: Opened, home: Path) -> None:
    change(home / "toy-image", metrics={"test": {"accuracy": HOSTILE, "n": 3}})
    app = opened("models")
    assert not app.exception
    assert "Not measured yet." in html(app)
    assert "<img" not in html(app)


def test_without_models_it_says_how_to_get_one(opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(tmp_path / "none"))
    app = opened("models")
    assert not app.exception
    assert "xaibench train" in app.info[0].value


def test_the_form_has_a_widget_for_each_field_of_the_network(opened: Opened) -> None:
    app = opened("models", view="add", network="resnet", for_data="digits")
    assert not app.exception
    assert app.text_input(key="network.resnet.widths").value == "32, 64, 128"
    assert app.number_input(key="network.resnet.blocks").value == 1
    assert app.selectbox(key="network").options == ["deep_cnn", "lenet", "resnet", "small_cnn", "strided_cnn", "vit"]


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that lets visitors download, with all packages."""
    for key in ("HF_HUB_OFFLINE", "XAIBENCH_DOWNLOADS"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(hub, "missing_package", lambda _: None)


def download_button(app: AppTest) -> Any:
    return next(button for button in app.button if button.label == "Download and add it")


def test_the_names_in_a_file_tell_the_network(toy_models: Path) -> None:
    with (toy_models / "toy-image" / "model.safetensors").open("rb") as file:
        fit = networks_that_fit(file, "image", [1, 8, 8])
        assert "small_cnn" in fit
        assert "deep_cnn" not in fit
        assert file.tell() == 0
    with (toy_models / "toy-table" / "model.safetensors").open("rb") as file:
        assert networks_that_fit(file, "tabular", [30]) == ["mlp"]
    for content in (b"", b"x" * 50, (3).to_bytes(8, "little") + b"[1]"):
        assert networks_that_fit(BytesIO(content), "image", [1, 8, 8]) == []


def test_a_model_of_a_hub_is_asked_for_by_its_name(
    opened: Opened, downloads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Request] = []

    def take_in(request: Request, *_: object, tell: Callable[[str], None]) -> str:
        asked.append(request)
        tell("Downloading it: 1 of 2 MB")
        raise InputError("expected <b> *weights*, got none")

    monkeypatch.setattr(adding, "take_in", take_in)
    app = opened("models", view="add", source="hub", hub="owner/tiny-vit")
    assert not app.exception
    assert not asked, "a link downloads nothing"
    assert app.text_input(key="hub").value == "owner/tiny-vit"
    download_button(app).click().run()
    assert [(each.hub, each.format, each.title, each.data, each.class_names) for each in asked] == [
        ("hf:owner/tiny-vit", "hub", "tiny-vit", "digits", ())
    ]
    assert app.error[0].value == plain("expected <b> *weights*, got none")
    app.radio(key="class_order").set_value("ordered").run()
    download_button(app).click().run()
    assert asked[-1].class_names == tuple("0123456789")


@pytest.mark.parametrize("name", ["hf:../../x", "/etc/passwd", "timm:local-dir:/etc", "os:getcwd", HOSTILE])
def test_a_name_of_a_hub_is_no_path(opened: Opened, downloads: None, name: str) -> None:
    app = opened("models", view="add", source="hub", hub=name)
    assert not app.exception
    assert "expected a name such as" in app.error[0].value
    assert "<img" not in app.error[0].value.replace("\\<", "")
    assert download_button(app).disabled


def test_why_no_model_of_a_hub_can_be_had_is_said(
    opened: Opened, downloads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened("models", view="add", source="hub", for_data="breast-cancer")
    assert "choose data of images" in app.info[0].value
    monkeypatch.setattr(hub, "missing_package", lambda _: "pip install 'xaibench[hub]'")
    app = opened("models", view="add", source="hub", hub="owner/tiny-vit")
    assert "pip install 'xaibench[hub]'" in app.info[0].value
    assert download_button(app).disabled
    monkeypatch.setenv("XAIBENCH_DOWNLOADS", "off")
    app = opened("models", view="add", source="hub", hub="owner/tiny-vit")
    assert "switched off here" in app.info[0].value
    assert download_button(app).disabled


def test_the_gallery_loads_no_framework(toy_models: Path) -> None:
    code = (
        "import os, sys\n"
        f"os.environ['XAIBENCH_MODELS_HOME'] = {str(toy_models)!r}\n"
        "import xaibench.pages.models.page, xaibench.pages.router\n"
        "from xaibench.pages.models.shelf import read_shelf\n"
        "from xaibench.pages.models.faces import face\n"
        "assert all(face(entry) for entry in read_shelf())\n"
        "print(sorted({'torch', 'tensorflow', 'sklearn'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
