"""Checking a report: every claim that it makes is derived again from model, data and adversarial examples."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xaibench.checks import verdict_of
from xaibench.data import Data
from xaibench.errors import InputError, first_line
from xaibench.evaluate import Evaluation
from xaibench.evaluate.caveats import find_caveats
from xaibench.evaluate.clean import clean_logits, clean_metrics
from xaibench.evaluate.corrupted import measure_corruptions
from xaibench.evaluate.explained import explain_samples
from xaibench.evaluate.hardness import CheckOutcome, Robustness
from xaibench.evaluate.interpretability import interpret, manipulated_key, manipulated_rows, searched_radii
from xaibench.evaluate.job import Job
from xaibench.evaluate.minimal import distances_of, whole_box
from xaibench.evaluate.proofs import certainly
from xaibench.evaluate.robustness import holds
from xaibench.evaluate.run import data_info, model_info, prepared
from xaibench.evaluate.selfcheck import self_check
from xaibench.evaluate.settle import settle, threat_at
from xaibench.evaluate.shards import Shards
from xaibench.evaluate.summary import in_singular
from xaibench.evaluate.tally import Effort, measured, tally, worst_case
from xaibench.files import file_digest
from xaibench.report.claims import Claim, FalseClaimError, agree, same
from xaibench.report.page import render
from xaibench.report.schema import Report
from xaibench.threats import contains
from xaibench.types import Capability, Classifier
from xaibench.zoo import is_factory

__all__ = ["DIGITS", "Claim", "FalseClaimError", "verify"]

DIGITS = 16
"""Of the digest by which a verification tells which document it was about."""
_ROUNDING, _SMALLEST = 1e-2, 1e-5
"""How far maps made on two machines may lie apart: as a share of their largest value, and at any size."""
_FLIPPED = 0.05
"""How far means of rank correlations and overlaps may: where values are near equal, rounding decides their order."""


def verify(
    folder: Path | str, model: Classifier | None = None, data: Data | None = None, *, factory: str | None = None
) -> Iterator[Claim]:
    """Check a report's claims, group by group; the first false one raises `FalseClaimError`.

    A report comes from somebody, and runs no code that it names: where its model is a ``module:factory``, the same has
    to be given as ``factory``, or the model as ``model``.

    ``model`` and ``data`` are needed for reports on objects that were not loaded by name. What only an attack itself
    can tell (claims that it took back, notes of its stages) is covered by the digest of the document alone, and what it
    took by that of the page. Raises `InputError` where there is no report, or its model or data are not at hand.
    """
    folder = Path(folder)
    report = Report.read(folder)
    if report.schema_version != 3:
        raise InputError(f"expected a report of version 3, which holds what its claims follow from, got {folder}")
    yield Claim("document", _document(report, folder))
    case = _open(report, folder, model, data, factory)
    groups: dict[str, Callable[[], str]] = {
        "model": case.model_info,
        "data": case.data_info,
        "clean": case.clean,
        "attacks": case.attacks,
        "proofs": case.proofs,
        "robustness": case.robustness,
        "self-checks": case.self_checks,
        "distances": case.distances,
        "corruptions": case.corruptions,
        "explanations": case.explanations,
        "interpretability": case.interpretability,
        "digest": case.digests,
        "page": case.page,
    }
    with case.workspace:
        for name, check in groups.items():
            yield Claim(name, check())


def _document(report: Report, folder: Path) -> str:
    """Files as their digests say, and the document as its own does."""
    stated = report.stated
    for name in ("adversarials.safetensors", "attributions.safetensors", "index.html"):
        try:
            found = file_digest(folder / name)
        except OSError as error:
            raise FalseClaimError(f"files: {name} is stated, but {error.strerror}") from None
        same(f"digest of {name}", stated.get(name), found)
    same("digest of report.json", report.digest, report.own_digest())
    own = file_digest(folder / "report.json")[:DIGITS]
    return f"report.json, whose digest is {own}, and {len(stated)} files have the digests that are stated"


def _open(report: Report, folder: Path, model: Classifier | None, data: Data | None, factory: str | None) -> _Case:
    plan = report.plan
    given = {"model": model, "data": data}
    missing = [name for name in plan.given if given[name] is None]
    if missing:
        raise InputError(f"expected `{missing[0]}` as an object, which this report only names, got none")
    if model is None and is_factory(plan.model) and factory != plan.model:
        raise InputError(
            f"expected --model {plan.model}, since a report runs no code unless you name it, got {factory}"
        )
    classifier, rows = prepared(plan, model, data)
    try:
        agree("plan", plan.model_dump(mode="json"), settle(plan, classifier, rows).model_dump(mode="json"))
    except InputError as error:
        raise FalseClaimError(f"plan: {error}") from None
    workspace = tempfile.TemporaryDirectory(prefix="xaibench-")
    shards = Shards.open(Path(workspace.name), plan, classifier, rows)
    return _Case(report, folder, workspace, Job(plan=plan, model=classifier, data=rows, shards=shards))


@dataclass(frozen=True)
class _Case:
    """A report, and what is needed to derive its claims again."""

    report: Report
    folder: Path
    workspace: tempfile.TemporaryDirectory[str]
    job: Job

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        return _read(self.folder / "adversarials.safetensors")

    @cached_property
    def attributions(self) -> dict[str, Tensor]:
        return _read(self.folder / "attributions.safetensors")

    @cached_property
    def logits(self) -> Tensor:
        return clean_logits(self.job)

    @property
    def stated(self) -> Robustness | None:
        return self.report.results.robustness

    def model_info(self) -> str:
        found = model_info(self.report.plan, self.job.model)
        same("model.digest", self.report.model.digest, found.digest)
        agree("model", self.report.model.model_dump(mode="json"), found.model_dump(mode="json"))
        return f"{found.name} has the digest {found.digest[:12]}"

    def data_info(self) -> str:
        found, data = data_info(self.job.data), self.job.data
        same("data.digest", self.report.data.digest, found.digest)
        agree("data", self.report.data.model_dump(mode="json"), found.model_dump(mode="json"))
        for name, own in (("ids", data.ids), ("labels", data.labels), ("inputs", self.job.x)):
            if not torch.equal(self._tensor(name), own):
                raise FalseClaimError(f"{name} in adversarials.safetensors are not those of {found.name}")
        return f"{found.n} samples of {found.name} have the digest {found.digest[:12]}"

    def clean(self) -> str:
        self._predictions("predictions", self.logits.argmax(dim=1))
        found = clean_metrics(self.logits, self.job.data)
        agree("results.clean", self.report.results.clean.model_dump(mode="json"), found.model_dump(mode="json"))
        caveats = [caveat.model_dump() for caveat in find_caveats(self.job)]
        agree("results.caveats", [one.model_dump() for one in self.report.results.caveats], caveats)
        return f"{found.confusion_matrix and found.n} predictions, accuracy {found.accuracy:.4f}"

    def attacks(self) -> str:
        """Every example breaks its sample at the radius that is stated; every other row is the clean input."""
        plan, data, model = self.report.plan, self.job.data, self.job.model
        specs, total = measured(plan, self.tensors), 0
        same("attacks", [curve.attack for curve in self.stated.curves] if self.stated else [], list(specs))
        radii, correct = plan.curve or (), self.logits.argmax(dim=1) == data.labels
        for spec in specs:
            broken_at, found = self._tensor(f"broken_at/{spec}"), self._tensor(f"adversarials/{spec}")
            if not torch.equal(broken_at == 0, ~correct) or int(broken_at.max()) > len(radii):
                raise FalseClaimError(
                    f"broken_at/{spec}: a radius is stated that does not go with the clean prediction"
                )
            still = (broken_at == 0) | (broken_at == len(radii))
            if not torch.equal(found[still], self.job.x[still]):
                raise FalseClaimError(f"adversarials/{spec}: a sample that was not broken is not the clean input")
            for position in broken_at[~still].unique().tolist():
                rows = (broken_at == position).nonzero().flatten()
                threat = threat_at(plan, radii[position], model)
                held = holds(model, found[rows], self.job.x[rows], data.labels[rows], threat)
                if not bool(held.all()):
                    sample = int(data.ids[rows[~held][0]])
                    raise FalseClaimError(
                        f"adversarials/{spec}: the example for sample {sample} is not a misclassified valid input"
                        f" within {radii[position]:g}"
                    )
            self._predictions(f"predictions/{spec}", self.job.predict(found))
            total += int((~still).sum())
        return f"{total} adversarial examples are valid, near enough and misclassified as stated"

    def proofs(self) -> str:
        if self.stated is None:
            return "none stated"
        proved_at, plan = self._tensor("proved_at"), self.report.plan
        index = (plan.curve or ()).index(plan.eps or 0)
        correct = self.logits.argmax(dim=1) == self.job.data.labels
        if not torch.equal(proved_at < 0, ~correct) or not set(proved_at.tolist()) <= {-1, 0, index}:
            raise FalseClaimError("proved_at: a radius is stated that does not go with the clean prediction")
        standing = worst_case(plan, self.tensors).broken_at > index
        if bool((proved_at > 0)[~standing].any()):
            raise FalseClaimError("proved_at: a sample is stated as proved that an attack broke")
        sure = certainly(self.job, proved_at)
        if not bool(sure.all()):
            sample = int(self.job.data.ids[(~sure).nonzero()[0, 0]])
            raise FalseClaimError(f"proved_at: sample {sample} is stated as proved, and could not be proved")
        proved = self.stated.proved
        if proved and not int((proved_at > 0).sum()) <= proved.tried <= min(plan.proofs, int(standing.sum())):
            raise FalseClaimError(f"results.robustness.proved.tried: {proved.tried} cannot be")
        return f"{int((proved_at > 0).sum())} samples are proved again"

    def robustness(self) -> str:
        """Curves, tables, classes and confusion, as they follow from the examples."""
        if self.stated is None:
            return "none stated"
        found = tally(
            self.report.plan,
            self.job.model.task,
            self.job.data.class_names,
            self.tensors,
            _efforts(self.stated),
            tried=None if self.stated.proved is None else self.stated.proved.tried,
            unproved=self.stated.unproved,
        )
        apart = {"minimal", "checks"}
        agree(
            "results.robustness",
            self.stated.model_dump(mode="json", exclude=apart),
            found.model_dump(mode="json", exclude=apart),
        )
        low, high = found.bracket
        return f"robust accuracy in [{low:.4f}, {high:.4f}] at {found.eps:g}, {len(found.curves)} curves"

    def self_checks(self) -> str:
        """The cheap ones are made again; the verdict follows from all of them."""
        stated = self.stated and self.stated.checks
        if not stated:
            return "none stated"
        verdict = verdict_of([outcome.status for outcome in stated.outcomes])
        same("results.robustness.checks.verdict", stated.verdict, verdict)
        if Capability.DETERMINISTIC not in self.job.model.capabilities:
            return f"{stated.verdict}; not made again, for the model is random"
        cheap = replace(self.job, plan=self.report.plan.model_copy(update={"thorough": False}))
        found, _ = self_check(cheap, self.tensors)
        again = {one.check: one for one in found.outcomes} if found else {}
        same("self-checks", sorted(set(again) - {one.check for one in stated.outcomes}), [])
        for one in stated.outcomes:
            if one.check in again:
                agree(f"results.robustness.checks: {one.check}", _outcome(one), _outcome(again[one.check]))
        return f"{stated.verdict}, {len(again)} of {len(stated.outcomes)} made again"

    def distances(self) -> str:
        minimal = self.stated and self.stated.minimal
        if not minimal:
            return "none stated"
        rows, examples = self._tensor("minimal/rows"), self._tensor("minimal/examples")
        clean, threat = self.job.x[rows], whole_box(self.job)
        moved = (examples != clean).flatten(1).any(dim=1)
        if not bool(holds(self.job.model, examples, clean, self.job.data.labels[rows], threat)[moved].all()):
            raise FalseClaimError("minimal/examples: one of them is not a misclassified valid input")
        correct = (self.logits.argmax(dim=1) == self.job.data.labels).nonzero().flatten()
        same("minimal/rows", rows.tolist(), correct[: self.report.plan.minimal].tolist())
        found = distances_of(threat, clean, examples)
        agree("results.robustness.minimal", minimal.model_dump(mode="json"), found.model_dump(mode="json"))
        return f"{found.found} distances"

    def corruptions(self) -> str:
        stated = self.report.results.corruptions
        found, _ = measure_corruptions(self.job)
        agree("results.corruptions", stated and stated.model_dump(mode="json"), found and found.model_dump(mode="json"))
        return "none stated" if stated is None else f"accuracy on {len(stated.names)} types of corruption"

    def explanations(self) -> str:
        """Made again: predictions, maps, gaps and agreement."""
        found, values, _ = explain_samples(self.job, self.logits, self.tensors)
        stated = [sample.model_dump(mode="json") for sample in self.report.results.explanations]
        agree("results.explanations", stated, [sample.model_dump(mode="json") for sample in found])
        same("maps in attributions.safetensors", sorted(self.attributions), sorted(values))
        for key, value in values.items():
            scale = float(value.abs().max())
            own = self.attributions[key]
            if own.shape != value.shape or float((own - value).abs().max()) > _SMALLEST + _ROUNDING * scale:
                raise FalseClaimError(f"attributions.safetensors: {key} is not what its explainer gives")
        return f"{len(values)} maps of {len(found)} samples"

    def interpretability(self) -> str:
        """Inputs that move maps are classified as before and near enough; all figures are derived again."""
        stated = self.report.results.interpretability
        if stated is None:
            return "none stated"
        count = sum(self._manipulated(spec) for spec in stated.explainers if manipulated_key(spec) in self.tensors)
        found, _, _ = interpret(self.job, self.logits.argmax(dim=1), self.tensors)
        worded = {"trust": {"__all__": {"reason"}}}
        agree(
            "results.interpretability",
            stated.model_dump(mode="json", exclude=worded),
            found and found.model_dump(mode="json", exclude=worded),
            absolute=_FLIPPED,
        )
        return f"trust and agreement of {len(stated.explainers)} explainers, {count} inputs that move their maps"

    def _manipulated(self, spec: str) -> int:
        key, rows = manipulated_key(spec), manipulated_rows(self.job)
        inputs, clean, radii = self.tensors[key], self.job.x[rows], searched_radii(self.job)
        same(f"shape of {key}", tuple(inputs.shape), (len(radii), *clean.shape))
        for radius, points in zip(radii, inputs, strict=True):
            near = contains(threat_at(self.report.plan, radius, self.job.model), points, clean, self.job.model.bounds)
            alike = self.job.predict(points) == self.logits[rows].argmax(dim=1)
            if not bool((near & alike).all()):
                sample = int(self.job.data.ids[rows[~(near & alike)][0]])
                raise FalseClaimError(
                    f"{key}: the input for sample {sample} is not a valid one of the same class within {radius:g}"
                )
        return len(radii) * len(rows)

    def digests(self) -> str:
        """The digest of the results, and the sentences drawn from them."""
        report = self.report
        evaluation = Evaluation(
            plan=report.plan,
            model=report.model,
            data=report.data,
            results=report.results,
            adversarials=self.tensors,
            attributions=self.attributions,
            versions=report.versions,
            seconds=report.timings.seconds,
        )
        same("results_digest", report.results_digest, evaluation.digest)
        same("summary", in_singular(report.summary), in_singular(evaluation.summary))
        return f"the results have the digest {evaluation.digest[:12]}, the summary is what they say"

    def page(self) -> str:
        """The page is drawn again, which takes the versions that drew it."""
        from importlib.metadata import version

        drawn_by = {name: self.report.versions.get(name) for name in ("xaibench", "plotly")}
        if drawn_by != {name: version(name) for name in drawn_by}:
            return "not drawn again: it was made by other versions"
        timings = self.report.timings.model_copy(update={"page_digest": None})
        page = render(self.report.model_copy(update={"timings": timings}), self.tensors, self.attributions)
        if page != (self.folder / "index.html").read_text(encoding="utf-8"):
            raise FalseClaimError("index.html does not show what report.json says")
        return "index.html shows these numbers"

    def _tensor(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise FalseClaimError(f"adversarials.safetensors: expected {name!r}, got none")
        return self.tensors[name]

    def _predictions(self, name: str, found: Tensor) -> None:
        wrong = (self._tensor(name) != found).nonzero().flatten().tolist()
        if wrong:
            stated, row = self._tensor(name), wrong[0]
            raise FalseClaimError(
                f"{name}: sample {int(self.job.data.ids[row])} is stated as class {int(stated[row])}, got"
                f" {int(found[row])}"
            )


def _outcome(one: CheckOutcome) -> dict[str, Any]:
    return one.model_dump(mode="json", exclude={"advice"})


def _efforts(stated: Robustness) -> dict[str, list[Effort]]:
    """What cannot be found again without making the attacks."""
    rejected = {curve.attack: curve.rejected for curve in stated.curves}
    efforts = {}
    for row in stated.attacks:
        parts = [Effort(stage=one.stage, note=one.note) for one in row.stages]
        efforts[row.attack] = parts or [Effort(stage=row.attack)]
        efforts[row.attack][0].rejected = rejected.get(row.attack, 0)
    return efforts


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise FalseClaimError(f"{path.name} cannot be read: {first_line(error)}") from None
