"""Convolutional and transformer networks for images, in torch."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from xaibench.architectures.base import architectures

__all__ = ["DeepCNN", "LeNet", "ResNet", "SmallCNN", "StridedCNN", "VisionTransformer"]


@architectures.register("small_cnn")
@dataclass(frozen=True, kw_only=True)
class SmallCNN:
    """Two 3x3 convolutions, one max pooling, two dense layers: for images of some 8 to 16 pixels."""

    framework: ClassVar[Literal["torch"]] = "torch"
    input_shape: tuple[int, ...]
    classes: int
    width: int = 32
    hidden: int = 64
    dropout: float = 0.25

    def build(self) -> nn.Module:
        """Logits from (n, channels, height, width)."""
        channels, height, width = self.input_shape
        return nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(channels, self.width, 3, padding=1),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(self.width, 2 * self.width, 3, padding=1),
                relu2=nn.ReLU(),
                pool=nn.MaxPool2d(2),
                flatten=nn.Flatten(),
                dropout=nn.Dropout(self.dropout),
                dense=nn.Linear(2 * self.width * (height // 2) * (width // 2), self.hidden),
                relu3=nn.ReLU(),
                head=nn.Linear(self.hidden, self.classes),
            )
        )


@architectures.register("strided_cnn")
@dataclass(frozen=True, kw_only=True)
class StridedCNN:
    """Convolutions 16 and 32 of 4x4 with stride 2, dense 100: the small net of Wong & Kolter (ICML 2018)."""

    framework: ClassVar[Literal["torch"]] = "torch"
    input_shape: tuple[int, ...]
    classes: int
    hidden: int = 100

    def build(self) -> nn.Module:
        """Logits from (n, channels, height, width); height and width divisible by 4."""
        channels, height, width = self.input_shape
        return nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(channels, 16, 4, stride=2, padding=1),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(16, 32, 4, stride=2, padding=1),
                relu2=nn.ReLU(),
                flatten=nn.Flatten(),
                dense=nn.Linear(32 * (height // 4) * (width // 4), self.hidden),
                relu3=nn.ReLU(),
                head=nn.Linear(self.hidden, self.classes),
            )
        )


@architectures.register("deep_cnn")
@dataclass(frozen=True, kw_only=True)
class DeepCNN:
    """Two pairs of 3x3 convolutions without padding, each before a max pooling, and two dense layers of 200.

    The MNIST net of Carlini & Wagner, *Towards evaluating the robustness of neural networks* (S&P 2017), on which
    adversarial training is often compared.
    """

    framework: ClassVar[Literal["torch"]] = "torch"
    input_shape: tuple[int, ...]
    classes: int
    widths: tuple[int, ...] = (32, 64)
    hidden: int = 200

    def build(self) -> nn.Module:
        """Logits from (n, channels, height, width)."""
        channels, height, width = self.input_shape
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for stage, outputs in enumerate(self.widths, start=1):
            for inputs, part in ((channels, "a"), (outputs, "b")):
                layers[f"conv{stage}{part}"] = nn.Conv2d(inputs, outputs, 3)
                layers[f"relu{stage}{part}"] = nn.ReLU()
            layers[f"pool{stage}"] = nn.MaxPool2d(2)
            channels, height, width = outputs, (height - 4) // 2, (width - 4) // 2
        layers["flatten"] = nn.Flatten()
        features = channels * height * width
        for index in (1, 2):
            layers[f"dense{index}"] = nn.Linear(features, self.hidden)
            layers[f"dense_relu{index}"] = nn.ReLU()
            features = self.hidden
        layers["head"] = nn.Linear(features, self.classes)
        return nn.Sequential(layers)


@architectures.register("lenet")
@dataclass(frozen=True, kw_only=True)
class LeNet:
    """LeCun et al., *Gradient-based learning applied to document recognition* (1998), with ReLU and max pooling."""

    framework: ClassVar[Literal["torch"]] = "torch"
    input_shape: tuple[int, ...]
    classes: int

    def build(self) -> nn.Module:
        """Logits from (n, channels, height, width)."""
        channels, height, width = self.input_shape
        rows, columns = ((size - 4) // 2 for size in (height, width))
        rows, columns = ((size - 4) // 2 for size in (rows, columns))
        return nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(channels, 6, 5),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(6, 16, 5),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                flatten=nn.Flatten(),
                dense1=nn.Linear(16 * rows * columns, 120),
                relu3=nn.ReLU(),
                dense2=nn.Linear(120, 84),
                relu4=nn.ReLU(),
                head=nn.Linear(84, self.classes),
            )
        )


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.norm1(self.conv1(x)))
        return self.relu2(self.norm2(self.conv2(y)) + self.shortcut(x))


@architectures.register("resnet")
@dataclass(frozen=True, kw_only=True)
class ResNet:
    """He et al., *Deep residual learning for image recognition* (CVPR 2016), for small images: 3x3 stem, no pooling.

    ``widths`` gives the channels of each stage, ``blocks`` the residual blocks per stage; every stage but the first
    halves the resolution; global average pooling and a linear head end it.
    """

    framework: ClassVar[Literal["torch"]] = "torch"
    input_shape: tuple[int, ...]
    classes: int
    widths: tuple[int, ...] = (32, 64, 128)
    blocks: int = 1

    def build(self) -> nn.Module:
        """Logits from (n, channels, height, width)."""
        stem = self.widths[0]
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv=nn.Conv2d(self.input_shape[0], stem, 3, padding=1, bias=False),
            norm=nn.BatchNorm2d(stem),
            relu=nn.ReLU(),
        )
        channels = stem
        for stage, width in enumerate(self.widths, start=1):
            blocks = []
            for block in range(self.blocks):
                blocks.append(_ResidualBlock(channels, width, stride=2 if stage > 1 and block == 0 else 1))
                channels = width
            layers[f"stage{stage}"] = nn.Sequential(*blocks)
        layers["pool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["head"] = nn.Linear(channels, self.classes)
        return nn.Sequential(layers)


class TransformerBlock(nn.Module):
    """Pre-norm attention and a GELU perceptron, each with its residual connection."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * dim, dim), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """(n, length, dim) to the same; ``padding`` (n, length) is True at positions to ignore."""
        y = self.norm1(x)
        x = x + self.attention(y, y, y, key_padding_mask=padding, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class _ViT(nn.Module):
    def __init__(self, config: VisionTransformer) -> None:
        super().__init__()
        channels, height, width = config.input_shape
        patches = (height // config.patch) * (width // config.patch)
        self.patches = nn.Conv2d(channels, config.dim, config.patch, stride=config.patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.positions = nn.Parameter(0.02 * torch.randn(1, patches + 1, config.dim))
        self.blocks = nn.ModuleList(
            TransformerBlock(config.dim, config.heads, config.dropout) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), tokens], dim=1) + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens[:, 0]))


@architectures.register("vit")
@dataclass(frozen=True, kw_only=True)
class VisionTransformer:
    """Dosovitskiy et al., *An image is worth 16x16 words* (ICLR 2021): patches, a class token, attention blocks."""

    framework: ClassVar[Literal["torch"]] = "torch"
    input_shape: tuple[int, ...]
    classes: int
    patch: int = 4
    dim: int = 64
    depth: int = 4
    heads: int = 4
    dropout: float = 0.1

    def build(self) -> nn.Module:
        """Logits from (n, channels, height, width); height and width divisible by ``patch``."""
        return _ViT(self)
