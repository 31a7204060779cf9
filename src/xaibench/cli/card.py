"""``xaibench card``: model cards, written from what is stored and measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xaibench.cli import completion
from xaibench.cli.console import live_progress, print_json
from xaibench.cli.options import AsJson
from xaibench.errors import InputError

__all__ = ["card"]


def card(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models by name or folder; all by default.",
            show_default=False,
            autocompletion=completion.model_or_report,
        ),
    ] = None,
    *,
    measure: Annotated[bool, typer.Option("--measure", help="Measure on the whole test split again first.")] = False,
    report: Annotated[
        Path | None,
        typer.Option(help="Folder of a report of the model, whose results the card gets as well.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the model card (README.md) of models again, from their config.json.

    With --report the card gets what that report found: a section, and results in its metadata, as the Hugging Face Hub
    reads them. Without a model, a card of the report alone is printed, for a model that lies elsewhere.

    [dim]xaibench card digits-cnn[/]
    [dim]xaibench card digits-cnn --measure[/]
    [dim]xaibench card digits-cnn --report reports/digits-cnn[/]
    [dim]xaibench card --report reports/digits-cnn > README.md[/]
    """
    from xaibench.cards import write_card
    from xaibench.homes import model_folder, model_names

    if report is not None and not names:
        from xaibench.report import Report
        from xaibench.report.card import standalone_card

        text = standalone_card(Report.read_unchanged(report))
        print_json(text) if as_json else print(text, end="")
        return
    added = _found(report, names) if report is not None and names else {}
    written = []
    for name in names or model_names():
        folder = model_folder(name)
        if measure:
            from xaibench.training.measure import measure as measure_again

            with live_progress() as progress:
                measure_again(folder, progress=progress)
        write_card(folder, **added)
        written.append(str(folder / "README.md"))
    print_json(written) if as_json else print("\n".join(written))


def _found(report: Path, names: list[str]) -> dict[str, Any]:
    """What a report adds to the card of the one model that it is about."""
    from xaibench.card import Card
    from xaibench.homes import model_folder
    from xaibench.report import Report
    from xaibench.report.card import card_results, card_section

    found = Report.read_unchanged(report)
    of = None if found.model.card is None else found.model.card.weights_digest
    for name in names:
        if Card.read(model_folder(name) / "config.json").weights_digest != of:
            raise InputError(f"expected a report of {name} as it is, got one of {found.model.name} with other weights")
    return {"section": card_section(found), "results": card_results(found)}
