"""``xaibench models``: what is shipped, and what is known about one of them."""

from __future__ import annotations

from typing import Annotated

import typer

from xaibench.cli import completion
from xaibench.cli.console import print_json, print_table
from xaibench.cli.options import AsJson

__all__ = ["models_app"]

models_app = typer.Typer(help="List the trained classifiers at hand, or describe one.", rich_markup_mode="rich")


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
    params = ", ".join(f"{key}={value}" for key, value in card.architecture.params.items())
    facts = [
        ("name", card.name),
        ("summary", card.summary),
        ("folder", folder),
        ("task", card.task),
        ("framework", card.framework),
        ("architecture", f"{card.architecture.name}({params})"),
        ("input shape", " x ".join(map(str, card.input_shape))),
        ("classes", ", ".join(card.class_names)),
        ("data", f"{card.data.name}, trained on {card.data.train_split}"),
        ("weights digest", card.weights_digest),
        *((f"{split}: {key}", value) for split, values in card.metrics.items() for key, value in _figures(values)),
    ]
    print_table(facts, header=("", ""))


def _figures(metrics: dict[str, object]) -> list[tuple[str, object]]:
    return [(key, value) for key, value in metrics.items() if isinstance(value, int | float)]
