"""Robust accuracy and what it costs: attacks of xaibench beside those of other libraries, on equal terms.

    python benchmarks/attacks.py [--models mnist-cnn-robust] [--n 200] [--threat linf:0.3] [--methods verdict pgd]

Everything runs in one process, on the same models and points, with as many threads; with `--repeat` the contenders take
turns, and medians are printed. Passes are counted by sample where they happen, at the network. A success counts only
where the point is in the ball and the box and misclassified, whoever reports it. Libraries that are not installed are
skipped; the reference implementation of AutoAttack is not on the package index: clone github.com/fra31/auto-attack and
name it in PYTHONPATH.

Each family is held against its first rival that ran: 10x means a tenth of its time, gradients or forward passes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle threads that spin would be charged to their neighbours
os.environ.setdefault("TQDM_DISABLE", "1")  # other libraries' progress bars

import torch
from harness.passes import Work, measured
from harness.rivals import RIVALS, STEPS, Setting, StageRow
from torch import Tensor, nn

import xaibench
from xaibench.attacks import attacks
from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.registry import Spec
from xaibench.robustness import Meter
from xaibench.threats import Threat, contains, threat
from xaibench.types import Classifier

MODELS = ("digits-cnn-robust", "mnist-cnn-robust", "cifar10-lenet-robust")
METHODS = ("verdict", "autoattack", f"pgd:steps={STEPS}")
OTHERS = ("reference", "torchattacks", "pgd")
"""All but the ensemble of ART, which runs Square five times over, one sample after another."""


@dataclass(frozen=True)
class Contender:
    """An attack by name; ``family`` says what it is compared with."""

    name: str
    family: str
    run: Callable[[Setting], Tensor]


@dataclass(frozen=True)
class Row:
    """What a contender reached on a model, and the median of what it took."""

    model: str
    threat: str
    family: str
    contender: str
    n: int
    clean_accuracy: float
    robust_accuracy: float
    invalid: int
    """Adversarials that do not count: outside the ball or the box."""
    work: Work
    stages: dict[str, StageRow]


class Normalised(nn.Module):
    """A network with its normalisation in front, as other libraries want it: inputs in input units."""

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.network((x - self.mean) / self.std)


def ours(text: str) -> Contender:
    """An attack of this library, or an ensemble of them."""
    spec = Spec.parse(text)
    if spec.name in attacks.names():
        attack = attacks.create(spec)

        def single(setting: Setting) -> Tensor:
            meter = Meter(setting.model)
            with meter.measured() as cost:
                found = attack(meter, setting.x, setting.y, setting.threat)
            broken = int((found != setting.x).flatten(1).any(dim=1).sum())
            work = Work(cost[0].seconds, forwards=cost[0].forward, gradients=cost[0].backward)
            setting.note(text, len(setting.y), broken, work)
            return found

        return Contender(f"xaibench {text}", spec.name, single)

    def run(setting: Setting) -> Tensor:
        result = xaibench.evaluate_robustness(
            setting.model,
            setting.x,
            setting.y,
            threat=setting.threat,
            attack=text,
            certify=False,  # proofs and self-checks answer other questions, which rivals do not ask
            checks=False,
        )
        for stage in result.stages:
            work = Work(stage.cost.seconds, forwards=stage.cost.forward, gradients=stage.cost.backward)
            setting.note(stage.attack, stage.attacked, stage.broken, work)
        return result.adversarials

    return Contender(f"xaibench {text}", "ensemble", run)


def rivals(norm: str, wanted: Sequence[str]) -> Iterator[Contender]:
    """What other libraries have for this norm; those that are not installed are named and skipped."""
    for rival in RIVALS:
        if not any(part in rival.name for part in wanted):
            continue
        if why := rival.missing():
            print(f"skipped {rival.name}: {why}")
        elif norm not in rival.norms:
            print(f"skipped {rival.name}: it has no {norm}")
        else:
            yield Contender(rival.name, rival.family, rival.attack)


def compare(name: str, data: Data, ball: Threat, contenders: Sequence[Contender], repeat: int) -> Iterator[Row]:
    """Rows of all contenders on one model; they take turns, so that other work on the machine touches all alike."""
    model = xaibench.load_model(name)
    correct = model.predict(data.inputs) == data.labels
    turns: dict[str, list[tuple[Setting, Tensor, Work]]] = {contender.name: [] for contender in contenders}
    for turn in range(repeat):
        for contender in contenders if turn % 2 == 0 else reversed(contenders):
            fresh = xaibench.load_model(name)
            setting = Setting(fresh, module_of(fresh), data.inputs, data.labels, ball)
            with measured(fresh.module) as work:
                found = contender.run(setting)
            if contender.name.startswith("xaibench"):
                # A frozen copy of the network answers most questions: its passes are counted where they are asked.
                work.forwards = sum(stage.work.forwards for stage in setting.stages.values())
                work.gradients = sum(stage.work.gradients for stage in setting.stages.values())
            turns[contender.name].append((setting, found, work))
    for contender in contenders:
        works = [work for _, _, work in turns[contender.name]]
        setting, found, _ = turns[contender.name][-1]
        valid = contains(ball, found, data.inputs, model.bounds)
        robust = correct & ~(valid & (model.predict(found) != data.labels))
        yield Row(
            model=name,
            threat=f"{ball.norm} {ball.eps:.4g}",
            family=contender.family,
            contender=contender.name,
            n=len(data.labels),
            clean_accuracy=float(correct.double().mean()),
            robust_accuracy=float(robust.double().mean()),
            invalid=int((~valid).sum()),
            work=Work(**{key: statistics.median(asdict(work)[key] for work in works) for key in asdict(works[0])}),
            stages=setting.stages,
        )


def module_of(model: Classifier) -> nn.Module:
    """The classifier's network as a module on inputs in input units."""
    if model.framework != "torch":
        raise SystemExit(f"expected a torch model, which all libraries take, got {model.framework}")
    card = model.card
    module = model.module if card.mean is None else Normalised(model.module, card.mean, card.std)
    return module.eval()


