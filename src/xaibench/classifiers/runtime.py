"""Importing TensorFlow and Keras once, quietly, and only when a model needs them."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xaibench.errors import InputError

__all__ = ["tensorflow"]


@functools.cache
def tensorflow() -> Any:
    """The `tensorflow` module, with Keras on its TensorFlow backend.

    Thread counts follow ``OMP_NUM_THREADS`` and ``TF_NUM_INTRAOP_THREADS``; memory of accelerators is taken as it is
    needed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if "OMP_NUM_THREADS" in os.environ:
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", os.environ["OMP_NUM_THREADS"])
    if os.environ.setdefault("KERAS_BACKEND", "tensorflow") != "tensorflow":
        raise InputError(f"expected KERAS_BACKEND=tensorflow, got {os.environ['KERAS_BACKEND']!r}")
    with _quiet():
        import keras
        import tensorflow as tf

    tf.get_logger().setLevel(logging.ERROR)
    if keras.backend.backend() != "tensorflow":
        raise InputError(f"expected Keras on its TensorFlow backend, got {keras.backend.backend()!r}")
    return tf


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on standard error: TensorFlow's libraries greet there before their log level can be set."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
