"""Saliency, input x gradient and integrated gradients against closed forms and against Captum."""

from typing import Any

import pytest
import torch
from small_models import inputs_for, linear, table_mlp, token_net, torch_cnn
from torch import Tensor, nn

from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError
from xaibench.explainers import explain
from xaibench.types import Bounds, Classifier

WEIGHT = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]], dtype=torch.float64)
BIAS = torch.tensor([0.3, -0.7], dtype=torch.float64)
TARGET = torch.tensor([0, 1, 0, 1])


def _features(n: int = 4, d: int = 3) -> Tensor:
    return torch.rand(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class _Quadratic(nn.Module):
    """Logits x' A x + b' x and its negative."""

    def __init__(self, matrix: Tensor, slope: Tensor) -> None:
        super().__init__()
        self.matrix, self.slope = nn.Parameter(matrix), nn.Parameter(slope)

    def forward(self, x: Tensor) -> Tensor:
        value = ((x @ self.matrix) * x).sum(dim=1, keepdim=True) + x @ self.slope[:, None]
        return torch.cat([value, -value], dim=1)


def test_saliency_of_a_linear_model_is_its_weights() -> None:
    model, x = linear(WEIGHT, BIAS), _features()
    signed = explain(model, x, TARGET, method="saliency", absolute=False)
    torch.testing.assert_close(signed.values, WEIGHT[TARGET])
    torch.testing.assert_close(explain(model, x, TARGET, method="saliency").values, WEIGHT[TARGET].abs())


def test_input_x_gradient_of_a_linear_model() -> None:
    x = _features()
    found = explain(linear(WEIGHT, BIAS), x, TARGET, method="input_x_gradient")
    torch.testing.assert_close(found.values, x * WEIGHT[TARGET])
    assert found.completeness_gap is None


@pytest.mark.parametrize("quadrature", ["gauss_legendre", "riemann_middle"])
def test_integrated_gradients_of_a_linear_model_take_one_step(quadrature: str) -> None:
    x, baseline = _features(), torch.tensor([0.2, 0.9, 0.4], dtype=torch.float64)
    found = explain(linear(WEIGHT, BIAS), x, TARGET, baseline=baseline, steps=1, quadrature=quadrature)
    torch.testing.assert_close(found.values, (x - baseline) * WEIGHT[TARGET])
    assert found.completeness_gap is not None
    assert float(found.completeness_gap.max()) < 1e-6
    assert found.baseline is not None
    assert torch.equal(found.baseline, baseline.expand(4, 3))
    assert found.params["baseline"] == "given"
    assert found.cost.backward == 4


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_integrated_gradients_of_a_quadratic_model(steps: int) -> None:
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(3, 3, dtype=torch.float64, generator=generator)
    slope = torch.randn(3, dtype=torch.float64, generator=generator)
    model = TorchClassifier(_Quadratic(matrix, slope), task="tabular", input_shape=(3,))
    x, start = _features(), _features(5)[4:]
    found = explain(model, x, 0, baseline=start, steps=steps)
    # The gradient is linear along the path, so its mean is the gradient halfway.
    halfway = (x + start) / 2
    expected = (x - start) * (halfway @ (matrix + matrix.T) + slope)
    torch.testing.assert_close(found.values, expected)


def test_gauss_legendre_is_exact_for_polynomials_of_degree_2n_minus_1() -> None:
    class Power(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x**8, -(x**8)], dim=1)

    model = TorchClassifier(Power().double(), task="tabular", input_shape=(1,))
    x = torch.tensor([[0.9]])
    options: dict[str, Any] = {"baseline": "zero", "targets": 0, "tolerance": 1.0}
    exact = explain(model, x, steps=4, max_steps=4, **options).values
    short = explain(model, x, steps=3, max_steps=3, **options).values
    assert float(exact) == pytest.approx(0.9**8, rel=1e-6)
    assert abs(float(short) - 0.9**8) > 1e-4