def trained_against(model: Classifier) -> Threat:
    """The threat that a model's recipe hardened it for."""
    params = model.card.recipe.get("objective", {}).get("params", {})
    if "eps" not in params:
        raise SystemExit(f"expected --threat for {model.card.name}, which was not trained against one")
    return threat(params.get("norm", "linf"), params["eps"])


def parsed_threat(text: str) -> Threat:
    """``norm:eps``, where eps may be a fraction: linf:8/255."""
    norm, _, eps = text.partition(":")
    above, _, below = eps.partition("/")
    try:
        return threat(norm, float(above) / float(below or 1))
    except (InputError, ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f"expected a threat such as linf:8/255, got {text!r}: {error}") from None


def table(rows: Sequence[Row]) -> str:
    """The rows of one model; ratios within each family are against its first rival."""
    first = {row.family: row.work for row in reversed(rows) if not row.contender.startswith("xaibench")}
    head = f"{rows[0].model}, {rows[0].threat}, {rows[0].n} points, clean accuracy {100 * rows[0].clean_accuracy:.2f} %"
    columns = f"{'':32}{'robust':>8}{'invalid':>8}{'wall s':>9}{'CPU s':>9}{'gradients':>11}{'forwards':>11}"
    lines = [head, f"{columns}   {'wall':>8}{'CPU':>8}{'grad.':>8}{'forw.':>8}"]
    families = [row.family for row in rows]
    for row in sorted(rows, key=lambda row: families.index(row.family)):
        work = row.work
        base = first.get(row.family, Work())
        pairs = [
            (getattr(base, key), getattr(work, key)) for key in ("seconds", "cpu_seconds", "gradients", "forwards")
        ]
        ratios = "".join(f"{f'{a / b:.2f}x' if a and b else '-':>8}" for a, b in pairs)
        lines.append(
            f"{row.contender:32}{100 * row.robust_accuracy:7.2f}%{row.invalid:8}"
            f"{work.seconds:9.2f}{work.cpu_seconds:9.2f}{work.gradients:11.0f}{work.forwards:11.0f}   {ratios}"
        )
        for name, stage in row.stages.items():
            work = stage.work
            lines.append(
                f"    {name:28}{f'{stage.broken} of {stage.points}':>16}{work.seconds:9.2f}"
                f"{'':9}{work.gradients:11.0f}{work.forwards:11.0f}"
            )
    return "\n".join(lines)


def conditions(threads: int) -> dict[str, Any]:
    """What the figures depend on, beside the code."""
    packages = ("torch", "adversarial-robustness-toolbox", "torchattacks", "foolbox")
    found = {name: version for name in packages if (version := _version(name))}
    return {"threads": threads, "machine": platform.machine(), "python": platform.python_version(), "packages": found}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, help="shipped torch models of images")
    parser.add_argument("--n", type=int, default=200, help="points of the test split")
    parser.add_argument("--threat", type=parsed_threat, help="norm:eps for all models; what each was hardened for")
    parser.add_argument("--methods", nargs="*", default=METHODS, help="attacks and ensembles of xaibench")
    parser.add_argument("--rivals", nargs="*", default=OTHERS, help="parts of the names of the rivals to run")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; medians are printed")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch, for all alike")
    parser.add_argument("--quick", action="store_true", help="the first model, 50 points, one run")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    if options.quick:
        options.models, options.n, options.repeat = options.models[:1], 50, 1
    torch.set_num_threads(options.threads)
    rows: list[Row] = []
    for name in options.models:
        try:
            model = xaibench.load_model(name)
            ball = options.threat or trained_against(model)
            data = xaibench.load_data(model.card.data.name, model.card.data.test_split, options.n)
        except InputError as error:
            print(f"skipped {name}: {error}")
            continue
        contenders = [*map(ours, options.methods), *rivals(ball.norm, options.rivals)]
        added = list(compare(name, data, ball, contenders, options.repeat))
        print(f"\n{table(added)}", flush=True)
        rows += added
    if options.json:
        figures = {"conditions": conditions(options.threads), "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
