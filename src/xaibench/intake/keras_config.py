"""What the configuration of an uploaded Keras model may name: known parts that compute, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from xaibench.errors import InputError

__all__ = ["FUNCTIONS", "LAYERS", "check_configuration"]

LAYERS: Final = frozenset(
    re.findall(
        r"\w+",
        """
        Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
        AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add
        AdditiveAttention AlphaDropout Attention AugMix AutoContrast Average AveragePooling1D AveragePooling2D
        AveragePooling3D AvgPool1D AvgPool2D AvgPool3D BatchNormalization Bidirectional CategoryEncoding
        CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D
        ConvLSTM2D ConvLSTM3D Convolution1D Convolution1DTranspose Convolution2D Convolution2DTranspose
        Convolution3D Convolution3DTranspose Cropping1D Cropping2D Cropping3D CutMix Dense DepthwiseConv1D
        DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding Equalization Flatten GRU GRUCell
        GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
        GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D
        GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization GroupQueryAttention
        HashedCrossing Hashing Identity InputLayer LSTM LSTMCell LayerNormalization LeakyReLU Masking MaxPool1D
        MaxPool2D MaxPool3D MaxPooling1D MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum MixUp
        MultiHeadAttention Multiply Normalization PReLU Permute RMSNormalization RNN RandAugment
        RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
        RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue
        RandomInvert RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness
        RandomShear RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing
        ReversibleEmbedding STFTSpectrogram SeparableConv1D SeparableConv2D SeparableConvolution1D
        SeparableConvolution2D SimpleRNN SimpleRNNCell Softmax Solarization SpatialDropout1D SpatialDropout2D
        SpatialDropout3D SpectralNormalization StackedRNNCells Subtract TimeDistributed UnitNormalization
        UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
        """,
    )
)
"""Layers that compute from their inputs and weights: none holds code, reads files or calls another framework."""

FUNCTIONS: Final = frozenset(
    re.findall(
        r"\w+",
        """
        abs celu cos elu erf exp exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh
        leaky_relu linear log log1p log_sigmoid log_softmax mish negative relu relu6 rsqrt selu sigmoid silu sin
        soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid sparsemax sqrt square squareplus swish
        tanh tanh_shrink threshold
        """,
    )
)
"""Functions of one tensor that may stand for an activation."""

_MODELS = frozenset({"Functional", "Model", "Sequential"})
_VALUES = frozenset({"__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"})
"""Plain values in Keras's own notation; `__lambda__` and `__typespec__` are none of them."""
_OPERATIONS = re.compile(r"keras\.src\.ops\.(einops|image|math|nn|numpy)")
"""Arithmetic on tensors; the operations of other modules take functions."""
_SMALL = re.compile(r"keras\.(constraints|dtype_policies|initializers|regularizers)")
_CLASS = re.compile(r"[A-Z][A-Za-z0-9]*")


def check_configuration(config: Any) -> None:
    """Refuse a model's configuration that names anything but known parts of Keras that compute.

    Keras looks up ``module.class_name`` among all that it exports, so both are held to lists, dots in names included.
    How the model was compiled is passed over: it is loaded without.
    """
    if isinstance(config, dict):
        config = {key: value for key, value in config.items() if key != "compile_config"}
    for entry in _objects(config):
        module, name, registered = entry.get("module"), entry.get("class_name"), entry.get("registered_name")
        if name == "function":
            name = entry.get("config")
            known = module == "builtins" and isinstance(name, str) and name in FUNCTIONS
            own = registered in (None, "function", name)
        else:
            known = isinstance(name, str) and _is_known(module, name)
            own = registered in (None, name)
        if not (known and own):
            raise InputError(
                "expected a model without code, of layers of Keras that compute only,"
                f" got {name!s:.60} of {module!s:.60}: replace it by plain layers"
            )


def _is_known(module: object, name: str) -> bool:
    if module is None:
        return name in _VALUES
    if not isinstance(module, str):
        return False
    if module == "keras":
        return name in _MODELS or name == "DTypePolicy"
    if module in ("keras.models", "keras.src.models.functional", "keras.src.models.sequential"):
        return name in _MODELS
    if module == "keras.layers":
        return name in LAYERS
    return _CLASS.fullmatch(name) is not None and bool(_OPERATIONS.fullmatch(module) or _SMALL.fullmatch(module))


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """All dictionaries in a JSON value that describe an object."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if "class_name" in one:
                yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
