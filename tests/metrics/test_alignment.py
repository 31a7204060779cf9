"""How far maps look like their images: closed forms and a naive loop."""

from __future__ import annotations

import math

import pytest
import torch
from metric_cases import generator
from scipy.stats import spearmanr

from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError, UnsupportedError
from xaibench.metrics import Case, InputAlignment, edge_correlation
from xaibench.metrics.alignment import edges
from xaibench.quality import assess


def test_alignment_of_a_linear_logit_is_the_distance_to_its_zero() -> None:
    """For the logit <w, x> the nearest point where it is zero lies at |<w, x>| / ||w||."""
    layer = torch.nn.Linear(5, 2, bias=False)
    x = torch.rand(4, 5, generator=generator())
    model = TorchClassifier(layer, task="tabular", bounds=(0.0, 1.0))
    found = assess(model, x, "saliency:absolute=false", "input_alignment", targets=torch.tensor([0, 1, 0, 1]))
    for row, target in enumerate((0, 1, 0, 1)):
        weight = layer.weight[target].detach()
        nearest = x[row] - weight * (x[row] @ weight) / (weight @ weight)
        assert nearest @ weight == pytest.approx(0, abs=1e-6)
        assert float(found.scores[0].values[row]) == pytest.approx(float((x[row] - nearest).norm()), rel=1e-5)


def test_alignment_does_not_depend_on_the_size_or_the_sign_of_a_map() -> None:
    x, values = (torch.rand(3, 1, 4, 4, generator=generator(seed)) - 0.2 for seed in (0, 1))

    def of(map_: torch.Tensor, bounds: object = (0.0, 1.0)) -> torch.Tensor:
        target = torch.zeros(3, dtype=torch.long)
        case = Case(x=x, values=map_, target=target, baseline=x, logits=lambda z: z, bounds=bounds)  # type: ignore[arg-type]
        return InputAlignment()(case)

    assert torch.allclose(of(values), of(-7 * values))
    assert of(torch.zeros_like(x)).isnan().all()
    assert torch.allclose(of(x), x.double().flatten(1).norm(dim=1))
    with pytest.raises(UnsupportedError, match="numbers"):
        of(values, None)


def test_edges_are_those_of_a_loop() -> None:
    x = torch.rand(2, 2, 4, 5, generator=generator(3), dtype=torch.float64)
    for row in range(2):
        for i in range(4):
            for j in range(5):
                total = 0.0
                for channel in x[row]:
                    near = [
                        [float(channel[min(max(i + a, 0), 3), min(max(j + b, 0), 4)]) for b in (-1, 0, 1)]
                        for a in (-1, 0, 1)
                    ]
                    weights = (1, 2, 1)
                    across = sum(w * (line[2] - line[0]) for w, line in zip(weights, near, strict=True))
                    down = sum(w * (near[2][k] - near[0][k]) for k, w in enumerate(weights))
                    total += across**2 + down**2
                assert float(edges(x)[row, i, j]) == pytest.approx(math.sqrt(total))
    ramp = torch.arange(6.0).expand(1, 1, 6, 6)
    assert (edges(ramp)[0, :, 1:-1] == 8).all()
    with pytest.raises(InputError, match="images"):
        edges(torch.zeros(2, 5))


def test_edge_correlation_is_that_of_scipy_over_places() -> None:
    x, values = (torch.rand(2, 3, 6, 6, generator=generator(seed)) - 0.5 for seed in (4, 5))
    found = edge_correlation(values, x)
    for row in range(2):
        wanted = spearmanr(values[row].abs().sum(dim=0).flatten(), edges(x)[row].flatten()).statistic
        assert float(found[row]) == pytest.approx(wanted)
    assert torch.allclose(edge_correlation(edges(x)[:, None], x), torch.ones(2, dtype=torch.float64))
    assert edge_correlation(torch.ones_like(x), x).isnan().all()
