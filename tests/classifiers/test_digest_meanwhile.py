"""A model's digest while another thread analyses the model with other values in its parameters' places."""

from __future__ import annotations

import threading

import torch
from torch import nn

from xaibench import TorchClassifier


def test_digest_waits_for_an_analysis_that_swaps_parameters() -> None:
    module = nn.Sequential(nn.Linear(4, 3))
    model = TorchClassifier(module, task="tabular", input_shape=(4,), class_names=("a", "b", "c"))
    before, own = model.digest, module[0].weight
    swapped, done = threading.Event(), threading.Event()

    def analyse() -> None:
        with model.analysis():  # as tracing does, which puts tensors without values there
            module[0]._parameters["weight"] = torch.zeros(3, 4)  # type: ignore[assignment]
            swapped.set()
            done.wait(0.3)
            module[0]._parameters["weight"] = own

    thread = threading.Thread(target=analyse)
    thread.start()
    assert swapped.wait(5)
    assert model.digest == before
    done.set()
    thread.join()
