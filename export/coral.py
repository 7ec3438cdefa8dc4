"""A network for the Edge TPU: converted, checked, compiled; at another input size where the compiler refuses it."""

from typing import NamedTuple

from edgeseg.coral.compiler import Compilation, CompilationFailed, compile_tflite
from edgeseg.coral.compiler_tool import find_compiler
from edgeseg.coral.preflight import require_whole
from edgeseg.export.product import Images, Log, Product, make_product
from edgeseg.export.source import FloatNetwork, at_size
from edgeseg.export.targets import Target
from edgeseg.models.spec import ARCHITECTURES, NetworkSpec, sizes_below
from edgeseg.tflite.model import read_tflite

Size = tuple[int, int]  # height, width

_SMALLEST_SHARE = 0.5  # of the wanted side: below it a network sees another world than it was trained on


class ForEdgeTpu(NamedTuple):
    source: FloatNetwork  # of the size that it became
    product: Product
    compilation: Compilation | None  # None: there is no compiler here


def smaller_sizes(spec: NetworkSpec) -> list[Size]:
    """Sizes to fall back to, largest first: such that the network takes, of about its aspect ratio."""
    return sizes_below(spec.imgsz, ARCHITECTURES[spec.architecture].smallest, _SMALLEST_SHARE)


def make_for_edge_tpu(
    source: FloatNetwork, fall_backs: list[Size], target: Target, images: Images, log: Log
) -> ForEdgeTpu:
    """Convert `source`, and compile it where there is a compiler; the first size that compiles is taken.

    Without a compiler that is the size of `source`. Raises CheckFailed if an operator would not run on the Edge TPU,
    or no size compiles; EnvironmentFault if the compiler does not work here.
    """
    compiler = find_compiler()
    refused: dict[str, str] = {}
    for imgsz in (source.card.spec.imgsz, *fall_backs):
        if refused:
            log(f"falling back to the input size {_text(imgsz)}")
        sized = at_size(source, imgsz)
        product = make_product(sized, target, target.precisions[0], None, images, log)
        payload = product.payloads["tflite"]
        checked = require_whole(read_tflite(payload), f"{source.card.spec.architecture} at {_text(imgsz)}")
        log(f"preflight: {checked.summary()}")
        if compiler is None:
            return ForEdgeTpu(sized, product, None)
        log(f"compiling with Edge TPU compiler {compiler.version} ({compiler.found})")
        try:
            compilation = compile_tflite(payload, compiler, log)
        except CompilationFailed as failure:
            if not failure.size_matters:
                raise
            if product.shipped:  # only this size can be had without images
                raise CompilationFailed(
                    failure.message, "give --data DIR, so that other input sizes can be calibrated and tried"
                ) from failure
            refused[_text(imgsz)] = failure.message.splitlines()[0]
            log(f"{_text(imgsz)} does not compile: {failure.message}")
            continue
        if refused:
            compilation.report["refused_sizes"] = refused
        return ForEdgeTpu(sized, product, compilation)
    raise CompilationFailed(
        "no input size compiles" + "".join(f"\n  {size}: {why}" for size, why in refused.items()),
        "give others: --imgsz HEIGHT WIDTH, more than once; smaller ones fit sooner, but not every smaller one does",
    )


def _text(imgsz: Size) -> str:
    return "{}x{}".format(*imgsz)
