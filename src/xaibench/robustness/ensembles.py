"""Which attacks follow one another under the name of an ensemble."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xaibench.attacks import Attack, attacks
from xaibench.errors import InputError, UnsupportedError, unknown_name
from xaibench.registry import Spec
from xaibench.robustness.stage import Stage
from xaibench.robustness.verdict import Search, pursuit
from xaibench.threats import Threat
from xaibench.types import Capability, Classifier

__all__ = ["Attacks", "Stage", "ensemble_names", "stages"]

Attacks = str | Spec | Sequence[str | Spec]
"""The name of an ensemble, an attack's spec or its text, or several of these, made one after another."""

_STRANGE = "margin loss in place of DLR, which needs {needed} classes"


Ensemble = Callable[[Classifier, Threat], tuple[Stage, ...]]


def ensemble_names() -> tuple[str, ...]:
    """Names that stand for several attacks."""
    return tuple(sorted(_ENSEMBLES))


def stages(attack: Attacks, model: Classifier, threat: Threat) -> tuple[Stage, ...]:
    """The attacks to be made on a model, in order; unknown names and bad parameters raise `InputError`."""
    parts = [attack] if isinstance(attack, str | Spec) else list(attack)
    if not parts:
        raise InputError("expected at least one attack, got none")
    found: list[Stage] = []
    for part in parts:
        spec = Spec.parse(part)
        if spec.name in _ENSEMBLES:
            if spec.params:
                raise InputError(f"expected no parameters for {spec.name}, got {spec}")
            found += _ENSEMBLES[spec.name](model, threat)
        elif spec.name in attacks:
            found.append(Stage(str(spec), attacks.create(spec)))
        else:
            raise unknown_name("attack", spec.name, [*attacks.names(), *_ENSEMBLES])
    return tuple(found)


def _listed(specs: Sequence[str], classes: int) -> tuple[Stage, ...]:
    return tuple(Stage(spec, attack := attacks.create(spec), _note(spec, attack, classes)) for spec in specs)


def _note(spec: str, attack: Attack, classes: int) -> str | None:
    """In what an attack on so few classes differs from its protocol."""
    needed = {"apgd_dlr": 3, "apgd_t": 4}.get(Spec.parse(spec).name, 0)
    if classes < needed:
        return _STRANGE.format(needed=needed)
    if classes - 1 < getattr(attack, "targets", 0):
        return f"{classes - 1} targets, for there are no more wrong classes"
    return None


def _for_norms(name: str, threat: Threat) -> None:
    if threat.norm not in ("linf", "l2", "l1"):
        raise UnsupportedError(f"{name} is defined for linf, l2, l1, got a threat in {threat.norm}")


def autoattack(model: Classifier, threat: Threat) -> tuple[Stage, ...]:
    """The standard version of Croce & Hein (ICML 2020)."""
    _for_norms("autoattack", threat)
    if threat.norm == "l1":
        # Drawing back from a misclassified point takes a step of its own here, which matters in this norm alone.
        specs = ["apgd_ce:restarts=5", "apgd_t:targets=5", "fab_t:steps=200", "square"]
    else:
        specs = ["apgd_ce", "apgd_t", "fab_t", "square"]
    return _listed(specs, model.num_classes)


def autoattack_plus(model: Classifier, threat: Threat) -> tuple[Stage, ...]:
    """The version with restarts, of the same authors."""
    _for_norms("autoattack-plus", threat)
    specs = ["apgd_ce:restarts=5", "apgd_dlr:restarts=5", "fab:restarts=5", "square", "apgd_t", "fab_t"]
    return _listed(specs, model.num_classes)


def autoattack_rand(model: Classifier, threat: Threat) -> tuple[Stage, ...]:
    """The version for randomised models, of the same authors: 20 gradients are averaged in each step."""
    _for_norms("autoattack-rand", threat)
    return _listed(["apgd_ce:eot=20", "apgd_dlr:eot=20"], model.num_classes)


def verdict(model: Classifier, threat: Threat) -> tuple[Stage, ...]:
    """The strongest attacks that fit the model and the threat, cheap ones first."""
    if model.task == "text":
        return _listed(["hotflip", "character_edits", "word_insertion", "word_substitution"], model.num_classes)
    if Capability.GRADIENTS not in model.capabilities:
        return _listed(["square"], model.num_classes)
    if threat.norm == "l0":
        return _listed(["pgd:steps=40,loss=margin,restarts=3", "fmn"], model.num_classes)
    return pursuit()


def verdict_quick(model: Classifier, threat: Threat) -> tuple[Stage, ...]:
    """`verdict` without its search, for the points of a curve that are not its headline."""
    planned = verdict(model, threat)
    return tuple(stage for stage in planned if not isinstance(stage.attack, Search))


_ENSEMBLES: dict[str, Ensemble] = {
    "autoattack": autoattack,
    "autoattack-plus": autoattack_plus,
    "autoattack-rand": autoattack_rand,
    "verdict": verdict,
    "verdict-quick": verdict_quick,
}
