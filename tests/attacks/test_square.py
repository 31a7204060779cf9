"""Square: its schedule, windows and patterns by hand, its search on linear models, and what it may change."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy import optimize
from small_models import inputs_for, linear, torch_cnn
from torch import Tensor, nn

from xaibench.attacks import Square
from xaibench.attacks.engine import Answer, Jobs, Problem, Rows, State, Walk, drive
from xaibench.attacks.proposals import Bumps
from xaibench.attacks.windows import Schedule, Windows, bump, window_share, window_sides
from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError
from xaibench.losses import margin
from xaibench.rng import SampleRng
from xaibench.threats import Linf, contains, threat
from xaibench.types import Task

NORMS = ["linf", "l2", "l1"]
SHAPES = [(1, 8, 8), (3, 5, 11), (2, 12, 3), (70, 2, 2), (3, 1, 1), (2, 9), (6,)]


def test_the_share_of_pixels_is_halved_by_schedule() -> None:
    at_5000 = {query: window_share(query, 5000, 0.8) for query in (0, 10, 50, 200, 500, 1000, 2000, 4000, 4999)}
    assert list(at_5000.values()) == [0.8 / 2**k for k in (0, 0, 1, 2, 3, 4, 5, 6, 7)]
    assert [window_share(query + 1, 5000, 0.8) for query in at_5000] == [
        0.8 / 2**k for k in (0, 1, 2, 3, 4, 5, 6, 7, 7)
    ]
    # Other numbers of queries keep the proportions of 10,000.
    assert [window_share(query, 10_000, 0.5) for query in (10, 11, 6001, 8001)] == [0.5 / 2**k for k in (0, 1, 8, 9)]
    assert [window_share(query, 1000, 0.5) for query in (1, 2, 6, 801, 999)] == [0.5 / 2**k for k in (0, 1, 2, 9, 9)]


def test_windows_have_the_share_of_the_area() -> None:
    assert [window_sides(0.8 / 2**k, 28, 28)[0] for k in range(8)] == [25, 18, 13, 9, 6, 4, 3, 2]
    assert [window_sides(0.8 / 2**k, 28, 28, odd=True)[0] for k in range(8)] == [25, 19, 13, 9, 7, 5, 3, 3]
    # Beyond the shorter side the longer one makes up for it.
    assert window_sides(0.5, 4, 100) == (4, 50)
    assert window_sides(0.5, 100, 4) == (50, 4)
    assert window_sides(1.0, 1, 7) == (1, 7)
    assert window_sides(0.01, 1, 7) == (1, 1)
    assert window_sides(0.8, 1, 1, odd=True) == (1, 1)


def test_every_place_is_equally_likely() -> None:
    local = torch.tensor([[0, 1, 2, 7, 8, 9], [0, 7, 14, 21, 28, 28]])
    schedule = Schedule((1, 5, 7), torch.tensor([[2, 3], [5, 1]]), torch.tensor([0]), torch.tensor([6, 5]), local)
    count = 40_000
    words = SampleRng(torch.arange(count)).bits(())
    level = torch.arange(count) % 2
    windows = schedule.windows(words, level)
    for size, (height, width) in enumerate([(2, 3), (5, 1)]):
        rows = level == size
        corners = windows.index[rows, 0].bincount(minlength=35).view(5, 7)
        allowed = corners[: 6 - height, : 8 - width]
        assert int(corners.sum()) == int(allowed.sum())
        expected = count / 2 / allowed.numel()
        assert float(((allowed - expected) ** 2 / expected).sum()) < allowed.numel() + 4 * (2 * allowed.numel()) ** 0.5
        # Every window is its rectangle, once, whatever the padding.
        place, inside = windows.index[rows], windows.inside[rows]
        top, left = place[:, :1] // 7, place[:, :1] % 7
        assert bool((place // 7 - top < height).all())
        assert bool(((place % 7 - left < width) & (place % 7 >= left)).all())
        assert inside.sum(dim=1).unique().tolist() == [height * width]
        covered = torch.zeros(len(place), 35).scatter_add(1, place, inside)
        assert covered.unique().tolist() == [0, 1]
        assert torch.equal(place - place[:, :1], local[size].expand_as(place))


@pytest.mark.parametrize("norm", NORMS[1:])
@pytest.mark.parametrize(("height", "width"), [(5, 5), (6, 6), (4, 9), (1, 4), (1, 1)])
def test_patterns_are_two_peaks_of_rectangles(height: int, width: int, norm: str) -> None:
    order = 2 if norm == "l2" else 1

    def peak(tall: int) -> Tensor:
        """The sum over k of 1 / k^2 (l2) or 1 / k^4 (l1) on rectangles that grow by one pixel on each side."""
        plane = torch.zeros(tall, width, dtype=torch.float64)
        for k in range(max(tall, width)):
            above, left = max(tall // 2 - k, 0), max(width // 2 - k, 0)
            if k <= max(tall, width) // 2:
                plane[above : tall // 2 + k + 1, left : width // 2 + k + 1] += (k + 1.0) ** (-2 if norm == "l2" else -4)
        return plane / plane.norm(p=order)

    halves = [
        part for part in (peak(height // 2) if height > 1 else None, -peak(height - height // 2)) if part is not None
    ]
    whole = torch.cat(halves)
    torch.testing.assert_close(bump(height, width, norm).double(), whole / whole.norm(p=order), rtol=0, atol=1e-6)


def _most(norm: str, eps: float, slope: Tensor, x: Tensor) -> float:
    """The most that a linear function rises within ball and unit box, by a solver."""
    rate, room = slope.abs().double().numpy(), torch.where(slope > 0, 1 - x, x).double().numpy()
    if norm == "linf":
        return float((rate * room.clip(max=eps)).sum())
    if norm == "l1":
        found = optimize.linprog(-rate, A_ub=[[1.0] * len(rate)], b_ub=[eps], bounds=[(0, r) for r in room])
        return -float(found.fun)
    if float((room**2).sum()) <= eps**2:
        return float((rate * room).sum())
    t = optimize.brentq(lambda t: float(((t * rate).clip(max=room) ** 2).sum()) - eps**2, 0, 1e6)
    return float((rate * (t * rate).clip(max=room)).sum())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(12,), (1, 3, 5), (2, 4, 2)])
def test_linear_models_break_where_the_ball_clearly_reaches_and_never_before(shape: tuple[int, ...], norm: str) -> None:
    generator = torch.Generator().manual_seed(len(shape))
    d = int(torch.tensor(shape).prod())
    slope = torch.randn(d, generator=generator)
    layer = nn.Linear(d, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.stack([torch.zeros(d), slope]))
        layer.bias.copy_(torch.stack([torch.tensor(0.0), -slope.sum() / 2]))
    task: Task = "tabular" if len(shape) == 1 else "image"
    model = TorchClassifier(nn.Sequential(nn.Flatten(), layer), task=task, input_shape=shape)
    x = torch.rand(80, *shape, generator=generator)
    y = model.predict(x)
    lead = margin(model.logits(x), y).detach()
    eps = {"linf": 0.08, "l2": 0.3, "l1": 0.6}[norm]
    ways = torch.where(y[:, None] == 0, slope, -slope)
    most = torch.tensor([_most(norm, eps, way, row) for way, row in zip(ways, x.flatten(1), strict=True)])
    # In l2 and l1 the patterns of small windows come only near the best direction.
    reach = {"linf": 0.97, "l2": 0.75, "l1": 0.5}[norm]
    broken = model.predict(Square(queries=200, restarts=3)(model, x, y, threat(norm, eps))) != y
    assert not broken[lead + most < -1e-5].any()
    assert broken[lead + reach * most > 0].all()
    assert 10 < int(broken.sum()) < 70


class _Indifferent(TorchClassifier):
    """A classifier that keeps the points that it is asked about and gives them all the same logits."""

    asked: list[Tensor]

    def logits(self, x: Any, **parts: Any) -> Tensor:
        self.asked.append(x.clone())
        return super().logits(x, **parts)


def _asked(shape: tuple[int, ...], attack: Square, norm: str, eps: float) -> tuple[Tensor, Tensor]:
    """A clean input, and all points (restarts * (queries + 1), ...) that are tried where nothing ever gains."""
    layer = nn.Linear(int(torch.tensor(shape).prod()), 2)
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([1.0, 0.0]))
    task: Task = "tabular" if len(shape) == 1 else "image"
    model = _Indifferent(nn.Sequential(nn.Flatten(), layer), task=task, input_shape=shape)
    x = torch.full((1, *shape), 0.5)
    model.asked = []
    assert torch.equal(attack(model, x, torch.zeros(1, dtype=torch.int64), threat(norm, eps)), x)
    return x, torch.cat(model.asked[-attack.restarts * (attack.queries + 1) :])


@pytest.mark.parametrize("shape", SHAPES)
def test_linf_moves_one_window_to_an_end_of_the_ball(shape: tuple[int, ...]) -> None:
    x, asked = _asked(shape, Square(queries=400, batch_size=1), "linf", 0.25)
    schedule = Schedule.of(x, 400, 0.8, odd=False)
    channels, height, width = schedule.grid
    first, later = asked[0].view(channels, height, width), asked[1:].view(-1, channels, height, width)
    torch.testing.assert_close((first - 0.5).abs(), torch.full_like(first, 0.25), rtol=0, atol=1e-6)
    assert torch.equal(first, first[:, :1].expand_as(first)), "stripes are vertical"
    assert width < 6 or bool((first != first[:, :, :1]).any())
    torch.testing.assert_close((later - 0.5).abs(), torch.full_like(later, 0.25), rtol=0, atol=1e-6)
    changed = (later != first).any(dim=1)
    for query, plane in enumerate(changed):
        tall, wide = schedule.sides[schedule.levels[query]].tolist()
        down, across = plane.any(dim=1).nonzero(), plane.any(dim=0).nonzero()
        if len(down):
            assert int(down.max() - down.min()) < tall
            assert int(across.max() - across.min()) < wide
    assert bool(changed.any(dim=0).all()), "every pixel has its turn"
    signs = (later > 0.5).float().mean(dim=(0, 2, 3))
    assert channels == 1 or len(signs.unique()) > 1


def test_restarts_have_starts_and_windows_of_their_own() -> None:
    _, asked = _asked((1, 8, 8), Square(queries=60, restarts=2, batch_size=1), "linf", 0.25)
    first, second = asked.chunk(2)
    assert not torch.equal(first[0], second[0])
    # Most of these windows are one pixel, seen where its sign is not that of the start.
    places = [(part[31:] != part[0]).flatten(1) for part in (first, second)]
    both = places[0].any(dim=1) & places[1].any(dim=1)
    assert int(both.sum()) > 3
    assert float((places[0] == places[1])[both].all(dim=1).float().mean()) < 0.5


@pytest.mark.parametrize("norm", NORMS[1:])
def test_what_the_radius_has_left_goes_into_the_first_window(norm: str) -> None:
    generator = torch.Generator().manual_seed(0)
    channels = 3 if norm == "l2" else 1  # in l1 several channels take more than is left, and the others shrink
    x = torch.full((8, channels, 9, 9), 0.5)
    ball = threat(norm, 0.4)
    schedule = Schedule.of(x, 10, 0.2, odd=True)
    index = torch.arange(8)
    bumps = Bumps(Problem(torch_cnn(), x, index, index, ball), schedule)
    offset = torch.randn(x.shape, generator=generator)
    best = x + offset * (0.2 / ball.distance(offset, torch.zeros_like(offset)).float().view(-1, 1, 1, 1))
    level = schedule.levels[index]
    windows = [schedule.windows(SampleRng(index, stream=name).bits(()), level) for name in "ab"]
    bits = torch.randint(0, 2, (8, channels + 1), generator=generator)
    found = bumps.next(Rows(x, *[index] * 6), {"best": best}, windows, bits)
    assert ball.distance(found, x).tolist() == pytest.approx([0.4] * 8, rel=1e-4)
    first, second = (torch.zeros(8, 81).scatter(1, part.index, 1.0).bool() for part in windows)
    moved, before = ((part - x).flatten(2).transpose(1, 2) for part in (found, best))
    torch.testing.assert_close(moved[~(first | second)], before[~(first | second)], rtol=1e-4, atol=1e-6)
    assert not moved[second & ~first].any()
    share = moved[first].view(8, -1, channels).norm(p=2 if norm == "l2" else 1, dim=1)
    assert bool((share > 0).all())


@pytest.mark.parametrize("norm", NORMS[1:])
def test_padding_changes_no_bit_of_a_length(norm: str) -> None:
    x = torch.zeros(1, 1, 30, 30)
    bumps = Bumps(Problem(torch_cnn(), x, x, x, threat(norm, 1.0)), Schedule.of(x, 10, 0.8, odd=True))
    values = torch.rand(64, 3, 49, generator=torch.Generator().manual_seed(0))
    longer = torch.cat([values, values[..., -1:].expand(-1, -1, 700)], dim=2)
    inside = torch.zeros(64, 749)
    inside[:, :49] = 1
    lengths = [bumps._length(part, Windows(inside, inside[:, : part.shape[2]], inside)) for part in (values, longer)]
    assert torch.equal(*lengths)
    torch.testing.assert_close(lengths[0].squeeze(2), values.norm(p=2 if norm == "l2" else 1, dim=2))


@pytest.mark.parametrize("norm", NORMS[1:])
@pytest.mark.parametrize("shape", SHAPES)
def test_l2_and_l1_use_the_whole_radius(shape: tuple[int, ...], norm: str) -> None:
    x, asked = _asked(shape, Square(queries=150, batch_size=1), norm, 0.4)
    ball = threat(norm, 0.4)
    distance = ball.distance(asked, x.expand_as(asked))
    assert bool((distance <= 0.4 + 1e-6).all())
    assert bool((distance >= 0.4 * (1 - 1e-4)).all())
    assert len(asked.flatten(1).unique(dim=0)) > 1
    assert bool((asked != asked[:1]).any(dim=0).all()), "every pixel has its turn"


@pytest.mark.parametrize("norm", NORMS)
def test_the_best_point_is_kept_and_its_margin_never_falls(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch_cnn()
    x = inputs_for(model, 20)
    y = model.predict(x)
    ball = threat(norm, {"linf": 0.02, "l2": 0.1, "l1": 0.5}[norm])
    seen: dict[int, list[float]] = {}
    ended: dict[int, tuple[float, Tensor]] = {}

    def watch(rows: Rows, answer: Answer) -> None:
        for job, value in zip(rows.jobs.tolist(), margin(answer.logits, rows.labels).tolist(), strict=True):
            seen.setdefault(job, []).append(value)

    def retire(rows: Rows, state: State) -> None:
        for row, job in enumerate(rows.jobs.tolist()):
            ended[job] = (float(state["margin"][row]), state["best"][row])

    def watched(problem: Problem, walk: Walk, jobs: Jobs, *, batch_size: int | None) -> Any:
        return drive(problem, walk, jobs, batch_size=batch_size, watch=watch, retire=retire)

    monkeypatch.setattr("xaibench.attacks.base.drive", watched)
    Square(queries=80, batch_size=16)(model, x, y, ball)
    assert len(ended) > 5
    for job, (reached, best) in ended.items():
        assert reached == max(seen[job])
        assert reached > seen[job][0]
        assert float(margin(model.logits(best[None]), y[[job]])) == pytest.approx(reached, abs=1e-5)
        assert bool(contains(ball, best[None], x[[job]], model.bounds))


@pytest.mark.parametrize("norm", NORMS)
def test_order_and_shards_change_no_bit(norm: str) -> None:
    model = torch_cnn()
    x = inputs_for(model, 40)
    y, ids = model.predict(x), torch.arange(40) * 3 + 1
    ball = threat(norm, {"linf": 0.04, "l2": 0.4, "l1": 2.5}[norm])
    attack = Square(queries=55, restarts=2, batch_size=16)
    found = attack(model, x, y, ball, ids=ids)
    assert 0 < int((model.predict(found) != y).sum()) < 40
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert torch.equal(attack(model, x[order], y[order], ball, ids=ids[order])[order.argsort()], found)
    shards = [attack(model, x[a:b], y[a:b], ball, ids=ids[a:b]) for a, b in ((0, 7), (7, 8), (8, 40))]
    assert torch.equal(torch.cat(shards), found)


def test_no_gradient_is_asked_for() -> None:
    class Blind(TorchClassifier):
        def loss_gradient(self, *arguments: Any, **parts: Any) -> Any:
            raise AssertionError("asked for a gradient")

        @property
        def capabilities(self) -> frozenset[Any]:
            return super().capabilities - {"gradients"}

    module = nn.Linear(6, 2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([1.0, -1.0]).outer(torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])))
    model = Blind(module, task="tabular", input_shape=(6,))
    x = torch.rand(10, 6, generator=torch.Generator().manual_seed(0))
    y = model.predict(x)
    assert bool((model.predict(Square(queries=30)(model, x, y, Linf(0.5))) != y).all())


def test_more_restarts_keep_what_fewer_broke() -> None:
    model = torch_cnn()
    x = inputs_for(model, 40)
    y = model.predict(x)
    few = Square(queries=25)
    once, thrice = (attack(model, x, y, Linf(0.03)) for attack in (few, replace(few, restarts=3)))
    broken, more = model.predict(once) != y, model.predict(thrice) != y
    assert torch.equal(once[broken], thrice[broken])
    assert int(more.sum()) > int(broken.sum())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"queries": 0}, "expected `queries` >= 1, got 0"),
        ({"restarts": 0}, "expected `restarts` >= 1, got 0"),
        ({"batch_size": 0}, "expected `batch_size` >= 1, got 0"),
        ({"p": 0.0}, r"expected `p` in \(0, 1\], got 0.0"),
        ({"p": 1.5}, r"expected `p` in \(0, 1\], got 1.5"),
    ],
)
def test_bad_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Square(**params)


def test_one_feature_and_one_query_are_enough() -> None:
    model = linear(torch.tensor([[0.0], [1.0]]), torch.tensor([0.0, -0.55]))
    x = torch.tensor([[0.5]])
    found = Square(queries=8)(model, x, torch.tensor([0]), Linf(0.1))
    assert int(model.predict(found)) == 1
