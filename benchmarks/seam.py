"""What the seam costs: PGD-20 through a classifier against the same attack written in the model's own framework.

    python benchmarks/seam.py [--rounds 7]

Both sides of a row run in turn within one round, and the ratio is the median over rounds, so that other work on the
machine touches both alike. The limit for the convolutional net in TensorFlow is 1.15.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from xaibench import KerasClassifier, TorchClassifier
from xaibench.classifiers.bridge import to_tensorflow
from xaibench.classifiers.runtime import tensorflow
from xaibench.types import Classifier

LIMIT = 1.15
STEPS, EPSILON, STEP = 20, 8 / 255, 2 / 255


def pgd(model: Classifier, x: Tensor, y: Tensor) -> Tensor:
    low, high = (x - EPSILON).clamp(0, 1), (x + EPSILON).clamp(0, 1)
    point = x
    for _ in range(STEPS):
        gradient = model.loss_gradient(point, y).gradient
        point = (point + STEP * gradient.sign()).clamp(low, high)
    return point


def tensorflow_pgd(model: Any) -> Callable[[Any, Any], Any]:
    tf = tensorflow()

    @tf.function(reduce_retracing=True)
    def step(point: Any, low: Any, high: Any, y: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(point)
            loss = tf.keras.losses.sparse_categorical_crossentropy(y, model(point, training=False))
        return tf.clip_by_value(point + STEP * tf.sign(tape.gradient(loss, point)), low, high)

    def attack(x: Any, y: Any) -> Any:
        low, high = tf.clip_by_value(x - EPSILON, 0.0, 1.0), tf.clip_by_value(x + EPSILON, 0.0, 1.0)
        point = x
        for _ in range(STEPS):
            point = step(point, low, high, y)
        return point

    return attack


def torch_pgd(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    low, high = (x - EPSILON).clamp(0, 1), (x + EPSILON).clamp(0, 1)
    point = x
    for _ in range(STEPS):
        point = point.detach().requires_grad_()
        loss = nn.functional.cross_entropy(module(point), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, point)
        point = (point.detach() + STEP * gradient.sign()).clamp(low, high)
    return point


def keras_networks() -> dict[str, Any]:
    tensorflow()
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    convolutions: list[Any] = []
    for width in (32, 64):
        convolutions += [layers.Conv2D(width, 3, activation="relu"), layers.MaxPooling2D()]
    convolutions.append(layers.Conv2D(64, 3, activation="relu"))
    dense = [layers.Flatten(), layers.Dense(64, activation="relu"), layers.Dense(10, activation="softmax")]
    return {
        "cnn": keras.Sequential([keras.Input((32, 32, 3)), *convolutions, *dense]),
        "mlp": keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                layers.Flatten(),
                layers.Dense(512, activation="relu"),
                layers.Dense(10, activation="softmax"),
            ]
        ),
    }


def torch_network() -> nn.Module:
    torch.manual_seed(0)
    convolutions: list[nn.Module] = []
    for before, width in ((3, 32), (32, 64)):
        convolutions += [nn.Conv2d(before, width, 3), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 10)]
    module = nn.Sequential(*convolutions, *head).eval()
    return module.requires_grad_(False)


def milliseconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def compare(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> tuple[float, float, float]:
    """Median milliseconds of both, and the median ratio within a round."""
    ours(), theirs()
    pairs = [
        (milliseconds(ours), milliseconds(theirs))
        if turn % 2
        else tuple(reversed((milliseconds(theirs), milliseconds(ours))))
        for turn in range(rounds)
    ]
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
    )


def rows(rounds: int) -> dict[str, tuple[float, float, float]]:
    results = {}
    for name, network in keras_networks().items():
        model, native = KerasClassifier(network), tensorflow_pgd(network)
        shape = model.input_shape
        for n in (256, 1):
            x = torch.rand((n, *shape), generator=torch.Generator().manual_seed(1))
            y = torch.arange(n) % 10
            pair = (to_tensorflow(x.permute(0, 2, 3, 1)), to_tensorflow(y))
            results[f"keras {name}, {n} images"] = compare(
                lambda model=model, x=x, y=y: pgd(model, x, y),
                lambda native=native, pair=pair: native(*pair),
                rounds if n > 1 else 5 * rounds,
            )
    module = torch_network()
    for n in (256, 1):
        x, y = torch.rand((n, 3, 32, 32), generator=torch.Generator().manual_seed(1)), torch.arange(n) % 10
        results[f"torch cnn, {n} images"] = compare(
            lambda x=x, y=y: pgd(TorchClassifier(module), x, y),
            lambda x=x, y=y: torch_pgd(module, x, y),
            rounds if n > 1 else 5 * rounds,
        )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    results = rows(parser.parse_args().rounds)
    print(f"{'PGD-20, median ms':28}{'seam':>10}{'native':>10}{'ratio':>8}")
    for name, (ours, theirs, ratio) in results.items():
        print(f"{name:28}{ours:10.1f}{theirs:10.1f}{ratio:8.3f}")
    ratio = results["keras cnn, 256 images"][2]
    if ratio >= LIMIT:
        raise SystemExit(f"expected a ratio below {LIMIT} for the convolutional net, got {ratio:.3f}")


if __name__ == "__main__":
    main()
