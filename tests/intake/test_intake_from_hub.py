"""Models by their name on a hub: downloaded within limits, taken in to need no network, refused in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pretend_hub import REVISION, served, write_checkpoint
from torch import Tensor, nn

from xaibench import TorchClassifier, explain, load_data, load_model
from xaibench.card import Card
from xaibench.classifiers.hubs import Checkpoint, HubNetwork, read_repository
from xaibench.errors import InputError, UnsupportedError
from xaibench.intake import Request, apart, door, from_hub, names, read_hub_name, take_in
from xaibench.intake import __main__ as steps
from xaibench.intake import download as downloading
from xaibench.intake.download import download
from xaibench.intake.examine import examine
from xaibench.intake.from_hub import _class_names
from xaibench.intake.request import REPOSITORY

NAME = "owner/tiny"
needs_transformers = pytest.mark.skipif(
    names.missing_package("hf") is not None, reason="transformers is not installed: pip install 'xaibench[hub]'"
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Starts a Hub on this machine, and gives the folder that `NAME` lies in."""
    repository = tmp_path / "hub" / NAME
    repository.mkdir(parents=True)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with ExitStack() as stack:

        def start(**told: Any) -> Path:
            monkeypatch.setenv("HF_ENDPOINT", stack.enter_context(served(tmp_path / "hub", **told)))
            return repository

        yield start


def request(**told: Any) -> Request:
    return Request(**{"title": "Tiny", "format": "hub", "hub": NAME, "data": "digits", **told})


def put_aside(folder: Path, asked: Request) -> Path:
    folder.mkdir()
    (folder / "request.json").write_text(asked.model_dump_json(), encoding="utf-8")
    return folder


def looked_at(repository: Path, folder: Path, **told: Any) -> Path:
    """What the process of `take_in` does with a downloaded repository, without the process."""
    put_aside(folder, request(**told))
    shutil.copytree(repository, folder / REPOSITORY)
    (folder / apart.SOURCE).write_text(json.dumps({"name": f"hf:{NAME}", "revision": REVISION}), encoding="utf-8")
    examine(folder, folder / apart.MADE, "own-tiny")
    return folder / apart.MADE


@needs_transformers
def test_a_name_becomes_a_model_that_needs_no_network(home: Path, hub: Callable[..., Path]) -> None:
    repository = write_checkpoint(hub())
    (repository / "pytorch_model.bin").write_bytes(b"never fetched")
    heard: list[str] = []
    name = take_in(request(), tell=heard.append)
    assert any("Downloading" in text or "Asking" in text for text in heard)
    assert any("measuring" in text for text in heard)
    assert sorted(path.name for path in (home / name).iterdir()) == [
        "README.md",
        "added.json",
        "config.json",
        "model.safetensors",
    ]
    assert [path.name for path in home.iterdir()] == [name], "nothing is left aside"
    model = load_model(name)
    data = load_data("digits", n=8)
    assert model.card is not None
    assert model.card.weights_digest == model.digest
    assert model.card.summary == f"Tiny: hf:{NAME} at revision {REVISION[:12]}"
    assert isinstance(data.inputs, Tensor)
    assert torch.allclose(model.logits(data.inputs), expected(repository, data.inputs), atol=1e-5)


def expected(repository: Path, x: Tensor) -> Tensor:
    """Logits of the checkpoint as its own package would compute them from grey pictures."""
    import transformers

    network = transformers.AutoModelForImageClassification.from_pretrained(repository).eval()
    mean, std = (torch.tensor(values)[:, None, None] for values in ([0.5, 0.4, 0.3], [0.2, 0.3, 0.25]))
    large = torch.nn.functional.interpolate(x.expand(-1, 3, -1, -1), (16, 16), mode="bilinear")
    with torch.no_grad():
        return network((large - mean) / std).logits


@needs_transformers
@pytest.mark.parametrize("kind", ["vit", "resnet", "convnext"])
def test_every_kind_of_network_works_with_its_layers(kind: str, tmp_path: Path) -> None:
    repository = write_checkpoint(tmp_path / "repository", kind)
    made = looked_at(repository, tmp_path / "aside")
    model, card = load_model(made), Card.read(made / "config.json")
    x = load_data("digits", n=2).inputs
    assert isinstance(x, Tensor)
    assert isinstance(model, TorchClassifier)
    assert torch.allclose(model.logits(x), expected(repository, x), atol=1e-4)
    assert card.metrics["test"]["n"] == 359
    assert card.architecture.params["model_type"] == kind
    assert bool(explain(model, x, method="grad_cam", trust="quick").values.isfinite().all())
    if kind == "vit":
        assert bool(explain(model, x, method="attention_rollout", trust="quick").values.abs().sum() > 0)
    else:
        with pytest.raises(UnsupportedError, match="no attention layer"):
            explain(model, x, method="attention_rollout", trust="quick")
    deep = explain(model, x, method="deep_lift", trust="quick")
    assert deep.completeness_gap is not None
    assert float(deep.completeness_gap.max()) < 1e-3


