"""Fully convolutional networks (Long, Shelhamer, Darrell, CVPR 2015) on MobileNetV2.

As in the paper, a context head ("fc6", "fc7") sits on the stride-32 features, is upsampled by two,
summed with a 1x1 projection of the stride-16 features (FCN-16s), and once more with stride 8 (FCN-8s).
Two changes fit it to mobile features: fc6 is a depthwise 7x7 plus 1x1 convolution, and the sums are
taken on `HEAD_CHANNELS` features, not on class scores, with a separable 3x3 convolution after each.
"""

import numpy as np
from keras import KerasTensor, layers

from edgeseg.models.backbone import Features, bn_relu, conv_bn_relu
from edgeseg.models.spec import Upsampling

HEAD_CHANNELS = 128
DETAIL_CHANNELS = 64  # at stride 4, where each costs four times as much as at stride 8


def fcn_logits(features: Features, classes: int, stride: int, upsampling: Upsampling) -> KerasTensor:
    """Logits (N, H/stride, W/stride, classes) of FCN-32s, FCN-16s or FCN-8s.

    `upsampling` is the x2 step between the scales: "bilinear" is a fixed resize with half-pixel
    centres; "learned" is a 4x4 transposed convolution that starts as that resize (paper, section 3.3).
    """
    return decode(context(features), features, classes, stride, upsampling)


def context(features: Features) -> KerasTensor:
    """The head at stride 32, "fc6" and "fc7": (N, H/32, W/32, HEAD_CHANNELS)."""
    x = conv_bn_relu(features.stride32, HEAD_CHANNELS, 1, "fc6_reduce", "fc6_reduce_BN", "fc6_reduce_relu")
    return _separable(x, 7, "fc6")


def decode(x: KerasTensor, features: Features, classes: int, stride: int, upsampling: Upsampling) -> KerasTensor:
    """Upsample `x` of stride 32 to `stride`, fused with the backbone's features at each step of two, and classify."""
    for scale, tap in ((16, features.stride16), (8, features.stride8)):
        if scale < stride:
            break
        x = add_skip(_upsample2(x, upsampling, f"up{scale}"), tap, scale)
        x = _separable(x, 3, f"refine{scale}")
    if stride == 4:
        x = conv_bn_relu(x, DETAIL_CHANNELS, 1, "reduce4", "reduce4_BN", "reduce4_relu")
        x = add_skip(_upsample2(x, upsampling, "up4"), features.stride4, 4)
        x = _separable(x, 3, "refine4")
    return layers.Conv2D(classes, 1, name="score")(x)


def add_skip(x: KerasTensor, tap: KerasTensor, scale: int) -> KerasTensor:
    """The sum of `x` and a projection of `tap`, both at stride `scale`."""
    skip = f"skip{scale}"
    projection = conv_bn_relu(tap, x.shape[-1], 1, skip, skip + "_BN", skip + "_relu")
    return layers.Add(name=f"fuse{scale}")([x, projection])


def _separable(x: KerasTensor, kernel: int, name: str) -> KerasTensor:
    depthwise, pointwise = name + "_depthwise", name + "_pointwise"
    x = layers.DepthwiseConv2D(kernel, padding="same", use_bias=False, name=depthwise)(x)
    x = bn_relu(x, depthwise + "_BN", depthwise + "_relu")
    return conv_bn_relu(x, x.shape[-1], 1, pointwise, pointwise + "_BN", pointwise + "_relu")


def _upsample2(x: KerasTensor, upsampling: Upsampling, name: str) -> KerasTensor:
    if upsampling == "bilinear":
        return layers.UpSampling2D(2, interpolation="bilinear", name=name)(x)
    # Its start is assigned, not an initialiser: a class of ours would tie the saved file to edgeseg.
    layer = layers.Conv2DTranspose(
        x.shape[-1], 4, 2, padding="same", use_bias=False, kernel_initializer="zeros", name=name
    )
    y = layer(x)
    layer.kernel.assign(bilinear_x2_kernel(x.shape[-1]))
    return y


def bilinear_x2_kernel(channels: int) -> np.ndarray:
    """Kernel (4, 4, channels, channels) float32 of a stride-2 transposed convolution.

    It equals the x2 bilinear resize with half-pixel centres, channel by channel, away from the border.
    """
    ramp = np.array([0.25, 0.75, 0.75, 0.25], np.float32)
    return np.einsum("y,x,io->yxio", ramp, ramp, np.eye(channels, dtype=np.float32))
