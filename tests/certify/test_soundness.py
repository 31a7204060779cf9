"""Bounds are never wrong: nothing that is proved is broken, and no output is ever out of bounds."""

from __future__ import annotations

import pytest
import torch
from certified_nets import BUILDERS, SHAPE, randomise
from torch import Tensor

from xaibench.attacks import attacks
from xaibench.certify.bounds import NetworkBounds
from xaibench.certify.graph import network_of
from xaibench.certify.margins import network_margins
from xaibench.certify.regions import Region
from xaibench.classifiers import TorchClassifier
from xaibench.rng import SampleRng
from xaibench.threats import L1, L2, Linf, Threat

POINTS, WEIGHTS, DRAWS = 16, 18, 20
SCALE = (0.5, 1.0, 2.0, 0.3, 1.0, 1.0)
THREATS: tuple[Threat, ...] = (
    *(Linf(0.02), Linf(0.1), Linf(0.06, scale=SCALE)),
    *(L2(0.1), L2(0.5), L2(0.3, scale=SCALE)),
    *(L1(0.2), L1(1.0), L1(0.6, scale=SCALE)),
)


def candidates(threat: Threat, model: TorchClassifier, x: Tensor, y: Tensor, seed: int) -> Tensor:
    """Points (draws, n, ...) all over the region of each input: inside, on the sphere, in corners, up the gradient."""
    several = x.repeat(DRAWS, *[1] * (x.ndim - 1))
    rng = SampleRng(torch.arange(len(several)), seed=seed)
    direction = rng.normal(tuple(x.shape[1:]), 1)
    found = [threat.sample(rng, several, model.bounds)]
    found += [threat.project(several + step, several, model.bounds) for step in (10 * direction.sign(), direction**3)]
    point = x
    for _ in range(5):
        gradient = model.loss_gradient(point, y, "margin").gradient
        point = threat.project(threat.ascend(point, gradient, threat.eps, model.bounds), x, model.bounds)
        found.append(point)
    return torch.cat(found).view(-1, *x.shape)


@pytest.mark.parametrize("name", BUILDERS)
def test_nothing_proved_is_broken_and_nothing_is_out_of_bounds(name: str) -> None:
    torch.manual_seed(0)
    module = BUILDERS[name]().eval()
    model = TorchClassifier(module, input_shape=SHAPE, mean=(0.4, 0.5), std=0.5)
    x = torch.rand(POINTS, *SHAPE, generator=torch.Generator().manual_seed(1))
    x[:3] = x[:3].round()  # corners of the box
    program = model.export(x[:2])
    search = attacks.create("pgd:steps=6,loss=margin,random_start=false")
    proved, broken, tighter = 0, 0, 0
    for weights in range(WEIGHTS):
        randomise(module, weights)
        threat, network, y = THREATS[weights % len(THREATS)], network_of(program), model.predict(x)
        region = Region.of(x, threat, model.bounds)
        loose, margins = (network_margins(network, region, y, method) for method in ("interval", "crown"))
        tried = candidates(threat, model, x, y, weights)
        if weights % 8 == 0:
            tried = torch.cat([tried, search(model, x, y, threat)[None]])
        logits = model.logits(tried.flatten(0, 1)).detach().double().view(*tried.shape[:2], -1)
        least = (logits.gather(2, y.expand(len(tried), -1)[..., None]) - logits).amin(dim=0)
        assert bool((margins <= least).all())
        assert bool((loose <= margins).all())
        others = torch.arange(network.classes) != y[:, None]
        certain = ((margins > 0) | ~others).all(dim=1)
        wrong = (logits.argmax(dim=2) != y).any(dim=0)
        assert not bool((certain & wrong).any())
        proved, broken = proved + int(certain.sum()), broken + int(wrong.sum())
        tighter += int((loose < margins - 1e-6).sum())
        last = NetworkBounds(network, region, linear=True, tight=True).interval(len(network.nodes) - 1)
        assert bool(((logits >= last.low) & (logits <= last.high)).all())
    assert proved >= POINTS, "hardly anything was proved: the setting tests nothing"
    assert broken >= POINTS, "hardly anything was broken: the setting tests nothing"
    assert tighter > POINTS