@needs_transformers
def test_coloured_pictures_are_normalised_by_the_classifier(tmp_path: Path) -> None:
    repository = write_checkpoint(tmp_path / "repository", names=("Great_Owl", "cat"))
    data = tmp_path / "coloured.npz"
    x = np.random.default_rng(0).random((40, 3, 8, 8), np.float32)
    np.savez(data, X=x, y=np.arange(40) % 2, class_names=["cat", "great owl"])
    made = looked_at(repository, tmp_path / "aside", data=str(data))
    model, card = load_model(made), Card.read(made / "config.json")
    assert torch.allclose(model.logits(torch.tensor(x)), expected(repository, torch.tensor(x)), atol=1e-5)
    assert model.class_names == ("great owl", "cat")
    assert (card.mean, card.std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
    assert "mean" not in card.architecture.params


def test_coloured_pictures_are_no_inputs_of_a_network_for_grey_ones() -> None:
    checkpoint: Any = SimpleNamespace(params={"network_shape": [1, 8, 8]}, options={})
    with pytest.raises(InputError, match="expected pictures with the 1 channels of the model, got 3"):
        from_hub._fitted(checkpoint, (3, 8, 8), ("a", "b"))


def test_a_network_that_its_configuration_does_not_tell_is_refused(tmp_path: Path) -> None:
    there, anew = (nn.Sequential(nn.Flatten(), nn.Linear(64, 3), last) for last in (nn.Tanh(), nn.Identity()))
    checkpoint = Checkpoint(network=there, classes=3, architecture="timm", params={}, options={})
    with pytest.raises(InputError, match="computes something else"):
        from_hub._save(checkpoint, HubNetwork(anew, channels=1, size=(8, 8)), tmp_path / "weights", (1, 8, 8))
    assert not (tmp_path / "weights").exists()


def named(*given: str) -> Any:
    return SimpleNamespace(options={"class_names": given})


def test_classes_are_called_as_the_data_call_them() -> None:
    data = ("tench", "great white shark", "crane")
    assert _class_names(named("crane", "Great_White_Shark, white shark", "tench, Tinca tinca"), data) == (
        "crane",
        "great white shark",
        "tench",
    )
    assert _class_names(named("0", "1", "2"), data) == data, "numbers are in the order of the data"
    assert _class_names(named("crane", "x", "crane"), ("crane", "x", "y")) == ("crane", "x", "crane (2)")
    assert _class_names(named("crane", "x", "crane"), ("crane", "x")) == ("crane", "x", "crane (2)")
    assert _class_names(named("x, y", "x", "z"), ("z", "x"))[1:] == ("x", "z")
    assert _class_names(named("a", "b"), ("c", "d")) == ("a", "b"), "and else as the model does: `align` refuses them"
    assert _class_names(named(), data) == data


def test_names_of_classes_are_lines_that_differ() -> None:
    found = ("", "a\nb", "\u202ea  b\0", "x" * 300, "x" * 300, "c", "c", "c (6)", "<b>")
    names = _class_names(named(*found), ("d", "e"))
    assert names == ("class 0", "a b", "a b (2)", "x" * 100, "x" * 100 + " (4)", "c", "c (6) (6)", "c (6)", "<b>")


@needs_transformers
def test_classes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    repository = write_checkpoint(tmp_path / "repository", names=["cat", "dog"])
    with pytest.raises(InputError, match=r"2 classes, got 10|classes that the model knows") as caught:
        looked_at(repository, tmp_path / "aside")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="expected a model of 10 classes, one for each name, got 2"):
        looked_at(repository, tmp_path / "ordered", class_names=tuple("abcdefghij"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("breast-cancer", "data of images"),
        ("../x", "expected data that are at hand here"),
        ("cifar", r"at hand here \(breast-cancer, .*got 'cifar'$"),
        ("cifar10", "got 'cifar10', which is read from .* below XAIBENCH_DATA_HOME"),
    ],
)
def test_data_that_do_not_fit_are_refused_before_the_download(
    data: str, message: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XAIBENCH_DATA_HOME", raising=False)
    monkeypatch.setattr(door, "run_apart", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(InputError, match=message):
        take_in(request(data=data))


@needs_transformers
def test_weights_are_measured_as_they_are_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = write_checkpoint(tmp_path / "repository")
    monkeypatch.setattr(from_hub, "HUB_BYTES", 10_000)
    with pytest.raises(InputError, match="as float32"):
        looked_at(repository, tmp_path / "aside")


@needs_transformers
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"auto_map": {"AutoConfig": "evil.Config"}}, "'auto_map', which loads something else"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "'quantization_config'"),
        ({"backbone": "evil/backbone"}, "'backbone'"),
        ({"model_type": "timm_wrapper"}, "give its name in timm"),
        ({"model_type": "../../x"}, "can load"),
        ({"model_type": "bert"}, "can load"),
        ({"hidden_size": "many"}, "can load"),
        ({"hidden_size": 32}, "weights of the sizes that the configuration tells"),
        ({"nested": json.loads("[" * 20 + "]" * 20), "deep": json.loads('{"a":' * 20 + "1" + "}" * 20)}, "levels"),
    ],
)
def test_a_hostile_or_broken_configuration_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    repository = write_checkpoint(tmp_path / "repository")
    path = repository / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_repository(repository)
    assert "\n" not in str(caught.value)


