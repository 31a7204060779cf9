"""A panel of explanations and what it costs: explainers of xaibench beside those of Captum and SHAP, on equal terms.

    python benchmarks/explainers.py [--cases image-1 image-64 text-1 table-1] [--rounds 3] [--json FILE]

Everything runs in one process on shipped models, contenders in turn, with equal settings: steps, samples, windows,
groups, and one baseline. Times are medians over rounds, of processor time, which is that of the wall clock where one
thread runs and nothing else does; a first round warms up and does not count. Peak memory is what a fresh copy of the
process needs on top for one run. Shapley values are also held at equal error, against our better sampler: a squared
error falls with the time spent, so time x error squared is what any given error costs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle threads that spin would be charged to their neighbours

import torch
from harness.attribution_rivals import RIVALS, Setting
from torch import Tensor, nn

import xaibench
from xaibench.errors import UnsupportedError
from xaibench.explainers import explainers
from xaibench.explainers.baselines import baseline_inputs
from xaibench.registry import Spec
from xaibench.types import Classifier

CASES = ("image-1", "image-64", "text-1", "table-1")
TEXT = (
    "The first half of this film is slow and the dialogue is wooden , but the last act , when the two sisters finally"
    " meet in the empty theatre , is one of the most moving scenes that I have seen in years , and the score is lovely"
)
GROUPED = ("feature_ablation", "lime", "shapley", "kernel_shap")


@dataclass(frozen=True)
class Row:
    """What a contender took in one case."""

    case: str
    family: str
    contender: str
    seconds: float
    peak_mib: float
    error: float | None
    """Root mean square error of Shapley values against a long run, relative to their size."""


class InInputUnits(nn.Module):
    """A network with its normalisation in front, as other libraries want it."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.network = model.module  # type: ignore[attr-defined]
        card = model.card
        trailing = (1,) * (len(model.input_shape or ()) - 1)
        self.register_buffer("mean", torch.tensor((card and card.mean) or (0.0,)).view(-1, *trailing))
        self.register_buffer("std", torch.tensor((card and card.std) or (1.0,)).view(-1, *trailing))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.network((x - self.mean) / self.std)


def case(name: str) -> tuple[Classifier, Setting]:
    """A shipped model and inputs for it."""
    kind, _, count = name.partition("-")
    n = int(count)
    embedding = layer = None
    if kind == "text":
        model = xaibench.load_model("imdb-transformer")
        x = model.encode([TEXT] * n)
        module: nn.Module = model.module  # type: ignore[attr-defined]
        embedding, players = module.embedding, torch.arange(x.shape[1])[None]
        words = int((x[0] != 0).sum())
        players = (players - int((x[0] != 0).nonzero()[0])).clamp(0, words - 1)
    elif kind == "table":
        model = xaibench.load_model("cancer-mlp")
        x = xaibench.load_data("breast-cancer", n=n).inputs
        module, players = InInputUnits(model), torch.arange(x.shape[1])[None]
    else:
        model = xaibench.load_model("cifar10-lenet")
        x = torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(0))  # times do not depend on what is seen
        module = InInputUnits(model)
        layer, side = module.network.conv2, torch.arange(32) // 4
        players = (side[:, None] * 8 + side)[None, None]
    module.eval()
    baseline = baseline_inputs("auto", model, x)
    task = {"table": "tabular"}.get(kind, kind)
    background = torch.cat([baseline[:1], x.roll(1, dims=-1)[:15]])
    return model, Setting(task, module, x, model.predict(x), baseline, players, background, embedding, layer)


def ours(family: str, setting: Setting) -> Spec:
    """The same method here, with the settings that the rivals have."""
    groups = {"players": setting.players} if family in GROUPED else {}
    evaluations = 25 * (int(setting.players.max()) + 1)
    settings: dict[str, dict[str, Any]] = {
        "integrated_gradients": {"steps": 50, "max_steps": 50},
        "smoothgrad": {"samples": 26},
        "expected_gradients": {"samples": 32, "background": setting.background},
        "occlusion": {"window": 4, "stride": 2},
        "lime": {"samples": 1000},
        "shapley": {"budget": evaluations, "tolerance": 0.0},
        "kernel_shap": {"budget": 1000, "tolerance": 0.0},
    }
    name = "shapley_sampling" if family == "shapley" else family
    return Spec(name, {**settings.get(family, {}), **groups})