def _captum(model: Classifier) -> nn.Module:
    class Logits(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return model.logits(x)

    return Logits()


def test_captum_agrees_on_images() -> None:
    from captum import attr

    model = torch_cnn()
    x, module = inputs_for(model, 6), _captum(model)
    target = model.predict(x)
    integrated = attr.IntegratedGradients(module)
    for rule, name, steps in (
        ("gauss_legendre", "gausslegendre", 4),
        ("riemann_left", "riemann_left", 20),
        ("riemann_middle", "riemann_middle", 20),
        ("riemann_right", "riemann_right", 20),
    ):
        ours = explain(model, x, steps=steps, max_steps=steps, baseline="zero", quadrature=rule).values
        reference = integrated.attribute(x, 0 * x, target, n_steps=steps, method=name)
        torch.testing.assert_close(ours, reference.float(), rtol=1e-4, atol=1e-5)
    copy = x.clone().requires_grad_()
    torch.testing.assert_close(
        explain(model, x, method="saliency").values, attr.Saliency(module).attribute(copy, target), rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(
        explain(model, x, method="input_x_gradient").values,
        attr.InputXGradient(module).attribute(copy, target).detach(),
        rtol=1e-4,
        atol=1e-6,
    )


def test_captum_agrees_on_text() -> None:
    from captum import attr

    model = token_net()
    tokens = inputs_for(model, 5)
    tokens[:, 5:] = 0
    target = model.predict(tokens)
    point, padding = model.embed(tokens), model.embed(torch.zeros_like(tokens))

    class FromEmbeddings(nn.Module):
        def forward(self, embeddings: Tensor, ids: Tensor) -> Tensor:
            return model.logits(ids, embeddings=embeddings)

    reference = attr.IntegratedGradients(FromEmbeddings()).attribute(
        point, padding, target, additional_forward_args=(tokens,), n_steps=16, method="riemann_middle"
    )
    found = explain(model, tokens, steps=16, max_steps=16, quadrature="riemann_middle")
    torch.testing.assert_close(found.values, reference.sum(dim=-1).float().detach(), rtol=1e-4, atol=1e-6)
    assert found.baseline is not None
    assert not found.baseline.any()
    assert not found.values[:, 5:].any(), "padding is the baseline itself"


def test_steps_double_until_the_values_are_complete() -> None:
    model = torch_cnn()
    x = inputs_for(model, 8)
    few = explain(model, x, steps=2, max_steps=2)
    found = explain(model, x, steps=2, tolerance=0.01)
    assert few.completeness_gap is not None
    assert found.completeness_gap is not None
    assert float(few.completeness_gap.max()) > 0.02
    assert float(found.completeness_gap.max()) <= 0.01
    assert float(found.completeness_gap.max()) <= found.trust.tolerance
    assert few.cost.backward == 2 * 8
    # Samples that meet the tolerance early are not done again.
    doubled = [2 * 8 * 2**k for k in range(8)]
    assert few.cost.backward < found.cost.backward < sum(doubled)
    assert found.cost.backward not in [sum(doubled[: k + 1]) for k in range(8)]


def test_the_gap_is_the_missing_share_of_the_change_of_the_logit() -> None:
    model = torch_cnn()
    x = inputs_for(model, 8)
    found = explain(model, x, steps=3, max_steps=3)
    logits = model.logits(torch.cat([x, torch.zeros_like(x)]))[torch.arange(16), found.target.repeat(2)].double()
    change = (logits[:8] - logits[8:]).detach()
    gap = (found.values.double().flatten(1).sum(1) - change).abs() / change.abs()
    assert found.completeness_gap is not None
    assert found.completeness_gap.tolist() == pytest.approx(gap.tolist(), rel=1e-3)


def test_the_baseline_itself_gets_nothing_and_is_complete() -> None:
    model = torch_cnn()
    found = explain(model, torch.zeros(2, 2, 8, 8))
    assert not found.values.any()
    assert found.completeness_gap is not None
    assert found.completeness_gap.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        ("auto", (0.5, 0.0, 500.0, 0.005, 2.0)),
        ("mean", (0.5, 0.0, 500.0, 0.005, 2.0)),
        ("zero", (0.0, 0.0, 0.0, 0.0, 0.0)),
        ("min", (0.0, -5.0, 100.0, 0.0, 1.0)),
        ("max", (1.0, 5.0, 900.0, 0.01, 3.0)),
    ],
)
def test_named_baselines_of_tables(baseline: str, expected: tuple[float, ...]) -> None:
    model = table_mlp()
    found = explain(model, inputs_for(model, 2), baseline=baseline).baseline
    assert found is not None
    torch.testing.assert_close(found, torch.tensor([expected, expected]))


