"""Foolbox's attacks against closed forms on linear models, and against Foolbox itself called by hand."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from factories import Gradientless
from scipy import ndimage, special
from small_models import TABLE, inputs_for, linear, table_mlp, torch_cnn
from torch import Tensor, nn

from xaibench.attacks import attacks
from xaibench.attacks.foolbox.frame import FoolboxAttack
from xaibench.classifiers import ExportedClassifier, TorchClassifier
from xaibench.errors import InputError, UnsupportedError
from xaibench.registry import Spec
from xaibench.rng import SampleRng
from xaibench.threats import L0, L1, L2, Linf, Threat, feature_scale, threat
from xaibench.types import Bounds, Capability, Classifier

D = 12
NAMES = [name for name in attacks if issubclass(attacks.get(name), FoolboxAttack)]
LARGEST = {"l0": D, "l1": D / 2, "l2": math.sqrt(D) / 2, "linf": 0.5}


def _task(n: int = 40, away: float = 0.1) -> tuple[Classifier, Tensor, Tensor, Tensor, Tensor]:
    """Two classes apart by a plane, inputs well inside the box, their labels, the slope and height of each margin."""
    generator = torch.Generator().manual_seed(1)
    slope = torch.randn(D, generator=generator)
    model = linear(torch.stack([torch.zeros(D), slope]), torch.stack([torch.tensor(0.0), -slope.sum() / 2]))
    x = 0.45 + 0.1 * torch.rand(n, D, generator=generator)
    side = torch.where((x - 0.5) @ slope > 0, 1.0, -1.0)[:, None]
    x = x + away * side * slope / slope.norm()
    y = model.predict(x)
    return model, x, y, torch.where(y[:, None] == 1, slope, -slope), ((x - 0.5) @ slope).abs()


def _shortest(norm: str, slope: Tensor, height: Tensor, x: Tensor) -> Tensor:
    """Distances (n,) to the plane."""
    if norm == "l0":
        gain = (slope.abs() * torch.where(slope > 0, x, 1 - x)).sort(dim=1, descending=True).values.cumsum(dim=1)
        return (gain <= height[:, None]).sum(dim=1) + 1.0
    dual = {"l1": math.inf, "l2": 2, "linf": 1}[norm]
    return height / slope.norm(p=dual, dim=1)


def _broken(text: str, ball: Threat, model: Classifier, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    found = attacks.create(text)(model, x, y, ball)
    return found, model.predict(found) != y


@pytest.mark.parametrize(
    ("text", "norm", "factor"),
    [
        ("deepfool:steps=1,overshoot=1e-6", "l2", 1.005),
        ("deepfool:steps=1,overshoot=1e-6", "linf", 1.005),
        ("carlini_wagner:steps=100", "l2", 1.04),
        ("ddn", "l2", 1.005),
        ("fmn", "l0", 1.0),
        ("fmn", "l1", 1.005),
        ("fmn", "l2", 1.005),
        ("fmn", "linf", 1.005),
        ("ead", "l1", 1.01),
        ("newton_fool", "l2", 1.2),
        ("boundary", "l2", 1.1),
        ("hop_skip_jump:steps=8,initial_evaluations=50", "l2", 1.15),
        ("hop_skip_jump:steps=8,initial_evaluations=50", "linf", 1.25),
        ("pointwise", "l0", 2.0),
        pytest.param("brendel_bethge:learning_rate=0.05", "l2", 1.005, marks=pytest.mark.slow),
    ],
)
def test_smallest_perturbations_come_near_the_closed_form(text: str, norm: str, factor: float) -> None:
    model, x, y, slope, height = _task(20, away=0.7 if norm == "l0" else 0.1)
    ball = threat(norm, LARGEST[norm])
    found, broken = _broken(text, ball, model, x, y)
    assert bool(broken.all())
    ratio = ball.distance(found, x) / _shortest(norm, slope, height, x)
    assert float(ratio.min()) >= 1 - 1e-4
    assert float(ratio.mean()) <= factor


def test_pointwise_leaves_no_feature_that_can_be_put_back() -> None:
    model, x, y, _, _ = _task(10, away=0.7)
    found, broken = _broken("pointwise", L0(D), model, x, y)
    assert bool(broken.all())
    for row, feature in torch.nonzero(found != x).tolist():
        back = found[row : row + 1].clone()
        back[0, feature] = x[row, feature]
        assert model.predict(back) == y[row]


@pytest.mark.parametrize("eps", [0.15, 0.5, 2.0])
def test_sparse_l1_descent_breaks_what_one_feature_can_break(eps: float) -> None:
    model, x, y, slope, height = _task()
    _, broken = _broken("sparse_l1_descent:quantile=0.99", L1(eps), model, x, y)
    steepest = slope.abs().argmax(dim=1, keepdim=True)
    room = torch.where(slope > 0, x, 1 - x).gather(1, steepest).squeeze(1)
    reach = slope.abs().amax(dim=1) * room.clamp_max(eps)
    assert bool(broken[reach > 1.001 * height].all())
    assert bool((~broken)[(eps * slope.abs().amax(dim=1) < height)].all())


def test_virtual_adversarial_goes_along_the_slope_one_way_or_the_other() -> None:
    model, x, y, slope, _ = _task(60)
    found, broken = _broken("virtual_adversarial", L2(0.3), model, x, y)
    assert 0.25 < float(broken.float().mean()) < 0.75
    cosine = nn.functional.cosine_similarity(found - x, -slope)[broken]
    assert float(cosine.min()) > 0.999
    assert float(L2(0.3).distance(found, x)[broken].min()) > 0.299


@pytest.mark.parametrize("eps", [0.27, 0.32, 0.4])
def test_contrast_attacks_break_exactly_what_lies_across_on_the_way_to_grey(eps: float) -> None:
    model, x, y, slope, height = _task()
    grey = torch.full_like(x, 0.25)
    gain = ((x - grey) * slope).sum(dim=1)
    share = torch.where(gain > 0, height / gain, torch.tensor(torch.inf))
    needed = share * (x - grey).norm(dim=1)
    assert int((needed < eps).sum()) > 0
    possible = (needed < eps * (1 - 1e-3)) & (share < 0.999)
    for text in ("contrast_search:target=0.25", "contrast_reduction:target=0.25"):
        _, broken = _broken(text, L2(eps), model, x, y)
        assert bool(broken[possible].all())
        assert not bool(broken[(needed > eps * (1 + 1e-3)) | (share > 1.001)].any())
    found, broken = _broken("contrast_search:target=0.25,binary_search_steps=20", L2(LARGEST["l2"]), model, x, y)
    torch.testing.assert_close((found - x).norm(dim=1)[broken], needed[broken], rtol=2e-3, atol=0)


def test_inversion_gives_the_negative() -> None:
    model, x, y, _, _ = _task()
    found, broken = _broken("inversion", Linf(1.0), model, x, y)
    assert torch.equal(broken, model.predict(1 - x) != y)
    torch.testing.assert_close(found[broken], (1 - x)[broken])


def test_blended_noise_stops_at_the_first_share_that_crosses() -> None:
    model, x, y, slope, height = _task()
    found, broken = _broken("blended_noise:steps=50", L2(LARGEST["l2"]), model, x, y)
    noise = SampleRng(torch.arange(len(x)), seed=0, stream="blended_noise").uniform((D,), 0)
    first = (model.predict(noise) != y) & broken
    assert 5 < int(first.sum()) < len(x)
    share = height / ((x - noise) * slope).sum(dim=1)
    expected = (1 - (share * 50).ceil() / 50)[:, None] * x + ((share * 50).ceil() / 50)[:, None] * noise
    torch.testing.assert_close(found[first], expected[first], rtol=0, atol=1e-5)


@pytest.mark.parametrize("repeats", [1, 3])
def test_gaussian_noise_breaks_as_often_as_a_cap_of_the_sphere_is_large(repeats: int) -> None:
    model, x, y, _, height = _task()
    n, slope = 2000, 0.5
    eps = float(height[0] / model.logits(x[:1]).new_tensor(_slope_length(model))) / slope
    _, broken = _broken(f"gaussian_noise:repeats={repeats}", L2(eps), model, *_copies(x, y, n))
    once = 0.5 * special.betainc((D - 1) / 2, 0.5, 1 - slope**2)
    assert float(broken.double().mean()) == pytest.approx(1 - (1 - once) ** repeats, abs=4 * 0.5 / math.sqrt(n))


@pytest.mark.parametrize("features", [2, D])
def test_uniform_noise_breaks_as_often_as_the_surface_of_the_cube_lies_across(features: int) -> None:
    weight = torch.zeros(2, features)
    weight[1, 0] = 1.0
    model, n = linear(weight, torch.tensor([0.0, -0.5])), 4000
    x = torch.full((1, features), 0.5)
    x[0, 0] = 0.45
    _, broken = _broken("uniform_noise:repeats=1", Linf(0.1), model, *_copies(x, torch.tensor([0]), n))
    # Feature 0 is on a face of the cube itself, or uniform where another feature is.
    expected = 0.5 / features + (1 - 1 / features) * (1 - 0.05 / 0.1) / 2
    assert float(broken.double().mean()) == pytest.approx(expected, abs=4 * 0.5 / math.sqrt(n))


def test_what_rounding_takes_back_at_the_boundary_is_taken_a_bit_further() -> None:
    class Rounding(nn.Module):
        """Sees a little more of class 1 in batches of some sizes than of others."""

        def forward(self, x: Tensor) -> Tensor:
            more = 1e-5 if len(x) % 16 == 0 else 0.0
            return torch.stack([x[:, 0] - 0.5, torch.full_like(x[:, 0], more)], dim=1)

    model = TorchClassifier(Rounding(), task="tabular", input_shape=(3,))
    x = torch.full((5, 3), 0.9)
    _, broken = _broken("contrast_search:target=0.0,binary_search_steps=20", Linf(1.0), model, x, model.predict(x))
    assert bool(broken.all())


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
def test_projections_of_foolbox_are_put_right() -> None:
    import eagerpy as ep

    from xaibench.attacks.foolbox import mended

    center, size = torch.full((3, 6), 0.5), torch.tensor([0.05, 0.3, 2.0])
    x = center + size[:, None] * torch.tensor([0.5, -0.1, 0.2, 0.05, -0.12, 0.03])
    l0 = mended.L0FMN().project(ep.astensor(x), ep.astensor(center), ep.astensor(torch.tensor([1.0, 3.0, 6.0]))).raw
    assert (l0 != center).sum(dim=1).tolist() == [1, 3, 6]
    assert torch.equal(l0[2], x[2])
    l1 = mended.EachSparseL1Descent().project(ep.astensor(x), ep.astensor(center), 0.5).raw
    torch.testing.assert_close(l1, L1(0.5).project(x, center, Bounds(-5.0, 5.0)), rtol=0, atol=1e-6)


def _slope_length(model: Classifier) -> float:
    weight = model.loss_gradient(torch.full((1, D), 0.5), torch.tensor([0]), "margin").gradient
    return float(weight.norm())


def _copies(x: Tensor, y: Tensor, n: int) -> tuple[Tensor, Tensor]:
    return x[:1].expand(n, -1), y[:1].expand(n)


def test_salt_and_pepper_sets_all_channels_of_a_pixel_to_the_ends() -> None:
    model = torch_cnn()
    x = 0.1 + 0.8 * inputs_for(model, 16)
    found, broken = _broken("salt_and_pepper", L0(60), model, x, model.predict(x))
    assert int(broken.sum()) > 4
    changed = found != x
    assert torch.equal(changed[:, 0], changed[:, 1])
    assert bool(((found == 0) | (found == 1))[changed].all())


def test_gaussian_blur_blurs_as_scipy_does() -> None:
    model = torch_cnn()
    x = inputs_for(model, 40)
    found, broken = _broken("gaussian_blur:steps=40", L2(10.0), model, x, model.predict(x))
    assert int(broken.sum()) > 2
    for row in torch.nonzero(broken).flatten().tolist():
        for step in range(1, 41):
            blurred = torch.from_numpy(ndimage.gaussian_filter(x[row : row + 1].numpy(), (0, 0, step / 5, step / 5)))
            if model.predict(blurred) != model.predict(x[row : row + 1]):
                break
        torch.testing.assert_close(found[row : row + 1], blurred, rtol=0, atol=1e-5)


def test_gen_attack_breaks_what_is_not_near_the_edge_of_the_ball() -> None:
    model, x, y, slope, height = _task(20)
    eps = 3 * float((height / slope.norm(p=1, dim=1)).max())
    _, broken = _broken("gen_attack:steps=60", Linf(eps), model, x, y)
    assert bool(broken.all())


@pytest.mark.parametrize(
    ("text", "name", "arguments", "norm"),
    [
        ("deepfool", "L2DeepFoolAttack", {}, "l2"),
        ("deepfool:candidates=3", "LinfDeepFoolAttack", {"candidates": 3}, "linf"),
        (
            "carlini_wagner:steps=30,step_size=0.02,confidence=0.1",
            "L2CarliniWagnerAttack",
            {"steps": 30, "stepsize": 0.02, "confidence": 0.1, "initial_const": 0.01, "abort_early": False},
            "l2",
        ),
        ("ddn:steps=40,init_epsilon=0.5", "DDNAttack", {"steps": 40, "init_epsilon": 0.5}, "l2"),
        (
            "ead:steps=30,regularization=0.02",
            "EADAttack",
            {
                "steps": 30,
                "initial_const": 0.01,
                "regularization": 0.02,
                "decision_rule": "L1",
                "abort_early": False,
            },
            "l1",
        ),
        ("newton_fool:step_size=0.02", "NewtonFoolAttack", {"stepsize": 0.02}, "l2"),
    ],
)
@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
def test_results_are_those_of_foolbox_called_by_hand(
    text: str, name: str, arguments: dict[str, Any], norm: str
) -> None:
    import foolbox

    model = torch_cnn()
    x = inputs_for(model, 16)
    y = model.predict(x)

    class Logits(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return model.logits(x)

    reference = foolbox.PyTorchModel(Logits().eval(), bounds=(0, 1), device="cpu")
    expected = getattr(foolbox.attacks, name)(**arguments).run(reference, x, y)
    ball = threat(norm, {"l1": 60.0, "l2": 8.0, "linf": 1.0}[norm])
    found, broken = _broken(text, ball, model, x, y)
    assert int(broken.sum()) > 8
    torch.testing.assert_close(found[broken], expected[broken], rtol=0, atol=2e-3)
    assert float((found - expected)[broken].abs().mean()) < 1e-4


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_distances_of_tables_are_in_units_of_their_features(norm: str) -> None:
    model = table_mlp()
    scale = feature_scale("tabular", TABLE)
    ball = threat(norm, {"linf": 0.9, "l2": 1.5, "l1": 3.0}[norm], scale)
    x = inputs_for(model, 20)
    y = model.predict(x)
    found, broken = _broken("fmn", ball, model, x, y)
    unit = torch.tensor(scale)

    def unscaled(points: Tensor) -> Tensor:
        return model.logits(points * unit + torch.tensor(TABLE.lower))

    class Unscaled(nn.Module):
        def forward(self, points: Tensor) -> Tensor:
            return unscaled(points)

    twin = TorchClassifier(Unscaled(), task="tabular", input_shape=(5,))
    points = (x - torch.tensor(TABLE.lower)) / unit
    expected, _ = _broken("fmn", threat(norm, ball.eps), twin, points, y)
    assert int(broken.sum()) > 5
    torch.testing.assert_close((found - torch.tensor(TABLE.lower)) / unit, expected, rtol=0, atol=2e-3)


def test_scales_out_of_proportion_to_the_box_are_refused() -> None:
    model = table_mlp()
    x = inputs_for(model, 4)
    with pytest.raises(UnsupportedError, match="expected a scale in proportion to the box of inputs, got one 8e"):
        attacks.create("ddn")(model, x, model.predict(x), L2(0.1))
    assert attacks.create("fmn")(model, x, model.predict(x), L0(1)).shape == x.shape


CHEAP = {
    "boundary": "boundary:steps=20",
    "brendel_bethge": "brendel_bethge:steps=3",
    "carlini_wagner": "carlini_wagner:steps=5",
    "ead": "ead:steps=5",
    "gen_attack": "gen_attack:steps=2",
    "hop_skip_jump": "hop_skip_jump:steps=2,initial_evaluations=10",
}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "brendel_bethge"])
def test_global_random_numbers_are_left_alone(name: str) -> None:
    model, x, y, _, _ = _task(4)
    norm = attacks.get(name).norms[0]  # type: ignore[attr-defined]
    if attacks.get(name).tasks == ("image",):  # type: ignore[attr-defined]
        model = torch_cnn()
        x = inputs_for(model, 4)
        y = model.predict(x)

    def states() -> list[Any]:
        numpy = np.random.get_state()
        return [torch.get_rng_state().tolist(), random.getstate(), numpy[1].tolist(), numpy[2:]]  # type: ignore[index]

    before = states()
    attacks.create(CHEAP.get(name, name))(model, x, y, threat(norm, 1))
    assert states() == before


def test_decisions_are_enough_for_those_that_look_at_decisions() -> None:
    model, x, y, _, _ = _task(4)
    assert isinstance(model, TorchClassifier)
    blind = Gradientless(model.module, task="tabular", input_shape=(D,))
    for name in NAMES:
        cls = attacks.get(name)
        ball = threat(cls.norms[-1], 1)  # type: ignore[attr-defined]
        if Capability.GRADIENTS in cls.entry.needs:  # type: ignore[attr-defined]
            with pytest.raises(UnsupportedError, match="needs gradients of the model: they are kept secret"):
                attacks.create(name)(blind, x, y, ball)
        elif "tabular" in cls.tasks:  # type: ignore[attr-defined]
            assert attacks.create(CHEAP.get(name, name))(blind, x, y, ball).shape == x.shape


@pytest.mark.parametrize("name", ["boundary", "hop_skip_jump", "pointwise", "brendel_bethge"])
def test_a_model_that_changes_its_mind_is_refused_where_decisions_are_relied_on(name: str) -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :2] + torch.rand(len(x), 2)

    model = TorchClassifier(Noisy(), task="tabular", input_shape=(D,))
    with pytest.raises(UnsupportedError, match=f"{name} needs deterministic of the model"):
        attacks.create(name)(model, torch.rand(2, D), torch.tensor([0, 1]), L2(0.1))


def test_norms_that_an_attack_does_not_search_in_are_named() -> None:
    model, x, y, _, _ = _task(2)
    with pytest.raises(UnsupportedError, match="deepfool is defined for l2, linf, got a threat in l1"):
        attacks.create("deepfool")(model, x, y, L1(0.1))


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("ddn", {"steps": 0}, "expected `steps` >= 1, got 0"),
        ("ddn", {"gamma": 1.5}, r"expected `gamma` within 0\.\.1, got 1.5"),
        ("ddn", {"init_epsilon": 0.0}, "expected `init_epsilon` > 0 and finite, got 0.0"),
        ("carlini_wagner", {"confidence": -1.0}, "expected `confidence` > 0 and finite, got -1.0"),
        ("carlini_wagner", {"step_size": math.inf}, "expected `step_size` > 0 and finite, got inf"),
        ("deepfool", {"candidates": 1}, "expected `candidates` >= 2, got 1"),
        ("ead", {"decision_rule": "L7"}, "expected `decision_rule` of attack ead as 'EN' or 'L1', got 'L7'"),
        ("gaussian_noise", {"batch_size": 0}, "expected `batch_size` >= 1, got 0"),
    ],
)
def test_bad_parameters_are_refused(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        attacks.create(Spec(name, params))


@pytest.mark.parametrize("text", ["fmn:steps=30", "uniform_noise:repeats=20"])
def test_exported_programs_can_be_attacked(text: str) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(32, 8), nn.Tanh(), nn.Linear(8, 3)).eval()
    dynamic = ({0: torch.export.Dim("n", min=1, max=64)},)
    model = ExportedClassifier(torch.export.export(module, (torch.rand(8, 2, 4, 4),), dynamic_shapes=dynamic))
    x = inputs_for(model, 8)
    _, broken = _broken(text, Linf(0.4), model, x, model.predict(x))
    assert bool(broken.any())