def contenders(model: Classifier, setting: Setting) -> Iterator[tuple[str, str, Callable[[], Tensor]]]:
    """Family, name and run of all that apply; one sample after another where a library takes no batch."""
    for family in dict.fromkeys(rival.family for rival in RIVALS if setting.task in rival.tasks):
        explainer = explainers.create(ours(family, setting))
        yield family, "xaibench", lambda explainer=explainer: explainer(model, setting.x, setting.target).values
        for rival in RIVALS:
            if rival.family == family and setting.task in rival.tasks:
                yield family, rival.name, lambda rival=rival: rival.run(setting)


def measure(name: str, rounds: int) -> list[Row]:
    """All contenders of a case."""
    model, setting = case(name)
    runs = []
    for family, contender, run in contenders(model, setting):
        try:
            values = run()
        except (UnsupportedError, NotImplementedError, AssertionError, TypeError, RuntimeError, ValueError) as error:
            print(f"  {name} {contender} ({family}) fails: {type(error).__name__}: {str(error).splitlines()[0][:100]}")
            continue
        runs.append((family, contender, run, values))
    times: dict[tuple[str, str], list[float]] = {}
    for turn in range(rounds):
        print(f"  {name}: round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
        for family, contender, run, _ in runs:
            started = time.process_time()
            run()
            times.setdefault((family, contender), []).append(time.process_time() - started)
    truth = _long_run(model, setting)
    return [
        Row(
            case=name,
            family=family,
            contender=contender,
            seconds=statistics.median(times[family, contender]),
            peak_mib=_peak(run),
            error=_error(values, truth) if family in ("shapley", "kernel_shap") else None,
        )
        for family, contender, run, values in runs
    ]


def _long_run(model: Classifier, setting: Setting) -> Tensor:
    """Shapley values nearly without error."""
    budget = 500 * (int(setting.players.max()) + 1)
    explainer = explainers.create(
        Spec("shapley_sampling", {"players": setting.players, "budget": budget, "tolerance": 0.0})
    )
    return explainer(model, setting.x[:4], setting.target[:4], seed=1).values


def _error(values: Tensor, truth: Tensor) -> float:
    some = values[: len(truth)].double()
    return float((some - truth.double()).square().mean().sqrt() / truth.double().square().mean().sqrt())


def _peak(run: Callable[[], Tensor]) -> float:
    """MiB that a forked child needs on top of what it starts with."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run()
        os.write(writer, str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return float(answer or "nan") / 1024


def _effort(row: Row) -> float:
    """What it costs to reach an error of one."""
    return row.seconds * (row.error or 0.0) ** 2


def report(rows: Sequence[Row]) -> None:
    """Each case as a table, each rival beside ours, and the panels in all."""
    for name in dict.fromkeys(row.case for row in rows):
        mine = {row.family: row for row in rows if row.case == name and row.contender == "xaibench"}
        print(f"\n{name}\n{'':34}{'ms':>9}{'ours':>9}{'times':>8}{'MiB':>8}{'ours':>8}  error at equal error")
        best = min((_effort(row) for row in mine.values() if row.error is not None), default=1.0)
        theirs = {"captum": 0.0, "shap": 0.0}
        own = dict(theirs)
        for row in rows:
            if row.case != name or row.contender == "xaibench" or row.family not in mine:
                continue
            own_row, library = mine[row.family], row.contender.split()[0]
            theirs[library] += row.seconds
            own[library] += own_row.seconds
            equal = "" if row.error is None else f"{row.error:7.3f}{_effort(row) / best:7.1f}x"
            print(
                f"{row.contender:34}{1e3 * row.seconds:9.1f}{1e3 * own_row.seconds:9.1f}"
                f"{row.seconds / own_row.seconds:7.1f}x{row.peak_mib:8.0f}{own_row.peak_mib:8.0f}{equal}"
            )
        for row in mine.values():
            if row.error is not None:
                print(
                    f"{'xaibench ' + row.family:34}{1e3 * row.seconds:9.1f}{'':33}{row.error:7.3f}"
                    f"{_effort(row) / best:7.1f}x"
                )
        for library, total in theirs.items():
            if total:
                print(
                    f"{'all of ' + library:34}{1e3 * total:9.1f}{1e3 * own[library]:9.1f}{total / own[library]:7.1f}x"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for the rows")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    warnings.simplefilter("ignore")
    rows = [row for name in chosen.cases for row in measure(name, chosen.rounds)]
    report(rows)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
