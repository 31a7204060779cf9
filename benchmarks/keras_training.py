"""Adversarial training of a Keras model: images per second beside the same loop written in plain TensorFlow.

    python benchmarks/keras_training.py [--batch 128] [--steps 10] [--rounds 5]

Both train the same network by PGD-AT with SGD and momentum, on the same batches; the plain loop is one `tf.function`
for a whole step, attack included. They take turns in one process, which keeps freed memory as `train` does, and medians
are printed, by the clock and by the processor's time, which other work on the machine disturbs less; a ratio above 1
says that xaibench is slower.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from xaibench.architectures import architectures
from xaibench.registry import Spec
from xaibench.threats import Linf
from xaibench.training.keras_learner import KerasLearner
from xaibench.training.learner import Normalisation
from xaibench.training.memory import kept_memory
from xaibench.training.objectives import PGDTraining
from xaibench.training.recipe import Recipe

EPS, RATE, MOMENTUM = 0.1, 0.01, 0.9
NETWORKS = {
    "mlp": ("keras_mlp", {"input_shape": (1, 28, 28), "classes": 10, "hidden": (512,), "dropout": 0.0}),
    "cnn": ("keras_cnn", {"input_shape": (1, 28, 28), "classes": 10, "widths": (16, 32), "hidden": 64}),
}


def network(name: str) -> Any:
    """A fresh Keras model."""
    architecture, params = NETWORKS[name]
    return architectures.create(Spec(architecture, params)).build()


def plain(model: Any, attack_steps: int) -> Callable[[Any, Any], Any]:
    """The textbook loop: random start, signed gradient steps, projection, a step of the optimiser."""
    import keras
    import tensorflow as tf

    optimizer = keras.optimizers.SGD(RATE, momentum=MOMENTUM)
    optimizer.build(model.trainable_variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy()
    size = EPS * 2.5 / attack_steps

    @tf.function  # type: ignore[untyped-decorator]
    def step(x: Any, y: Any) -> Any:
        point = tf.clip_by_value(x + tf.random.uniform(tf.shape(x), -EPS, EPS), 0.0, 1.0)
        for _ in range(attack_steps):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(point)
                loss = loss_of(y, model(point, training=False))
            point = point + size * tf.sign(tape.gradient(loss, point))
            point = tf.clip_by_value(tf.clip_by_value(point, x - EPS, x + EPS), 0.0, 1.0)
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(point, training=True))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return step


def ours(model: Any, attack_steps: int) -> Callable[[torch.Tensor, torch.Tensor], object]:
    """A step of the library's learner."""
    recipe = Recipe.of(
        {
            "name": "bench",
            "data": "mnist",
            "architecture": {"name": "keras_mlp"},
            "optimizer": {"name": "sgd", "learning_rate": RATE, "momentum": MOMENTUM},
        }
    )
    learner = KerasLearner(model, recipe, Normalisation())
    objective, threat = PGDTraining(steps=attack_steps), Linf(EPS)
    return lambda x, y: learner.step([(x, y)], objective, rate=RATE, seed=0, threat=threat)


def main() -> None:
    """Time both in turns and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10, help="attack steps")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of five batches each")
    args = parser.parse_args()
    x, y = torch.rand(args.batch, 1, 28, 28), torch.arange(args.batch) % 10
    for name in args.networks:
        contenders = {
            "xaibench": (ours(network(name), args.steps), (x, y)),
            "plain TensorFlow": (
                plain(network(name), args.steps),
                (x.permute(0, 2, 3, 1).contiguous().numpy(), y.numpy()),
            ),
        }
        seconds: dict[str, list[float]] = {contender: [] for contender in contenders}
        busy: dict[str, list[float]] = {contender: [] for contender in contenders}
        with kept_memory():
            for turn in range(args.rounds + 1):
                for contender, (step, batch) in contenders.items():
                    start, begun = time.perf_counter(), time.process_time()
                    for _ in range(5):
                        step(*batch)
                    if turn:  # the first round traces
                        seconds[contender].append((time.perf_counter() - start) / 5)
                        busy[contender].append((time.process_time() - begun) / 5)
        medians = {contender: statistics.median(found) for contender, found in seconds.items()}
        ratio = medians["xaibench"] / medians["plain TensorFlow"]
        work = {contender: 1000 * statistics.median(found) for contender, found in busy.items()}
        rates = ", ".join(f"{contender} {args.batch / median:.0f} images/s" for contender, median in medians.items())
        print(
            f"{name}: {rates}; ratio {ratio:.2f}; processor's ms a step {work['xaibench']:.1f} and "
            f"{work['plain TensorFlow']:.1f}, ratio {work['xaibench'] / work['plain TensorFlow']:.2f}"
        )


if __name__ == "__main__":
    main()
