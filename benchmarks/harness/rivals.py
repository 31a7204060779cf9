"""Other libraries' attacks behind one signature; each needs its package, and none is required."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from harness.passes import Work, measured
from xaibench.threats import Threat
from xaibench.types import Classifier

__all__ = ["RIVALS", "STEPS", "Rival", "Setting", "StageRow"]

STEPS = 40
STEP_SIZE = 2.5 / STEPS
BATCH = 250


@dataclass(frozen=True)
class StageRow:
    """A part of an ensemble: the points it was given, those it broke, and what that took."""

    points: int
    broken: int
    work: Work


@dataclass
class Setting:
    """What is attacked: a classifier, its module on inputs in [0, 1], points with their classes, a threat model."""

    model: Classifier
    module: nn.Module
    x: Tensor
    y: Tensor
    threat: Threat
    stages: dict[str, StageRow] = field(default_factory=dict)
    """What a run says of its parts, by name."""

    def note(self, name: str, points: int, broken: int, work: Work) -> None:
        """Add a part, or what a further batch brought to it."""
        before = self.stages.get(name, StageRow(0, 0, Work()))
        self.stages[name] = StageRow(before.points + points, before.broken + broken, before.work + work)


@dataclass(frozen=True)
class Rival:
    """An attack of another library; ``family`` says what it is compared with."""

    name: str
    family: str
    package: str
    norms: tuple[str, ...]
    attack: Callable[[Setting], Tensor]

    def missing(self) -> str | None:
        """Why it cannot run here, if it cannot."""
        try:
            importlib.import_module(self.package)
        except ImportError as error:
            return str(error).splitlines()[0]
        return None


def reference(setting: Setting) -> Tensor:
    """The standard version of AutoAttack's authors: github.com/fra31/auto-attack."""
    from autoattack import AutoAttack

    norm = {"linf": "Linf", "l2": "L2", "l1": "L1"}[setting.threat.norm]
    suite = AutoAttack(
        setting.module, norm=norm, eps=setting.threat.eps, version="standard", device="cpu", verbose=False, seed=0
    )
    for name in ("apgd", "apgd_targeted", "fab", "square"):
        part = getattr(suite, name)
        part.perturb = _timed(part.perturb, setting, name)
    return suite.run_standard_evaluation(setting.x, setting.y, bs=BATCH)


def _timed(perturb: Callable[..., Tensor], setting: Setting, name: str) -> Callable[..., Tensor]:
    def run(x: Tensor, y: Tensor) -> Tensor:
        with measured(setting.model.module) as work:
            result = perturb(x, y)
        with torch.no_grad():
            broken = int((setting.module(result).argmax(1) != y).sum())
        setting.note(name, len(x), broken, work)
        return result

    return run


def torchattacks_autoattack(setting: Setting) -> Tensor:
    """The same ensemble as torchattacks has it: its APGD and FAB take 10 steps, the authors' 100."""
    import torchattacks

    norm = {"linf": "Linf", "l2": "L2"}[setting.threat.norm]
    attack = torchattacks.AutoAttack(setting.module, norm=norm, eps=setting.threat.eps, n_classes=_classes(setting))
    return _in_batches(setting, attack)


def torchattacks_pgd(setting: Setting) -> Tensor:
    """PGD with a random start."""
    import torchattacks

    eps = setting.threat.eps
    kind = {"linf": torchattacks.PGD, "l2": torchattacks.PGDL2}[setting.threat.norm]
    return _in_batches(setting, kind(setting.module, eps=eps, alpha=eps * STEP_SIZE, steps=STEPS, random_start=True))


def foolbox_pgd(setting: Setting) -> Tensor:
    """PGD with a random start."""
    import foolbox

    kind = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[setting.threat.norm]
    attack = kind(rel_stepsize=STEP_SIZE, steps=STEPS, random_start=True)
    model = foolbox.PyTorchModel(setting.module, bounds=(0, 1), device="cpu")
    return _in_batches(setting, lambda x, y: attack(model, x, y, epsilons=setting.threat.eps)[1])


def art_pgd(setting: Setting) -> Tensor:
    """PGD with a random start."""
    from art.attacks.evasion import ProjectedGradientDescentPyTorch

    attack = ProjectedGradientDescentPyTorch(
        _art_model(setting),
        norm={"linf": "inf", "l2": 2}[setting.threat.norm],
        eps=setting.threat.eps,
        eps_step=setting.threat.eps * STEP_SIZE,
        max_iter=STEPS,
        num_random_init=1,
        batch_size=BATCH,
        verbose=False,
    )
    return torch.from_numpy(attack.generate(setting.x.numpy(), setting.y.numpy()))


def art_autoattack(setting: Setting) -> Tensor:
    """What the adversarial robustness toolbox calls AutoAttack: APGD by two losses, DeepFool and Square."""
    from art.attacks.evasion import AutoAttack

    attack = AutoAttack(
        _art_model(setting),
        norm={"linf": "inf", "l2": 2}[setting.threat.norm],
        eps=setting.threat.eps,
        eps_step=2 * setting.threat.eps,
        batch_size=BATCH,
    )
    return torch.from_numpy(attack.generate(setting.x.numpy(), setting.y.numpy()))


def _art_model(setting: Setting) -> object:
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        setting.module,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(setting.x.shape[1:]),
        nb_classes=_classes(setting),
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


def _classes(setting: Setting) -> int:
    with torch.no_grad():
        return setting.module(setting.x[:1]).shape[1]


def _in_batches(setting: Setting, attack: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    pairs = zip(setting.x.split(BATCH), setting.y.split(BATCH), strict=True)
    return torch.cat([attack(x, y) for x, y in pairs])


RIVALS = (
    Rival("reference autoattack", "ensemble", "autoattack", ("linf", "l2", "l1"), reference),
    Rival("torchattacks autoattack", "ensemble", "torchattacks", ("linf", "l2"), torchattacks_autoattack),
    Rival("art autoattack", "ensemble", "art", ("linf", "l2"), art_autoattack),
    Rival("torchattacks pgd", "pgd", "torchattacks", ("linf", "l2"), torchattacks_pgd),
    Rival("foolbox pgd", "pgd", "foolbox", ("linf", "l2"), foolbox_pgd),
    Rival("art pgd", "pgd", "art", ("linf", "l2"), art_pgd),
)
