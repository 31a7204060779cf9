"""The 15 corruptions: what all promise, and what each must do to images that have a closed form."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from factories import cancer, digits
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn

from xaibench.classifiers import TorchClassifier
from xaibench.corruptions import SEVERITIES, corrupt, corruption_accuracy, corruptions
from xaibench.corruptions.filters import disk, fractal, gaussian, motion
from xaibench.data import load_data
from xaibench.errors import InputError, UnsupportedError
from xaibench.registry import Spec
from xaibench.rng import SampleRng

BLURS = ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur")
KEEPS_CONSTANTS = (*BLURS, "contrast", "elastic_transform", "pixelate")
# The published levels of these trade one kind of change for another.
NOT_MONOTONE = {"defocus_blur", "elastic_transform", "frost", "glass_blur"}
every_corruption = pytest.mark.parametrize("name", corruptions.names())


def scene(n: int = 8, channels: int = 3, height: int = 32, width: int = 32, seed: int = 0) -> Tensor:
    """Smooth random images with a sharp bright square."""
    noise = torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(seed))
    smooth = gaussian(noise, height / 10).float()
    low, high = smooth.amin(), smooth.amax()
    x = 0.1 + 0.6 * (smooth - low) / (high - low)
    x[:, :, height // 3 : height // 2 + 3, width // 3 : width // 2 + 3] += 0.25
    return x.clamp(0, 1)


def test_there_are_the_fifteen_of_the_paper() -> None:
    assert len(corruptions.names()) == 15
    assert SEVERITIES == (1, 2, 3, 4, 5)


@every_corruption
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 13), (1, 28, 28), (2, 20, 20), (3, 96, 64)])
def test_results_are_images_of_the_same_shape(name: str, shape: tuple[int, int, int]) -> None:
    x = scene(2, *shape)
    before = x.clone()
    for severity in (1, 5):
        found = corrupt(x, name, severity)
        assert found.shape == x.shape
        assert found.dtype == torch.float32
        assert float(found.min()) >= 0
        assert float(found.max()) <= 1
        assert not torch.equal(found, x)
    assert torch.equal(x, before)


@every_corruption
def test_a_large_image_changes_about_as_much_as_a_small_one(name: str) -> None:
    small, large = (corrupt(scene(2, 3, side, side), name, 3) - scene(2, 3, side, side) for side in (32, 224))
    ratio = float(large.abs().mean() / small.abs().mean())
    # What goes by pixels whatever the size, changes edges alone.
    assert (0.1 if name == "pixelate" else 0.25) < ratio < 2.5


@every_corruption
def test_results_depend_on_sample_and_seed_alone(name: str) -> None:
    x, ids = scene(70, 1, 12, 12), torch.arange(70) * 5
    whole = corrupt(x, name, 3, ids=ids, seed=2)
    order = torch.randperm(70, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(corrupt(x[order], name, 3, ids=ids[order], seed=2), whole[order], rtol=0, atol=1e-6)
    torch.testing.assert_close(corrupt(x[9:11], name, 3, ids=ids[9:11], seed=2), whole[9:11], rtol=0, atol=1e-6)
    drawn = {"brightness", "contrast", "defocus_blur", "jpeg_compression", "pixelate", "zoom_blur"}
    assert torch.equal(corrupt(x, name, 3, ids=ids, seed=3), whole) == (name in drawn)


@every_corruption
def test_more_severe_is_further_away(name: str) -> None:
    # The edges of a square fall between blocks or within them as it happens.
    x = torch.rand(24, 3, 32, 32) if name == "pixelate" else scene(24)
    away = [float((corrupt(x, name, severity) - x).flatten(1).norm(dim=1).mean()) for severity in SEVERITIES]
    if name in NOT_MONOTONE:
        assert away[4] > 0.6 * max(away)
    else:
        assert away == sorted(away)
        assert away[4] > 1.3 * away[0]


@pytest.mark.parametrize("name", KEEPS_CONSTANTS)
@pytest.mark.parametrize("severity", [1, 5])
def test_a_constant_image_has_nothing_to_blur(name: str, severity: int) -> None:
    x = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(2, 3, 24, 24)
    torch.testing.assert_close(corrupt(x, name, severity), x, rtol=0, atol=1e-5)


def test_gaussian_noise_has_the_stated_deviation() -> None:
    noise = corrupt(torch.full((20, 3, 32, 32), 0.5), "gaussian_noise", 4) - 0.5
    assert float(noise.std()) == pytest.approx(0.09, rel=0.02)
    assert float(noise.mean()) == pytest.approx(0, abs=0.002)
    assert float(noise.square().mean().sqrt()) / float(noise.abs().mean()) == pytest.approx(
        np.sqrt(np.pi / 2), rel=0.02
    )


@pytest.mark.parametrize("grey", [0.1, 0.5])
def test_shot_noise_counts_photons(grey: float) -> None:
    found = corrupt(torch.full((20, 3, 32, 32), grey), "shot_noise", 5).double()
    counts = found * 50
    torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-4)
    assert float(found.mean()) == pytest.approx(grey, rel=0.02)
    assert float(found.var()) == pytest.approx(grey / 50, rel=0.05)
    assert bool((corrupt(torch.zeros(1, 1, 8, 8), "shot_noise", 5) == 0).all())


def test_impulse_noise_loses_the_stated_share_half_each_way() -> None:
    found = corrupt(torch.full((20, 3, 32, 32), 0.5), "impulse_noise", 5)
    assert float((found == 0).double().mean()) == pytest.approx(0.035, rel=0.06)
    assert float((found == 1).double().mean()) == pytest.approx(0.035, rel=0.06)
    assert bool(((found == 0) | (found == 1) | (found == 0.5)).all())


@pytest.mark.parametrize(("severity", "level"), [(1, 0.05), (5, 0.3)])
def test_brightness_raises_the_value_of_hsv(severity: int, level: float) -> None:
    assert bool((corrupt(torch.zeros(1, 3, 4, 4), "brightness", severity) == level).all())
    import colorsys

    x = scene(1, 3, 6, 6)
    found = corrupt(x, "brightness", severity)
    for row in range(6):
        for column in range(6):
            hue, saturation, value = colorsys.rgb_to_hsv(*x[0, :, row, column].tolist())
            expected = colorsys.hsv_to_rgb(hue, saturation, min(value + level, 1.0))
            assert found[0, :, row, column].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("severity", "level"), [(1, 0.75), (5, 0.15)])
def test_contrast_keeps_the_mean_and_shrinks_deviations(severity: int, level: float) -> None:
    x = scene()
    found = corrupt(x, "contrast", severity)
    torch.testing.assert_close(found.mean(dim=(2, 3)), x.mean(dim=(2, 3)))
    torch.testing.assert_close(found.std(dim=(2, 3)), level * x.std(dim=(2, 3)))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_that_of_pillow(channels: int) -> None:
    x = scene(1, channels)
    found = (corrupt(x, "jpeg_compression", 4)[0] * 255).round().to(torch.uint8).movedim(0, 2).squeeze(2).numpy()
    plane = (x[0] * 255).round().to(torch.uint8).movedim(0, 2).squeeze(2).numpy()
    buffer = io.BytesIO()
    Image.fromarray(plane).save(buffer, "JPEG", quality=50)
    assert np.array_equal(found, np.asarray(Image.open(buffer)))


def test_pixelate_averages_what_a_pixel_covers() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4) / 16
    found = corrupt(x, "pixelate", 5)  # int(4 * 0.65) = 2 pixels a side
    blocks = nn.functional.avg_pool2d(x, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(found, blocks)


def test_pixelate_keeps_the_mean() -> None:
    x = scene(4, 3, 30, 41)
    torch.testing.assert_close(corrupt(x, "pixelate", 5).mean(dim=(2, 3)), x.mean(dim=(2, 3)), rtol=0, atol=5e-3)


def test_defocus_of_a_point_is_the_kernel_of_a_disk() -> None:
    x = torch.zeros(1, 1, 33, 33)
    x[0, 0, 16, 16] = 1.0
    spot = corrupt(x, "defocus_blur", 5)[0, 0].double()
    assert float(spot.sum()) == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(spot, spot.T)
    torch.testing.assert_close(spot, spot.flip(0), rtol=0, atol=1e-7)
    wide = disk(6.0, 0.1)
    distance = np.hypot(*np.meshgrid(*[np.arange(len(wide)) - len(wide) // 2] * 2))
    assert wide[distance < 5].std() < 1e-4
    assert wide[distance < 5].mean() == pytest.approx(1 / (np.pi * 36), rel=0.02)
    assert wide[distance > 7].max() < 1e-8


def test_motion_smears_a_point_one_way_along_the_angle() -> None:
    kernel = motion(8.0, 3.0, torch.tensor([0.0, 90.0]))
    middle = kernel.shape[1] // 2
    assert kernel.sum(axis=(1, 2)) == pytest.approx([1, 1])
    along = kernel[0, middle, middle:]
    assert along.sum() == pytest.approx(1)
    assert np.all(np.diff(along[1:]) < 0)
    np.testing.assert_allclose(kernel[1].T, kernel[0], atol=1e-12)


def test_glass_moves_pixels_and_keeps_them_near() -> None:
    x = torch.zeros(4, 1, 32, 32)
    x[:, :, 16, 16] = 1.0
    found = corrupt(x, "glass_blur", 1)  # a blur of 0.05 pixels is none
    assert torch.equal(found.flatten(1).sum(dim=1), torch.ones(4))
    assert torch.equal(found.flatten(1).amax(dim=1), torch.ones(4))
    whole = scene(2, 1)
    mixed = corrupt(whole, "glass_blur", 1)
    torch.testing.assert_close(mixed.flatten(1).sort(dim=1).values, whole.flatten(1).sort(dim=1).values)
    moved = ndimage.center_of_mass(found[0, 0].numpy())
    assert moved != (16.0, 16.0)


def test_zoom_keeps_the_middle_and_smears_outwards() -> None:
    x = torch.zeros(1, 1, 33, 33)
    x[:, :, 12:21, 12:21] = 1.0
    found = corrupt(x, "zoom_blur", 5)[0, 0]
    torch.testing.assert_close(found[13:20, 13:20], torch.ones(7, 7), rtol=0, atol=1e-5)
    assert bool((found[16, 22:].diff() <= 1e-6).all())
    assert 0 < float(found[16, 21]) < 1
    assert float(found[16, 24]) == 0


@pytest.mark.parametrize("name", ["snow", "frost"])
def test_snow_and_frost_brighten_dark_images(name: str) -> None:
    x = torch.full((4, 3, 32, 32), 0.1)
    means = [float(corrupt(x, name, severity).mean()) for severity in SEVERITIES]
    assert means[0] > 0.1
    assert means[4] > means[0]


def test_fog_hides_the_image_and_leaves_black_black() -> None:
    x = scene()
    likeness = []
    for severity in SEVERITIES:
        pairs = torch.stack([x.flatten(1), corrupt(x, "fog", severity).flatten(1)], dim=1)
        likeness.append(float(torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs]).mean()))
    assert likeness == sorted(likeness, reverse=True)
    assert likeness[4] < 0.8
    assert not corrupt(torch.zeros(1, 3, 16, 16), "fog", 5).any()


def test_clouds_fill_their_range_and_decay_smooths_them() -> None:
    def rough(decay: float) -> float:
        clouds = fractal(SampleRng(torch.arange(8), seed=0, stream="test"), (64, 64), decay)
        assert clouds.amin(dim=(1, 2, 3)).tolist() == [0.0] * 8
        assert clouds.amax(dim=(1, 2, 3)).tolist() == [1.0] * 8
        return float(clouds.diff(dim=3).abs().mean())

    assert rough(3.0) < rough(2.0) < rough(1.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.rand(3, 8, 8)}, "expected images"),
        ({"x": torch.zeros(1, 1, 8, 8, dtype=torch.uint8)}, "expected images"),
        ({"x": torch.rand(1, 1, 8, 8) * 255}, r"expected images within 0\.\.1, got"),
        ({"x": torch.full((1, 1, 8, 8), float("nan"))}, r"expected images within 0\.\.1, got nan"),
        ({"severity": 0}, r"expected `severity` within 1\.\.5, got 0"),
        ({"name": "rain"}, "unknown corruption 'rain'"),
        ({"ids": torch.arange(3)}, "expected 1 sample ids"),
    ],
)
def test_bad_input_is_refused(change: dict[str, object], message: str) -> None:
    arguments = {"x": torch.rand(1, 1, 8, 8), "name": "fog", "severity": 3, **change}
    with pytest.raises(InputError, match=message):
        corrupt(**arguments)  # type: ignore[arg-type]


def test_specs_make_the_corruption_again() -> None:
    fog = corruptions.create("fog:severity=2")
    assert corruptions.create(corruptions.spec(fog)) == fog
    assert corruptions.spec(fog) == Spec("fog", {"severity": 2})


def test_accuracy_is_that_of_the_corrupted_images() -> None:
    model, data = digits(), load_data("digits")
    x, y = data.inputs[:120], data.labels[:120]
    assert isinstance(x, Tensor)
    found = corruption_accuracy(model, x, y, names=("gaussian_noise", "contrast"), severities=(1, 5), seed=3)
    assert found.names == ("gaussian_noise", "contrast")
    assert found.clean == pytest.approx(float((model.predict(x) == y).double().mean()))
    for name, row in zip(found.names, found.by_severity, strict=True):
        for severity, share in zip((1, 5), row, strict=True):
            images = corrupt(x, name, severity, seed=3)
            assert share == pytest.approx(float((model.predict(images) == y).double().mean()))
        assert found.by_name[name] == pytest.approx(sum(row) / 2)
    assert found.mean == pytest.approx(sum(found.by_name.values()) / 2)


def test_other_bounds_are_mapped_there_and_back() -> None:
    model, data = digits(), load_data("digits")
    x, y = data.inputs[:60], data.labels[:60]
    assert isinstance(x, Tensor)
    assert isinstance(model, TorchClassifier)

    class Centred(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return model.logits((x + 1) / 2)

    centred = TorchClassifier(Centred(), bounds=(-1, 1), input_shape=(1, 8, 8))
    plain, moved = (
        corruption_accuracy(who, what, y, names=("fog", "shot_noise"), severities=(3,))
        for who, what in ((model, x), (centred, 2 * x - 1))
    )
    assert plain.by_severity == moved.by_severity


def test_accuracy_refuses_what_has_no_corruptions() -> None:
    model = cancer()
    with pytest.raises(UnsupportedError, match="corruptions expected a model of images"):
        corruption_accuracy(model, torch.rand(2, 30), torch.tensor([0, 1]))
    x = torch.rand(2, 1, 8, 8)
    with pytest.raises(InputError, match="expected 2 class indices"):
        corruption_accuracy(digits(), x, torch.tensor([0]))
    with pytest.raises(InputError, match="expected at least one corruption and one severity, got none"):
        corruption_accuracy(digits(), x, torch.tensor([0, 1]), names=())
