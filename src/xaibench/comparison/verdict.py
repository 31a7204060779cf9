"""Three sentences on what the second classifier wins and pays, drawn from the numbers."""

from __future__ import annotations

from xaibench.comparison.attackers import under
from xaibench.comparison.results import GRADIENT, LEVEL, Comparison, McNemar, PairedFigure
from xaibench.drawing.labels import method_label
from xaibench.reading import percent

__all__ = ["LABELS", "figure_label", "p_text", "points", "verdict"]

LABELS = {
    "minimal_distance": "Distance to the nearest adversarial example",
    "fooled_by_the_other": "Fooled by what was found on the other",
    "corrupted_accuracy": "Accuracy on corrupted images",
    "calibration_error": "Calibration error",
    "log_loss": "Log loss",
    "brier_score": "Brier score",
    "faithfulness_correlation": "Faithfulness correlation",
    "insertion": "Insertion",
    "deletion": "Deletion",
    "cascading_randomisation": "Likeness to maps of random weights",
    "input_alignment": "Alignment with the input",
    "edge_correlation": "Correlation with edges",
    "top_places_kept_under_noise": "Top places kept under noise",
    "ranks_kept_under_noise": "Ranks kept under noise",
    "top_places_kept_under_search": "Top places kept under a search",
    "ranks_kept_under_search": "Ranks kept under a search",
}
"""Figures by name, for reading."""
_MOST = 2
"""Figures that a sentence names."""


def verdict(found: Comparison) -> str:
    """On accuracy, on what else was measured of decisions, and on explanations."""
    first, second = found.names
    if found.same_model:
        return (
            f"Both sides are the same model, {found.models[0].name}. Whatever differs between them comes from the two"
            f" evaluations, not from the model. No difference is claimed."
        )
    tested = [one for one in found.figures if one.p_value is not None]
    decisions = [one for one in tested if one.group not in ("explanations", "movement")]
    explanations = [one for one in tested if one.group in ("explanations", "movement")]
    return " ".join(
        [
            _accuracy(found, first, second),
            _others(decisions, second, "its decisions"),
            _others(explanations, second, "its explanations"),
        ]
    )


def figure_label(figure: PairedFigure) -> str:
    """The name of a figure, with the explainer's where it is about one."""
    label = LABELS.get(figure.name, figure.name.replace("_", " "))
    if figure.method is None:
        return label
    return f"{label}, {'gradient' if figure.method == GRADIENT else method_label(figure.method).lower()}"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign.

    >>> points(0.125), points(-0.005), points(0.0)
    ('+12.5', '−0.5', '0')
    """
    text = f"{difference * 100:+.1f}".removesuffix(".0")
    return "0" if text in ("+0", "-0") else text.replace("-", "−")


def p_text(p: float) -> str:
    """A p-value for reading.

    >>> p_text(0.00004), p_text(0.0312), p_text(1.0)
    ('p < 0.001', 'p = 0.031', 'p = 1')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _accuracy(found: Comparison, first: str, second: str) -> str:
    clean = found.tests[0]
    if found.within is None or len(found.tests) < 2:
        shares = f"{percent(clean.accuracy[1])} against {percent(clean.accuracy[0])}"
        if not clean.found:
            return f"No difference in accuracy is shown on {found.n} samples: {second} has {shares} ({_p(clean)})."
        return f"{second} classifies {shares} of {first} correctly ({points(clean.difference)} points, {_p(clean)})."
    robust, where = found.tests[1], under(found)
    numbers = f"{percent(robust.accuracy[0])} to {percent(robust.accuracy[1])}, {_p(robust)}"
    plain = f"{percent(clean.accuracy[0])} to {percent(clean.accuracy[1])}, {_p(clean)}"
    if not robust.found and not clean.found:
        return (
            f"From {first} to {second} no difference in accuracy is shown on {found.n} samples, neither {where}"
            f" ({numbers}) nor on unchanged ones ({plain})."
        )
    gain = (
        f"{points(robust.difference)} points of robust accuracy {where} ({numbers})"
        if robust.found
        else f"no shown difference in robust accuracy {where} ({numbers})"
    )
    price = (
        f"{points(clean.difference)} points of clean accuracy ({plain})"
        if clean.found
        else f"no shown change of clean accuracy ({plain})"
    )
    return f"From {first} to {second}: {gain}, with {price}."


def _p(test: McNemar) -> str:
    return p_text(test.p_value if test.adjusted is None else test.adjusted)


def _others(figures: list[PairedFigure], second: str, what: str) -> str:
    """What is better, what worse, and of how many of the tested figures nothing is shown."""
    if not figures:
        return f"No other figures of {what} were tested."
    shown = [one for one in figures if one.found]
    if not shown:
        return f"Of {len(figures)} tested figures of {what}, none shows a difference at {LEVEL:.0%} after correction."
    parts = []
    for outcome in ("better", "worse", "higher", "lower"):
        own = [one for one in shown if one.outcome == outcome]
        if own:
            named = sorted(own, key=lambda one: one.adjusted or 0.0)[:_MOST]
            more = f" and {len(own) - len(named)} more" if len(own) > len(named) else ""
            parts.append(f"{len(own)} {outcome} ({'; '.join(map(_change, named))}{more})")
    rest = len(figures) - len(shown)
    shares = ", ".join(parts)
    return f"Of {len(figures)} tested figures of {what}, {second} has {shares}, and {rest} without a shown difference."


def _change(figure: PairedFigure) -> str:
    one, other = figure.mean
    label = figure_label(figure)
    return f"{label[:1].lower()}{label[1:]} {one:.3g} → {other:.3g}".replace("-", "−")
