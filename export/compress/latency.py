"""Channel pruning by milliseconds on the CPU of this machine.

Multiply-accumulates mislead: a depthwise one takes several times as long as one of a 1x1 convolution, and so do those
of large maps with few channels. So each convolution is timed on its own, as int8, in the runtime of the `cpu` target:
a table by layer, as NetAdapt has it (Yang et al. 2018, arXiv 1804.03230, section 3.3). Sums and resizes are in no
layer's row, so what is left is timed as a whole, and cut again until it is as fast as was asked for.
"""

from collections.abc import Callable

import keras
import numpy as np

from edgeseg.export.compress.channels import OutOfReachError, choose, layout_of, narrowed, to_share
from edgeseg.export.compress.plan import Step
from edgeseg.export.litert import usual_threads
from edgeseg.export.measure import measure_ms
from edgeseg.export.source import FloatNetwork
from edgeseg.export.tflite import to_int8_untrained
from edgeseg.models.slicing import Arrays

ROUNDS = 20
_TRIES = 5
_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Conv2DTranspose)


def kept_for_speed(
    source: FloatNetwork, step: Step, worth: Arrays, log: Callable[[str], None]
) -> dict[str, np.ndarray]:
    """Channels that stay, by group, so that the int8 file is as fast as `step` wants: both timed in turns, here.

    Raises OutOfReachError where it is not.
    """
    network, threads = source.network, usual_threads()
    layout = layout_of(network, source.card.spec, layer_ms(network, threads))
    before = to_int8_untrained(network)
    share = 1 / step.speedup if step.speedup else step.ms / measure_ms([before], threads, ROUNDS)[0]
    for _ in range(_TRIES):
        kept = choose(layout, worth, to_share(layout, share))
        smaller, _ = narrowed(network, source.card.spec, layout, kept)
        was, now = measure_ms([before, to_int8_untrained(smaller)], threads, ROUNDS)
        log(f"int8 on this CPU, {threads} threads: {was:.2f} ms before, {now:.2f} after, {was / now:.2f} times as fast")
        missed = now / (was / step.speedup if step.speedup else step.ms)
        if missed <= 1:
            break
        share /= missed * 1.02
    else:
        raise OutOfReachError(
            f"{step.text}: after {_TRIES} cuts it is still {now:.2f} ms", "try again on a quiet machine"
        )
    return kept


def layer_ms(network: keras.Model, threads: int) -> dict[str, float]:
    """Median milliseconds of each convolution of `network`, by the name of its layer."""
    layers = [layer for layer in network.layers if isinstance(layer, _CONVOLUTIONS)]
    files: dict[tuple[object, ...], bytes] = {}
    for layer in layers:
        if _shape(layer) not in files:
            files[_shape(layer)] = _alone(layer)
    times = dict(zip(files, measure_ms(list(files.values()), threads, ROUNDS), strict=True))
    return {layer.name: times[_shape(layer)] for layer in layers}


def _shape(layer: keras.Layer) -> tuple[object, ...]:
    """All that the time of a convolution depends on."""
    options = (layer.strides, layer.padding, layer.dilation_rate)
    return (type(layer).__name__, layer.input.shape[1:], layer.kernel.shape, *options)


def _alone(layer: keras.Layer) -> bytes:
    """A file with this convolution only, and a ReLU6 that is computed with it."""
    shape = tuple(layer.input.shape[1:])
    inputs = keras.Input(batch_shape=(1, *shape))
    twin = type(layer).from_config(layer.get_config() | {"use_bias": True})
    network = keras.Model(inputs, keras.layers.ReLU(6.0)(twin(inputs)))
    return to_int8_untrained(network, "int8")
