"""Spatial pyramid pooling (He, Zhang, Ren, Sun, ECCV 2014, arXiv 1406.4729) in front of the decoder of FCN-8s.

The decoder goes one skip further than FCN-8s, to stride 4: the pyramid adds what is far, the skip what is thin.

The context features at stride 32 are averaged over the whole picture, over its 2x2 quarters and over 4x4 bins: the
21 bins of the paper. A projection of the three levels is added to every cell, like another skip. Context at several
scales for every cell is the idea of PSPNet (Zhao et al. 2017, arXiv 1612.01105), whose ablation (table 1) finds
averages better than maxima.

One form serves every target. It has no weights that depend on the size of the picture, and it moves between sizes
with what the Edge TPU is known to run: bilinear resizes by two, average pooling, concatenation of channels.

- The map is doubled first, so that borders of bins can lie within a cell; a resize by two keeps every cell's weight.
- Along an axis of `a` doubled cells, a level of n bins has windows of a - (n - 1) * (a // n) cells, a // n apart: the
  sliding window of the paper (section 2.3), widened until the last one ends with the map. Levels 1 and 2 divide the
  map exactly, level 4 where the side is a multiple of 64 pixels; elsewhere neighbours share two doubled cells. No bin
  reads beyond the map.
- The mean of the whole is written into all four places of level 2, by a 3x3 average that leaves out what lies outside:
  the Edge TPU's compiler leaves a resize from 1x1 to the CPU.
- For the way back the 4x4 grid is doubled until it is at least four times as fine as the map, and sampled by windows of
  the same kind. A cell reads the grid at its own place, to half a bin; at the edges, the outermost bins.
"""

from keras import KerasTensor, layers

from edgeseg.models.backbone import Features, conv_bn_relu
from edgeseg.models.fcn import add_skip, context, decode
from edgeseg.models.spec import Upsampling

GRID = 4  # bins along a side of the finest level
CONTEXT_CHANNELS = 64  # of the pyramid on its way back: the most that the Edge TPU is known to resize
OVERSAMPLING = 4  # how much finer than the map the grid becomes before it is sampled


def spp_logits(features: Features, classes: int, upsampling: Upsampling) -> KerasTensor:
    """Logits (N, H/4, W/4, classes). `upsampling` is that of the decoder; the pyramid's own resizes are bilinear."""
    x = context(features)
    pyramid = conv_bn_relu(bins(x), CONTEXT_CHANNELS, 1, "pyramid", "pyramid_BN", "pyramid_relu")
    x = add_skip(x, spread(pyramid, x.shape[1:3]), 32)
    return decode(x, features, classes, 4, upsampling)


def bins(x: KerasTensor) -> KerasTensor:
    """Means of the 16, 4 and 1 bins of (N, h, w, C), h and w at least 2: (N, 4, 4, 3 C), finest level first."""
    x = _double(x, "bins_double")
    sixteen = _windows(x, (GRID, GRID), "bins4")
    quarters = _windows(x, (2, 2), "bins2")
    whole = layers.AveragePooling2D(3, 1, padding="same", name="bins1")(quarters)
    return layers.Concatenate(name="bins")([sixteen, _double(quarters, "bins2_up"), _double(whole, "bins1_up")])


def spread(grid: KerasTensor, size: tuple[int, int]) -> KerasTensor:
    """(N, 4, 4, C) stretched over a map: (N, *size, C)."""
    while grid.shape[1] < OVERSAMPLING * max(size):
        grid = _double(grid, f"spread{2 * grid.shape[1]}")
    return _windows(grid, size, "spread")


def _windows(x: KerasTensor, grid: tuple[int, int], name: str) -> KerasTensor:
    """Means over `grid` windows of one size, evenly apart, that together cover the map."""
    sizes = list(zip(x.shape[1:3], grid, strict=True))
    strides = tuple(size // count for size, count in sizes)
    window = tuple(size - (count - 1) * (size // count) for size, count in sizes)
    return layers.AveragePooling2D(window, strides, name=name)(x)


def _double(x: KerasTensor, name: str) -> KerasTensor:
    return layers.UpSampling2D(2, interpolation="bilinear", name=name)(x)
