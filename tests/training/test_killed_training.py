"""Trainings that the system kills in the middle of an epoch, and that go on to the same weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from xaibench.training import Recipe, train
from xaibench.zoo import load_model

ARCHITECTURES = {
    "torch": {"name": "small_cnn", "params": {"width": 4, "hidden": 16}},
    "keras": {"name": "keras_mlp", "params": {"hidden": [16], "dropout": 0.3}},
}
CODE = (
    "import sys, json; from xaibench.training import Recipe, train\n"
    "train(Recipe.of(json.load(open(sys.argv[1]))), out=sys.argv[2])"
)


@pytest.mark.parametrize(("framework", "objective"), [("torch", "free"), ("keras", "n_fgsm"), ("torch", "trades")])
def test_a_killed_adversarial_training_resumes_to_the_same_weights(
    framework: str, objective: str, tmp_path: Path
) -> None:
    values: dict[str, Any] = {
        "name": "tiny",
        "data": "digits",
        "architecture": ARCHITECTURES[framework],
        "objective": {"name": objective},
        "threat": {"norm": "linf", "eps": 0.05},
        "probe": {"attack": "fgsm", "samples": 30},
        "epochs": 6,
        "batch_size": 256,
        "ema": 0.9,
        "checkpoint_seconds": 0,
    }
    plan, out = Recipe.of(values), tmp_path / "broken"
    (tmp_path / "plan.json").write_text(plan.model_dump_json(exclude_unset=True))
    process = subprocess.Popen([sys.executable, "-c", CODE, str(tmp_path / "plan.json"), str(out)])
    checkpoint = out / ".training" / "checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the training ended before it could be killed"
    train(plan, out=out, resume=True)
    assert load_model(out).digest == load_model(train(plan, out=tmp_path / "whole")).digest
    assert len((out / "log.jsonl").read_text().splitlines()) == 6 * 5 + 6
