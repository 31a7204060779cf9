"""``xaibench data``: the data sets that are known by name, and what is in one."""

from __future__ import annotations

from typing import Annotated

import typer

from xaibench.cli import completion
from xaibench.cli.console import print_json, print_table
from xaibench.cli.options import AsJson, Limit, Seed, Split

__all__ = ["data_app"]

data_app = typer.Typer(rich_markup_mode="rich")


@data_app.callback(invoke_without_command=True)
def list_data(context: typer.Context, as_json: AsJson = False) -> None:
    """List the data sets known by name, or describe one.

    Of those that can be read without the network, the list says what they are.

    [dim]xaibench data[/]
    [dim]xaibench data show digits[/]
    [dim]xaibench data show path/to/images-by-class[/]
    """
    if context.invoked_subcommand is not None:
        return
    from xaibench.data import data_names, names_at_hand

    at_hand = names_at_hand()
    rows = [_facts(name) if name in at_hand else _unknown(name) for name in sorted({*data_names(), *at_hand})]
    if as_json:
        print_json(rows)
    else:
        print_table([list(row.values()) for row in rows], header=list(rows[0]))


def _facts(name: str) -> dict[str, object]:
    """What a data set at hand is, of the split that models are measured on."""
    from xaibench.data import load_data, measured_split, row_count
    from xaibench.errors import InputError

    try:
        split = measured_split(name)
        data = load_data(name, split, n=1)
        rows = row_count(name, split)
    except InputError:
        return _unknown(name)
    shape = " x ".join(map(str, data.inputs.shape[1:])) if hasattr(data.inputs, "shape") else None
    return _unknown(name) | {
        "task": data.task,
        "classes": len(data.class_names),
        "shape": shape,
        "split": split,
        "rows": rows,
        "here": "yes",
    }


def _unknown(name: str) -> dict[str, object]:
    return {"name": name, "task": None, "classes": None, "shape": None, "split": None, "rows": None, "here": "no"}


@data_app.command("show")
def show_data(
    *,
    name: Annotated[
        str,
        typer.Argument(
            help="A name, an owner/name of the Hub, or a path.", show_default=False, autocompletion=completion.data_set
        ),
    ],
    split: Split = "test",
    n: Limit = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Describe one split: rows, shape, classes and how often each occurs, and its digest.

    [dim]xaibench data show digits --split train[/]
    [dim]xaibench data show stanfordnlp/imdb --n 1000[/]
    """
    from xaibench.data import load_data

    data = load_data(name, split, n, seed)
    shape = list(data.inputs.shape[1:]) if hasattr(data.inputs, "shape") else None
    facts = {
        "name": data.name,
        "split": data.split,
        "task": data.task,
        "rows": len(data),
        "shape": shape,
        "digest": data.digest,
        "classes": {label: int((data.labels == index).sum()) for index, label in enumerate(data.class_names)},
    }
    if as_json:
        print_json(facts)
        return
    classes = facts.pop("classes")
    print_table([(key, str(value)) for key, value in facts.items() if value is not None], header=("", ""))
    print_table(list(classes.items()), header=("class", "rows"))  # type: ignore[attr-defined]
