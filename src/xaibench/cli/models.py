"""``xaibench models``: what is at hand, what is known about one of them, and adding one of a hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from xaibench.cli import completion
from xaibench.cli.console import live_line, print_json, print_table
from xaibench.cli.options import AsJson
from xaibench.reading import percent

if TYPE_CHECKING:
    from xaibench.card import RobustAccuracy

__all__ = ["models_app"]

models_app = typer.Typer(rich_markup_mode="rich")


@models_app.callback(invoke_without_command=True)
def list_models(context: typer.Context, as_json: AsJson = False) -> None:
    """List the trained classifiers at hand, or describe one.

    [dim]xaibench models[/]
    [dim]xaibench models show digits-cnn[/]
    """
    if context.invoked_subcommand is not None:
        return
    from xaibench.card import Card
    from xaibench.homes import find_model, model_names

    cards = [Card.read(find_model(name) / "config.json") for name in model_names()]
    rows = [
        {
            "name": card.name,
            "task": card.task,
            "framework": card.framework,
            "data": card.data.name,
            "architecture": card.architecture.name,
            "accuracy": card.metrics.get(card.data.test_split, {}).get("accuracy"),
        }
        for card in cards
    ]
    if as_json:
        print_json(rows)
    elif rows:
        print_table([list(row.values()) for row in rows], header=list(rows[0]))
    else:
        print("no models here yet; `xaibench train RECIPE` makes one")


@models_app.command("add")
def add_model(
    name: Annotated[str, typer.Argument(help="hf:owner/name or timm:name.", show_default=False)],
    *,
    data: Annotated[
        str,
        typer.Option(help="The data that it is measured on, and explained on.", autocompletion=completion.data_set),
    ],
    title: Annotated[str, typer.Option(help="A name for it; its own if none is given.")] = "",
    in_order: Annotated[
        bool, typer.Option("--in-order", help="Its classes are those of the data in their order, whatever their names.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add an image classifier of the Hugging Face Hub or of timm: download it, try it and measure it.

    It becomes a folder of models that needs no network.

    [dim]xaibench models add hf:owner/name --data cifar10[/]
    [dim]xaibench models add timm:resnet18.a1_in1k --data imagenet-sample --in-order[/]
    """
    from pydantic import ValidationError

    from xaibench.card import first_problem
    from xaibench.data import check_at_hand, load_data, measured_split
    from xaibench.errors import InputError
    from xaibench.homes import find_model
    from xaibench.intake import Request, read_hub_name, take_in

    hub = read_hub_name(name)
    check_at_hand(data)
    names = load_data(data, measured_split(data), n=1).class_names if in_order else ()
    try:
        request = Request(title=title or hub.title[:80], format="hub", hub=str(hub), data=data, class_names=names)
    except ValidationError as error:
        raise InputError(first_problem(error)) from None
    with live_line() as tell:
        added = take_in(request, tell=tell)
    if as_json:
        print_json({"name": added, "folder": str(find_model(added))})
    else:
        print(added)


@models_app.command("show")
def show_model(
    name: Annotated[
        str, typer.Argument(help="A model's name or folder.", show_default=False, autocompletion=completion.model)
    ],
    as_json: AsJson = False,
) -> None:
    """Describe one model: what it is, what it was trained on, and how well it does.

    [dim]xaibench models show digits-cnn[/]
    [dim]xaibench models show models/digits-cnn --json[/]
    """
    from xaibench.card import Card
    from xaibench.homes import model_folder

    folder = model_folder(name)
    card = Card.read(folder / "config.json")
    if as_json:
        print_json(card.model_dump(mode="json"))
        return
    params = ", ".join(f"{key}={value}" for key, value in card.architecture.settings.items())
    facts = [
        ("name", card.name),
        ("summary", card.summary),
        ("folder", folder),
        ("task", card.task),
        ("framework", card.framework),
        ("architecture", f"{card.architecture.name}({params})"),
        ("input shape", " x ".join(map(str, card.input_shape))),
        ("classes", ", ".join(card.class_names)),
        ("data", f"{card.data.name}, trained on {card.data.train_split}" if card.data.digest else card.data.name),
        ("weights digest", card.weights_digest),
        *((f"{split}: {key}", value) for split, values in card.metrics.items() for key, value in _figures(values)),
        *map(_robustness, card.robustness),
    ]
    print_table(facts, header=("", ""))


def _figures(metrics: dict[str, object]) -> list[tuple[str, object]]:
    return [(key, value) for key, value in metrics.items() if isinstance(value, int | float)]


def _robustness(measured: RobustAccuracy) -> tuple[str, str]:
    """Robust accuracy in one threat, and where it was measured."""
    low, high = map(percent, measured.interval)
    rows = {"all": "all", "first": "the first", "drawn": "drawn"}[measured.rows]
    return (
        f"robust accuracy, {measured.norm} {measured.eps:g}",
        f"{percent(measured.robust_accuracy)} ({low} to {high}) by {measured.attack},"
        f" on {rows} {measured.n} rows of {measured.split}",
    )