def test_the_baseline_of_images_is_black_whatever_the_bounds() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    model = TorchClassifier(module, bounds=Bounds(-1.0, 1.0), input_shape=(1, 4, 4))
    found = explain(model, torch.zeros(1, 1, 4, 4)).baseline
    assert found is not None
    assert found.unique().tolist() == [-1.0]


def test_the_mean_baseline_is_the_one_that_the_card_records() -> None:
    from xaibench.card import ArchitectureConfig, Card, DataConfig

    card = Card(
        name="small",
        task="image",
        framework="torch",
        architecture=ArchitectureConfig(name="none"),
        input_shape=(2, 3, 3),
        mean=(0.25, 0.75),
        class_names=("a", "b"),
        data=DataConfig(name="none", digest=""),
    )
    module = nn.Sequential(nn.Flatten(), nn.Linear(18, 2))
    model = TorchClassifier(module, input_shape=(2, 3, 3), card=card, mean=card.mean, class_names=("a", "b"))
    found = explain(model, torch.rand(3, 2, 3, 3), baseline="mean").baseline
    assert found is not None
    assert torch.equal(found, torch.tensor([0.25, 0.75]).view(1, 2, 1, 1).expand(3, 2, 3, 3))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"steps": 0}, "expected 1 <= `steps` <= `max_steps`, got 0 and 512"),
        ({"steps": 600}, "got 600 and 512"),
        ({"tolerance": -0.1}, "expected `tolerance` >= 0, got -0.1"),
        ({"baseline": "grey"}, "expected `baseline` .* as 'auto' or 'zero' .* or Tensor or .*, got 'grey'"),
        ({"baseline": torch.zeros(7)}, r"broadcasts to \(2, 5\), got \(7,\)"),
        ({"quadrature": "simpson"}, "expected `quadrature` .* as 'gauss_legendre' or 'riemann_left' .*, got 'simpson'"),
    ],
)
def test_bad_parameters_are_one_clear_line(params: dict[str, Any], message: str) -> None:
    model = table_mlp()
    with pytest.raises(InputError, match=message):
        explain(model, inputs_for(model, 2), **params)


def test_text_knows_no_named_baseline() -> None:
    model = token_net()
    with pytest.raises(InputError, match=r"'auto' \(padding\) or token ids for text, got 'zero'"):
        explain(model, inputs_for(model, 2), baseline="zero")
    given = explain(model, inputs_for(model, 2), baseline=torch.full((7,), 3)).baseline
    assert given is not None
    assert given.tolist() == [[3] * 7] * 2


def test_strings_are_read_by_the_models_tokenizer() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"[PAD]": 0, "[UNK]": 1, "good": 2, "bad": 3, "film": 4}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]", length=7)
    plain = token_net()
    module: Any = plain._engine.module  # type: ignore[attr-defined]
    model = TorchClassifier(module, task="text", input_shape=(7,), tokenizer=tokenizer)
    found = explain(model, ["good film", "bad bad film"], 1)
    tokens = torch.tensor([[2, 4, 0, 0, 0, 0, 0], [3, 3, 4, 0, 0, 0, 0]])
    torch.testing.assert_close(found.values, explain(plain, tokens, 1).values)
