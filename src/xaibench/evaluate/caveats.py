"""What a model does that makes its own numbers doubtful."""

from __future__ import annotations

from xaibench.evaluate.batches import BATCH
from xaibench.evaluate.job import Job
from xaibench.evaluate.results import Caveat
from xaibench.types import Capability

__all__ = ["find_caveats"]


def find_caveats(job: Job) -> tuple[Caveat, ...]:
    """The reasons not to take the numbers of a run at their word."""
    return (*_randomness(job), *_vanished_gradients(job))


def _randomness(job: Job) -> tuple[Caveat, ...]:
    """Athalye et al., *Obfuscated gradients give a false sense of security* (ICML 2018), on averaging over noise."""
    model = job.model
    if Capability.DETERMINISTIC in model.capabilities:
        return ()
    reason = model.limits.get(Capability.DETERMINISTIC, "its logits vary")
    return (
        Caveat(
            what=f"The model is not deterministic: {reason}",
            meaning="Every number here may come out otherwise next time, and robust accuracy is an upper bound at best:"
            " only attacks that average over the randomness (expectation over transformation, EOT) would"
            " measure it",
        ),
    )


def _vanished_gradients(job: Job) -> tuple[Caveat, ...]:
    """Whether gradients of the loss are zero, or not even numbers, on the first samples."""
    if Capability.GRADIENTS not in job.model.capabilities or not (job.plan.attacks or job.plan.explainers):
        return ()
    rows = slice(0, min(BATCH, len(job.data)))
    x = job.inputs(rows)
    gradient = job.model.loss_gradient(x, job.data.labels[rows].to(x.device)).gradient.flatten(1)
    useless = int(((gradient == 0).all(dim=1) | ~gradient.isfinite().all(dim=1)).sum())
    if not useless:
        return ()
    return (
        Caveat(
            what=f"The gradient is zero or undefined for {useless} of the first {len(x)} samples",
            meaning="Attacks and explanations that follow gradients find nothing there: robust accuracy is an upper"
            " bound that says little, and maps may be empty",
        ),
    )
