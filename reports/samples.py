"""Makes the sample reports that are kept with the code: of images, a table and texts, a comparison, a leaderboard.

What is up to date is drawn again and no more; what is not is measured, some minutes for all.

    make samples
"""

from __future__ import annotations

from pathlib import Path

from xaibench.cli.console import live_progress, say
from xaibench.comparison import Comparison, Sizes, compare_names, write_comparison
from xaibench.evaluate import Plan
from xaibench.report.several import run_several

HOME = Path(__file__).resolve().parent
PLANS = {
    name: Plan(model=name, **sizes)
    for name, sizes in {
        "digits-cnn": {},
        "digits-cnn-robust": {},
        "cancer-mlp": {},
        "imdb-cnn": {"n": 60, "samples": 3},
    }.items()
}
"""What is reported on: so few texts that the folder stays small."""
PAIR = ("digits-cnn", "digits-cnn-robust")
SIZES = Sizes(samples=4)


def compare() -> Path:
    """The comparison of the plain and the hardened model, from their reports."""
    first, second = (str(HOME / name) for name in PAIR)
    folder = HOME / "digits-cnn-hardened"
    with live_progress() as progress:
        view = compare_names(first, second, PLANS[PAIR[0]], sizes=SIZES, folder=folder, progress=progress)
    assert isinstance(view.comparison, Comparison)
    return write_comparison(view, folder)


def main() -> int:
    """Make them all."""
    with live_progress() as progress:
        board, page = run_several(PLANS, HOME, progress=progress)
    for failure in board.failures:
        say(f"{failure.name}: {failure.reason}")
    print(page)
    if not board.failures:
        print(compare())
    return 1 if board.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
