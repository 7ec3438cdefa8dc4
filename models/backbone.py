"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381, table 2) as a feature pyramid.

Layer names are those of `keras.applications.MobileNetV2`, so weights made for it load by name.
"""

from typing import NamedTuple

from keras import KerasTensor, layers

from edgeseg.models.spec import Geometry

# expansion, repeats, stride (paper, table 2; the first row is `expanded_conv`)
_STAGES = ((1, 1, 1), (6, 2, 2), (6, 3, 2), (6, 4, 2), (6, 3, 1), (6, 3, 2), (6, 1, 1))
STAGE_CHANNELS = (16, 24, 32, 64, 96, 160, 320)

# keras.applications uses 0.999, with which a short fine-tuning never brings the statistics up to date.
BN_MOMENTUM = 0.95
BN_EPSILON = 1e-3


class Features(NamedTuple):
    """The taps that a segmentation head reads: widest layer before each change of resolution.

    Shapes (N, H/s, W/s, C), with C at width 1.0: stride4 144, stride8 192, stride16 576, stride32 1280.
    """

    stride4: KerasTensor
    stride8: KerasTensor
    stride16: KerasTensor
    stride32: KerasTensor


def scaled_channels(channels: int, width: float) -> int:
    """Channels at a width multiplier, a multiple of 8 not under 90 % (the rule of the reference code)."""
    scaled = max(8, int(channels * width + 4) // 8 * 8)
    return scaled + 8 if scaled < 0.9 * channels * width else scaled


def conv_bn_relu(x: KerasTensor, channels: int, kernel: int, name: str, bn_name: str, relu_name: str) -> KerasTensor:
    """A stride-1 convolution without bias, BatchNorm, ReLU6."""
    x = layers.Conv2D(channels, kernel, padding="same", use_bias=False, name=name)(x)
    return bn_relu(x, bn_name, relu_name)


def bn_relu(x: KerasTensor, bn_name: str, relu_name: str) -> KerasTensor:
    return layers.ReLU(6.0, name=relu_name)(batch_norm(x, bn_name))


def batch_norm(x: KerasTensor, name: str) -> KerasTensor:
    return layers.BatchNormalization(momentum=BN_MOMENTUM, epsilon=BN_EPSILON, name=name)(x)


def mobilenet_v2(image: KerasTensor, width: float, geometry: Geometry) -> Features:
    """Build the backbone on `image`, (N, H, W, 3) in [-1, 1], H and W divisible by 32.

    `geometry` is where a stride-2 convolution puts its zeros, and must be the one that the initial
    weights were trained in: "symmetric" pads 1 on every side (PyTorch), "same" pads below and to the
    right (TensorFlow). Weights in the wrong geometry see every feature map shifted by a pixel.
    """
    x = _strided(image, geometry, "Conv1_pad", channels=scaled_channels(32, width), name="Conv1")
    x = bn_relu(x, "bn_Conv1", "Conv1_relu")
    expanded = {}
    block = 0
    for (expansion, repeats, stage_stride), channels in zip(_STAGES, STAGE_CHANNELS, strict=True):
        for repeat in range(repeats):
            stride = stage_stride if repeat == 0 else 1
            x, expanded[block] = _inverted_residual(
                x, block, expansion, scaled_channels(channels, width), stride, geometry
            )
            block += 1
    last = scaled_channels(1280, max(1.0, width))
    stride32 = conv_bn_relu(x, last, 1, "Conv_1", "Conv_1_bn", "out_relu")
    return Features(expanded[3], expanded[6], expanded[13], stride32)


def _inverted_residual(
    x: KerasTensor, block: int, expansion: int, channels: int, stride: int, geometry: Geometry
) -> tuple[KerasTensor, KerasTensor]:
    """One bottleneck block (paper, figure 4d); returns its output and its expanded input."""
    prefix = f"block_{block}_" if block else "expanded_conv_"
    y = x
    if expansion > 1:
        name = prefix + "expand"
        y = conv_bn_relu(x, x.shape[-1] * expansion, 1, name, name + "_BN", name + "_relu")
    expanded = y
    name = prefix + "depthwise"
    if stride == 2:
        y = _strided(y, geometry, prefix + "pad", channels=None, name=name)
    else:
        y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=name)(y)
    y = bn_relu(y, name + "_BN", name + "_relu")
    y = layers.Conv2D(channels, 1, use_bias=False, name=prefix + "project")(y)
    y = batch_norm(y, prefix + "project_BN")
    if stride == 1 and x.shape[-1] == channels:
        y = layers.Add(name=prefix + "add")([x, y])
    return y, expanded


def _strided(x: KerasTensor, geometry: Geometry, pad_name: str, *, channels: int | None, name: str) -> KerasTensor:
    """A 3x3 stride-2 convolution, depthwise where `channels` is None, in the given geometry."""
    padding = "same"
    if geometry == "symmetric":
        x = layers.ZeroPadding2D(1, name=pad_name)(x)
        padding = "valid"
    if channels is None:
        return layers.DepthwiseConv2D(3, 2, padding=padding, use_bias=False, name=name)(x)
    return layers.Conv2D(channels, 3, 2, padding=padding, use_bias=False, name=name)(x)
