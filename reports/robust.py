"""Attacks the hardened models, and the plain ones beside them, and writes what was found to reports/robust.

Each is judged within the threat that the hardened one was trained against, by AutoAttack (texts: by HotFlip, which
exchanges words for any others) on the first 1,000 samples of its test split, or on all where there are fewer. Texts are
drawn by a seed, for that split is sorted by class. A model whose report is of its weights of today is passed over; an
attack that was interrupted goes on where it stopped. The model's card gets the result too.

    python reports/robust.py                     all models
    python reports/robust.py digits-cnn-robust   these
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Literal

from xaibench.card import Card
from xaibench.cards import write_card
from xaibench.cli.console import live_progress
from xaibench.errors import InputError
from xaibench.evaluate import Judgement, judge, load_pair
from xaibench.files import write_json
from xaibench.training.recipe import Recipe, ThreatConfig

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "reports" / "robust"
SUFFIX = "-robust"
ROWS = 1000
ATTACKS = {"image": "autoattack", "tabular": "autoattack", "text": "hotflip"}
SEEDS = {"image": None, "tabular": None, "text": 0}


def which(card: Card, n: int) -> Literal["all", "first", "drawn"]:
    """Which ``n`` rows of the test split a model is judged on."""
    if n < ROWS:
        return "all"
    return "first" if SEEDS[card.task] is None else "drawn"


def card_of(name: str) -> Card:
    """A shipped model's card."""
    return Card.read(ROOT / "models" / name / "config.json")


def threats() -> dict[str, ThreatConfig]:
    """What each model is judged within: that of the hardened one's recipe, for itself and the plain one."""
    found: dict[str, ThreatConfig] = {}
    for path in sorted((ROOT / "models").glob(f"*{SUFFIX}/config.json")):
        hardened, plain = path.parent.name, path.parent.name.removesuffix(SUFFIX)
        threat = Recipe.of(card_of(hardened).recipe, source=str(path)).threat
        if threat is None or threat != ThreatConfig(norm=threat.norm, eps=threat.eps, warmup=threat.warmup):
            raise InputError(f"expected a recipe with a threat in {path} of a norm and a radius alone, got {threat}")
        found[hardened] = threat
        if (ROOT / "models" / plain / "config.json").exists():
            found[plain] = threat
    return found


def report_of(name: str) -> Judgement | None:
    """The report of a model, if there is one."""
    path = FOLDER / f"{name}.json"
    return Judgement.read(path) if path.exists() else None


def is_current(name: str, threat: ThreatConfig) -> bool:
    """Whether a model's report was made of its weights of today, by this protocol."""
    found, card = report_of(name), card_of(name)
    rows = None if found is None else which(card, found.n)
    return found is not None and (found.rows, found.weights_digest, found.norm, found.eps, found.attack) == (
        rows,
        card.weights_digest,
        threat.norm,
        threat.eps,
        ATTACKS[card.task],
    )


def measure(name: str, threat: ThreatConfig) -> Judgement:
    """Attack a model, and write its report."""
    card = card_of(name)
    model, rows = load_pair(str(ROOT / "models" / name), n=ROWS, seed=SEEDS[card.task])
    work = ROOT / "runs" / "robust" / name
    with live_progress() as progress:
        found = judge(
            model,
            rows,
            name=name,
            attack=ATTACKS[card.task],
            norm=threat.norm,
            eps=threat.eps,
            rows=which(card, len(rows)),
            out=work,
            progress=progress,
        )
    write_json(FOLDER / f"{name}.json", found.model_dump(mode="json"))
    shutil.rmtree(work)
    return found


def state(name: str, found: Judgement) -> None:
    """Write what was found to the model's card."""
    folder = ROOT / "models" / name
    card = card_of(name).model_copy(update={"robustness": (found.summary,)})
    write_json(folder / "config.json", card.model_dump(mode="json"))
    write_card(folder)


def main() -> None:
    """Measure what is not up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = threats()
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"models; all of {', '.join(sorted(known))}")
    names = parser.parse_args().names
    if unknown := set(names) - known.keys():
        parser.error(f"expected names of hardened models and their plain ones, got {min(unknown)}")
    for name in names or known:
        found = report_of(name) if is_current(name, known[name]) else measure(name, known[name])
        assert found is not None
        state(name, found)
        low, high = found.interval
        print(f"{name}: clean {found.clean_accuracy:.1%}, robust {found.robust_accuracy:.1%} ({low:.1%} to {high:.1%})")


if __name__ == "__main__":
    main()
