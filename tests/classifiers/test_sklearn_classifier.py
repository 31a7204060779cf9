"""scikit-learn estimators as classifiers that can only be asked."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from xaibench.classifiers import SklearnClassifier
from xaibench.errors import InputError, UnsupportedError
from xaibench.types import Capability


def _data() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).random((60, 4))
    return x, np.where(x[:, 0] > 0.6, "high", np.where(x[:, 1] > 0.5, "mid", "low"))


def test_logits_are_log_probabilities() -> None:
    x, y = _data()
    estimator = LogisticRegression().fit(x, y)
    model = SklearnClassifier(estimator)
    points = torch.from_numpy(x[:7])
    assert model.class_names == ("high", "low", "mid")
    torch.testing.assert_close(model.logits(points), torch.from_numpy(estimator.predict_log_proba(x[:7])))
    names = [model.class_names[index] for index in model.predict(points).tolist()]
    assert names == estimator.predict(x[:7]).tolist()


def test_features_are_scaled_where_asked() -> None:
    x, y = _data()
    estimator = LogisticRegression().fit((x - 0.5) / 0.25, y)
    model = SklearnClassifier(estimator, mean=0.5, std=0.25)
    torch.testing.assert_close(
        model.logits(torch.from_numpy(x)), torch.from_numpy(estimator.predict_log_proba((x - 0.5) / 0.25))
    )


def test_certain_trees_have_finite_logits() -> None:
    x, y = _data()
    model = SklearnClassifier(RandomForestClassifier(3, random_state=0).fit(x, y))
    logits = model.logits(torch.from_numpy(x))
    assert bool(logits.isfinite().all())
    assert float(logits.min()) < -60


def test_what_it_lacks_it_says() -> None:
    x, y = _data()
    model = SklearnClassifier(RandomForestClassifier(3, random_state=0).fit(x, y))
    assert model.capabilities == {Capability.DETERMINISTIC}
    assert model.limits[Capability.GRADIENTS] == "a scikit-learn estimator computes no gradients"
    with pytest.raises(UnsupportedError, match="computes no gradients"):
        model.loss_gradient(torch.rand(2, 4), torch.tensor([0, 1]))
    with pytest.raises(UnsupportedError, match="runs on the CPU only"):
        model.to("meta")


def test_the_digest_is_that_of_what_was_fitted() -> None:
    x, y = _data()
    first, again, other = (
        SklearnClassifier(RandomForestClassifier(3, random_state=seed).fit(x, y)).digest for seed in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (lambda x, y: LinearSVC().fit(x, y), "expected a scikit-learn classifier with predict_proba, got LinearSVC"),
        (lambda x, y: LogisticRegression(), "expected a fitted estimator, got LogisticRegression before `fit`"),
        (
            lambda x, y: RandomForestClassifier(2).fit(x, np.stack([y, y], axis=1)),
            "expected an estimator of one label, got RandomForestClassifier with 2",
        ),
        (lambda x, y: "model.pkl", "expected a scikit-learn classifier with predict_proba, got str"),
    ],
)
def test_other_things_are_refused(estimator: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SklearnClassifier(estimator(*_data()))


def test_tasks_other_than_tables_are_refused() -> None:
    with pytest.raises(InputError, match="expected task tabular for a scikit-learn estimator, got 'image'"):
        SklearnClassifier(LogisticRegression().fit(*_data()), task="image")
