"""Makes the pictures of the gallery, and the part of docs/gallery.md that shows them: `make gallery`.

Every picture comes from shipped models and their data, by the code that users call; nothing is drawn by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

import torch
from PIL.Image import Image

from xaibench import InputError, Linf, Words, load_data, load_model
from xaibench.attacks import attacks
from xaibench.corruptions import corruptions
from xaibench.data import Data
from xaibench.drawing.labels import method_label, name_label
from xaibench.drawing.pictures import delta_pixels, photo_pixels
from xaibench.evaluate import Judgement
from xaibench.explainers import compare_explainers
from xaibench.report.panels import Tile, image_panel, picture_panel, table_panel, text_panel
from xaibench.types import Classifier

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "images" / "gallery"
PAGE = ROOT / "docs" / "gallery.md"

SEVERITY = 3
EPS = 8 / 255
REVIEW = "a dull and far too long film , saved by one lovely scene and a wonderful cast"


def _sample(model: Classifier, data: Data) -> int:
    """The first row that the model gets right."""
    right = model.predict(data.inputs) == data.labels
    return int(right.nonzero()[0])


def _tiles(model: Classifier, x: torch.Tensor) -> list[Tile]:
    """What every explainer says of one input (1, ...), with its verdict."""
    found = compare_explainers(model, x)
    return [
        Tile(
            title=method_label(method),
            note=attribution.trust.verdict,
            values=attribution.values[0].cpu(),
            signed=bool((attribution.values < 0).any()),
        )
        for method, attribution in found.attributions.items()
    ]


def explained_image() -> tuple[Image, str]:
    """Every explainer on one picture of planted evidence."""
    model, data = load_model("evidence-cnn"), load_data("evidence", n=20)
    row = _sample(model, data)
    name = data.class_names[int(data.labels[row])]
    heading = (f"evidence-cnn: why {name}?", f"read as {name}")
    tiles = _tiles(model, data.inputs[row : row + 1])
    picture = image_panel(data.inputs[row], heading, tiles, (0.0, 1.0))
    return picture, f"{len(tiles)} explainers on the same picture; what decides is the planted object alone."


def explained_text() -> tuple[Image, str]:
    """The explainers of texts on one review."""
    model = load_model("imdb-cnn")
    x = model.encode([REVIEW])
    name = model.class_names[int(model.predict(x)[0])]
    words = model.tokens(x)[0]
    tiles = _tiles(model, x)
    return text_panel(words, (f"imdb-cnn: why {name}?",), tiles), f"{len(tiles)} explainers on the same review."


def explained_row() -> tuple[Image, str]:
    """The explainers of tables on one tumour."""
    model, data = load_model("cancer-mlp"), load_data("breast-cancer", n=20)
    row = _sample(model, data)
    name = data.class_names[int(data.labels[row])]
    shown = [f"{value:.4g}" for value in data.inputs[row].tolist()]
    tiles = _tiles(model, data.inputs[row : row + 1])[:6]
    features = data.feature_names or ()
    return table_panel(features, shown, (f"cancer-mlp: why {name}?",), tiles), "Six explainers on the same tumour."


def attacked_image() -> tuple[Image, str]:
    """Every attack on one picture: what it made of it, and the change, magnified."""
    model, data = load_model("cifar10-cnn"), load_data("cifar10", n=20)
    row = _sample(model, data)
    x, y = data.inputs[row : row + 1], data.labels[row : row + 1]
    cells = [("Input", data.class_names[int(y)], photo_pixels(x[0], (0.0, 1.0)))]
    cells += [("the change, magnified", "none", delta_pixels(torch.zeros_like(x[0])))]
    tried = broke = 0
    for name in attacks:
        try:
            adversarial = attacks.create(name)(model, x, y, Linf(EPS), seed=0)
        except InputError:  # of another norm, or for other data
            continue
        tried += 1
        prediction = int(model.predict(adversarial))
        if prediction == int(y):
            continue
        broke += 1
        delta = adversarial[0] - x[0]
        note = f"read as {data.class_names[prediction]}"
        cells += [(method_label(name), note, photo_pixels(adversarial[0], (0.0, 1.0)))]
        cells += [("the change, magnified", f"largest {255 * float(delta.abs().max()):.1f}/255", delta_pixels(delta))]
    picture = picture_panel((f"cifar10-cnn within 8/255 of each colour: {broke} of {tried} attacks succeed",), cells)
    return picture, f"Of {tried} attacks on one picture in L∞, the {broke} that succeed within 8/255, each by itself."


def corrupted_image() -> tuple[Image, str]:
    """Every corruption of one picture."""
    model, data = load_model("cifar10-cnn"), load_data("cifar10", n=20)
    row = _sample(model, data)
    x = data.inputs[row : row + 1]
    cells = [("Input", f"read as {data.class_names[int(model.predict(x))]}", photo_pixels(x[0], (0.0, 1.0)))]
    for name in corruptions:
        changed = corruptions.create(f"{name}:severity={SEVERITY}")(x, seed=0)
        note = f"read as {data.class_names[int(model.predict(changed))]}"
        cells.append((name_label(name), note, photo_pixels(changed[0], (0.0, 1.0))))
    return picture_panel((f"cifar10-cnn: severity {SEVERITY} of 5",), cells), "All corruptions of one picture."


def attacked_text() -> str:
    """A review before and after its attack, as HTML."""
    model = load_model("imdb-cnn")
    x = model.encode([REVIEW])
    y = model.predict(x)
    adversarial = attacks.create("word_substitution")(model, x, y, Words(3), seed=0)
    before, after = (model.tokens(one)[0] for one in (x, adversarial))
    pairs = zip(before, after, strict=True)
    shown = " ".join(
        escape(one) if one == other else f"<del>{escape(one)}</del> <ins>{escape(other)}</ins>"
        for one, other in pairs
        if one or other
    )
    names = [model.class_names[int(model.predict(one)[0])] for one in (x, adversarial)]
    return f"<p>{shown}</p>\n\nimdb-cnn read it as {names[0]}, and then as {names[1]}."


def hardened() -> str:
    """What hardening wins and costs, for every pair of a plain and a hardened model, as an SVG."""
    folder = ROOT / "reports" / "robust"
    pairs = [
        (path.stem.removesuffix("-robust"), Judgement.read(folder / f"{path.stem.removesuffix('-robust')}.json"), found)
        for path in sorted(folder.glob("*-robust.json"))
        if (folder / f"{path.stem.removesuffix('-robust')}.json").exists()
        for found in [Judgement.read(path)]
    ]
    return "\n".join(_chart(pairs))


def _chart(pairs: list[tuple[str, Judgement, Judgement]]) -> Iterator[str]:
    left, width, step = 110, 430, 56
    height = 40 + step * len(pairs)
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {height}" font-family="sans-serif" font-size="12">'
    yield f'<rect width="720" height="{height}" fill="white"/><text x="{left}" y="20">'
    yield '<tspan fill="#9aa3ad">■</tspan> right on clean inputs, <tspan fill="#124e96">■</tspan> and not broken within'
    yield "the hardened model's threat</text>"
    for place, (name, plain, hard) in enumerate(pairs):
        up = 34 + step * place
        yield f'<text x="{left - 8}" y="{up + 22}" text-anchor="end">{escape(name)}</text>'
        for line, (kind, one) in enumerate((("plain", plain), ("hardened", hard))):
            y = up + 20 * line
            clean, robust = width * one.clean_accuracy, width * one.robust_accuracy
            yield f'<rect x="{left}" y="{y}" width="{clean:.1f}" height="16" fill="#9aa3ad"/>'
            yield f'<rect x="{left}" y="{y}" width="{robust:.1f}" height="16" fill="#124e96"/>'
            label = f"{kind}: {one.clean_accuracy:.1%}, {one.robust_accuracy:.1%}"
            yield f'<text x="{left + clean + 6:.1f}" y="{y + 12}">{label}</text>'
    yield "</svg>"


PICTURES: tuple[tuple[str, str, Callable[[], tuple[Image, str]]], ...] = (
    ("explainers", "Every explainer on one picture", explained_image),
    ("explainers-text", "The same for a text", explained_text),
    ("explainers-table", "The same for a row of a table", explained_row),
    ("attacks", "Every attack on one picture", attacked_image),
    ("corruptions", "Every corruption of one picture", corrupted_image),
)


def main() -> None:
    """Write all pictures, and the generated part of the page."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    parts = []
    for name, title, make in PICTURES:
        picture, caption = make()
        picture.save(FOLDER / f"{name}.webp", quality=80, method=6)
        parts.append(f"## {title}\n\n![{caption}](images/gallery/{name}.webp)\n\n{caption}")
    parts.append(f"## A text under attack\n\nBy `word_substitution`, within 3 words:\n\n{attacked_text()}")
    (FOLDER / "hardening.svg").write_text(hardened() + "\n", encoding="utf-8")
    caption = "Accuracy of plain and hardened models, clean and under attack"
    parts.append(f"## What hardening wins and costs\n\n![{caption}](images/gallery/hardening.svg)\n\n{caption}.")
    body = "<!-- gallery -->\n" + "\n\n".join(parts) + "\n<!-- /gallery -->"
    text = re.sub("<!-- gallery -->.*?<!-- /gallery -->", lambda _: body, PAGE.read_text("utf-8"), flags=re.DOTALL)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