@needs_transformers
def test_a_network_without_its_classifier_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    repository = write_checkpoint(tmp_path / "repository")
    weights = load_file(repository / "model.safetensors")
    kept = {key: value for key, value in weights.items() if not key.startswith("classifier")}
    save_file(kept, repository / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"weights without 'classifier\.bias'"):
        read_repository(repository)


@needs_transformers
@pytest.mark.parametrize(
    ("processing", "mean", "std"),
    [
        ({"do_rescale": False}, 0.5 / 255, 0.2 / 255),
        ({"rescale_factor": 2 / 255}, 0.25, 0.1),
        ({"do_normalize": False}, None, None),
        ({"do_normalize": False, "do_rescale": False}, 0.0, 1 / 255),
    ],
)
def test_pixels_are_prepared_as_the_checkpoint_says(
    processing: dict[str, Any], mean: float | None, std: float | None, tmp_path: Path
) -> None:
    options = read_repository(write_checkpoint(tmp_path / "repository", **processing)).options
    found = [None if (value := options.get(key)) is None else value[0] for key in ("mean", "std")]  # type: ignore[index]
    assert found == [None if each is None else pytest.approx(each) for each in (mean, std)]


@pytest.mark.parametrize("text", ["hf:owner/name", " owner/name ", "timm:resnet18.a1_in1k", "timm:resnet18"])
def test_names_of_hubs_are_read(text: str) -> None:
    assert str(read_hub_name(text)).partition(":")[2] == text.strip().rpartition(":")[2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "hf:",
        "hf:../../x",
        "hf:/etc",
        "/etc/passwd",
        "./folder/x",
        "~/x",
        "owner/..",
        "owner/na..me",
        "a/b/c",
        "hf:owner/name@main",
        "https://evil.example/x",
        "timm:hf-hub:owner/name",
        "timm:local-dir:/etc",
        "timm:../x",
        "os:getcwd",
        "owner/na\nme",
        "owner/name\0",
        "ownér/name",
        "x/" + "y" * 300,
    ],
)
def test_a_name_is_no_path_address_or_code(text: str, home: Path) -> None:
    with pytest.raises(InputError, match="expected a name such as"):
        read_hub_name(text)
    if len(text) <= 200:
        with pytest.raises(InputError, match="expected a name such as"):
            take_in(request(hub=text))
    assert not any(home.iterdir()) if home.exists() else True


