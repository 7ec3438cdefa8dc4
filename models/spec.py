"""Which networks there are and which sizes they take. Light: nothing here imports Keras."""

from typing import Literal, NamedTuple

from edgeseg.errors import UsageError

Geometry = Literal["symmetric", "same"]
Upsampling = Literal["bilinear", "learned"]

SIZE_MULTIPLE = 32
_ASPECT_TOLERANCE = 0.1


class Architecture(NamedTuple):
    """What the name of a network stands for."""

    stride: int  # output stride: input pixels per logit
    title: str
    smallest: int = SIZE_MULTIPLE  # height and width that it needs


ARCHITECTURES = {
    "fcn32": Architecture(32, "FCN-32s (Long et al. 2015) on MobileNetV2"),
    "fcn16": Architecture(16, "FCN-16s (Long et al. 2015) on MobileNetV2"),
    "fcn8": Architecture(8, "FCN-8s (Long et al. 2015) on MobileNetV2"),
    "spp": Architecture(4, "SPP (He et al. 2014) with skips of strides 16, 8 and 4, on MobileNetV2", smallest=64),
}


class NetworkSpec(NamedTuple):
    """All that is needed to build a network, but its weights."""

    architecture: str
    width: float
    imgsz: tuple[int, int]  # height, width in pixels
    classes: int
    geometry: Geometry = "symmetric"
    upsampling: Upsampling = "bilinear"
    channels: tuple[tuple[str, int], ...] = ()  # convolutions that pruning left fewer outputs than the width gives

    @property
    def stride(self) -> int:
        return ARCHITECTURES[self.architecture].stride


def check(spec: NetworkSpec, option: str = "--imgsz") -> None:
    """Raise UsageError unless `spec` can be built; `option` is the argument that its size came from."""
    if spec.architecture not in ARCHITECTURES:
        raise UsageError(f"there is no network {spec.architecture!r}", f"choose one of: {', '.join(ARCHITECTURES)}")
    if not 0.1 <= spec.width <= 4:
        raise UsageError(f"width multiplier {spec.width} is outside 0.1 to 4", "common widths: 0.35 0.5 0.75 1.0 1.4")
    if spec.classes < 2:
        raise UsageError(f"{spec.classes} class(es): a network needs at least 2", "check the class list")
    smallest = ARCHITECTURES[spec.architecture].smallest
    if any(side < smallest or side % SIZE_MULTIPLE for side in spec.imgsz):
        raise UsageError(
            f"{option} {spec.imgsz[0]} {spec.imgsz[1]}: height and width of {spec.architecture} must be divisible by "
            f"{SIZE_MULTIPLE} and at least {smallest}",
            f"use {' or '.join(f'{option} {h} {w}' for h, w in sizes_that_fit(spec.imgsz, smallest))}",
        )


def sizes_that_fit(imgsz: tuple[int, int], smallest: int = SIZE_MULTIPLE) -> list[tuple[int, int]]:
    """The nearest sizes below and above that a network takes whose height and width are `smallest` at least."""
    below, above = (
        tuple(max(smallest, (side + up) // SIZE_MULTIPLE * SIZE_MULTIPLE) for side in imgsz)
        for up in (0, SIZE_MULTIPLE - 1)
    )
    return list(dict.fromkeys([(below[0], below[1]), (above[0], above[1])]))


def sizes_below(imgsz: tuple[int, int], smallest: int, share: float) -> list[tuple[int, int]]:
    """Sizes that a network takes, below `imgsz`, which it takes too; largest first, of about its aspect ratio.

    No side is below `smallest` pixels or `share` of the side of `imgsz`.
    """
    height, width = imgsz
    sizes = []
    for h in range(height - SIZE_MULTIPLE, smallest - 1, -SIZE_MULTIPLE):
        w = round(h * width / height / SIZE_MULTIPLE) * SIZE_MULTIPLE
        aspect = w * height / (h * width)
        large = min(h / height, w / width) >= share and w >= smallest
        if large and w < width and abs(aspect - 1) <= _ASPECT_TOLERANCE:
            sizes.append((h, w))
    return sizes