@pytest.mark.parametrize(("key", "value"), [("XAIBENCH_DOWNLOADS", "off"), ("HF_HUB_OFFLINE", "1")])
def test_a_host_can_switch_downloads_off(
    key: str, value: str, home: Path, hub: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub()
    monkeypatch.setenv(key, value)
    with pytest.raises(InputError, match="switched off"):
        take_in(request())


@pytest.mark.parametrize(("name", "extra"), [(NAME, "hub"), ("timm:resnet18", "timm")])
def test_a_missing_package_is_named(name: str, extra: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(names.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=rf"pip install 'xaibench\[{extra}\]'"):
        take_in(request(hub=name))


def files(repository: Path, **contents: bytes) -> None:
    needed = {"config.json": b"{}", "preprocessor_config.json": b"{}", "model.safetensors": b"x" * 5000}
    for name, content in {**needed, **contents}.items():
        (repository / name).write_bytes(content)


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What the process of `take_in` downloads, without the process."""
    monkeypatch.setattr(downloading, "missing_package", lambda _: None)
    folder = tmp_path / "aside"

    def fetch() -> list[str]:
        download(put_aside(folder, request()))
        return sorted(path.name for path in (folder / REPOSITORY).rglob("*"))

    return fetch


def test_only_what_is_needed_is_fetched(hub: Callable[..., Path], fetched: Callable[[], list[str]]) -> None:
    files(hub(), **{"modeling_evil.py": b"import os", "pytorch_model.bin": b"x"})
    assert fetched() == ["config.json", "model.safetensors", "preprocessor_config.json"]


@pytest.mark.parametrize("config", [b"{}", b'{"architecture": "tiny"}', b"["])
def test_how_pixels_are_prepared_is_known_before_the_weights_are_fetched(
    config: bytes, hub: Callable[..., Path], fetched: Callable[[], list[str]], tmp_path: Path
) -> None:
    repository = hub()
    files(repository, **{"config.json": config})
    (repository / "preprocessor_config.json").unlink()
    if b"architecture" in config:
        assert fetched() == ["config.json", "model.safetensors"], "timm says it in the configuration"
        return
    with pytest.raises(InputError, match=r"expected (preprocessor_config\.json|a config\.json in JSON)"):
        fetched()
    assert not (tmp_path / "aside" / REPOSITORY / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("told", "kept", "message"),
    [
        ({"sizes": {"model.safetensors": 10**12}}, (), r"at most 400 MB, got 1000000 MB"),
        ({"sizes": {"config.json": 10**8}}, (), r"config\.json of at most 2 MB"),
        ({"sizes": {"model.safetensors": None}}, (), "an unknown size"),
        ({"gated": (NAME,)}, (), "asks who you are"),
        ({}, ("config.json",), r"expected model\.safetensors in owner/tiny, got none"),
        ({}, None, "there is none"),
    ],
)
def test_what_cannot_be_had_is_said_before_it_is_fetched(  # noqa: PLR0917 (fixtures and parameters)
    told: dict[str, Any],
    kept: tuple[str, ...] | None,
    message: str,
    hub: Callable[..., Path],
    fetched: Callable[[], list[str]],
    tmp_path: Path,
) -> None:
    repository = hub(**told)
    files(repository)
    if kept is None:
        shutil.rmtree(repository)
    elif kept:
        (repository / "model.safetensors").unlink()
    with pytest.raises(InputError, match=message) as caught:
        fetched()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "aside" / REPOSITORY).exists()


def test_files_that_are_larger_than_was_said_are_refused(
    hub: Callable[..., Path], fetched: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    files(hub(sizes={"model.safetensors": 10}))
    monkeypatch.setitem(downloading._MOST, "model.safetensors", 1000)
    with pytest.raises(InputError, match=r"model\.safetensors"):
        fetched()


def test_no_more_is_written_than_was_allowed(hub: Callable[..., Path], tmp_path: Path) -> None:
    files(hub(sizes={"model.safetensors": 10}))
    folder = put_aside(tmp_path / "aside", request())
    limited = (
        "import sys; from pathlib import Path; from xaibench.intake import __main__ as steps, download;"
        "steps.HUB_BYTES = 4000; download.missing_package = lambda _: None;"
        "sys.exit(steps.main('download', Path(sys.argv[1]), 'own-tiny'))"
    )
    assert subprocess.run([sys.executable, "-c", limited, str(folder)], check=False).returncode == 1
    refusal = (folder / apart.REFUSAL).read_text(encoding="utf-8")
    assert "expected model.safetensors of owner/tiny to come whole, got: [Errno 27] File too large" in refusal


def test_a_hub_out_of_reach_is_said(fetched: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="could not be reached"):
        fetched()


def test_a_step_that_nobody_waits_for_ends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alarms: list[int] = []
    monkeypatch.setattr(steps.signal, "alarm", alarms.append)
    monkeypatch.setattr(steps.resource, "setrlimit", lambda *_: None)
    put_aside(tmp_path / "aside", request(hub="/etc"))
    assert steps.main("download", tmp_path / "aside", "own-tiny") == 1
    assert "expected a name such as" in (tmp_path / "aside" / apart.REFUSAL).read_text(encoding="utf-8")
    assert len(alarms) == 1
    assert 300 < alarms[0] < 600


def test_the_host_s_own_access_is_not_used(
    hub: Callable[..., Path], fetched: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    files(hub())
    assert "model.safetensors" in fetched(), "the Hub refuses whoever says who he is"
    kept = apart._environment("download", Path("/x"))
    assert "HF_TOKEN" not in kept
    assert kept["HF_HOME"] == "/x/cache"
    assert apart._environment("examine", Path("/x"))["HF_HUB_OFFLINE"] == "1"
