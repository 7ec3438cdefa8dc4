"""Open and run damaged files as a user would: `python fuzz.py BUNDLE FIRST COUNT TPU_COUNT`.

BUNDLE is int8.edgeseg of tests/device_bundles.py. Prints the number of each file before it is touched, and then what
became of it: "refused" with one of our errors, or "run". Whatever else happens ends this process. Only the first
TPU_COUNT of the compiled ones that are sound are run; each needs processes of its own.
"""

import os
import signal
import sys
from typing import List

import numpy as np

_FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.append(_FOLDER)

from compiled import compiled_file  # noqa: E402
from flatbuffer_writer import Scalar  # noqa: E402
from mutations import damage  # noqa: E402
from small_model import SmallModel  # noqa: E402

from edgeseg.backends import open_backend  # noqa: E402
from edgeseg.backends.tflite import read_payload  # noqa: E402
from edgeseg.bundle import Bundle, read_bundle  # noqa: E402
from edgeseg.coral.package import CUSTOM_OP, read_packages  # noqa: E402
from edgeseg.errors import EdgesegError  # noqa: E402
from edgeseg.manifest import TargetInfo  # noqa: E402

LIMIT_S = 20  # of one file


def street_network() -> bytes:
    """A network of the operators that segmentation networks have; input and output are those of int8.edgeseg."""
    model = SmallModel()

    def add(name: str, inputs: List[int], *shape: int, form: int = 0, **options: Scalar) -> int:
        (output,) = model.add(name, inputs, [shape], {int(key[1:]): value for key, value in options.items()}, form)
        return output

    def weights(*shape: int) -> int:
        return model.constant(np.arange(np.prod(shape)).reshape(shape).astype(np.int8))

    def bias(count: int) -> int:
        return model.constant(np.arange(count, dtype=np.int32), 1 / 256)

    one, two, same = Scalar("i", 1), Scalar("i", 2), Scalar("b", 0)
    image = add("QUANTIZE", [model.input(1, 64, 96, 3, dtype="uint8")], 1, 64, 96, 3)
    x = add("CONV_2D", [image, weights(8, 3, 3, 3), bias(8)], 1, 32, 48, 8, form=1, _0=same, _1=two, _2=two)
    skip = add("DEPTHWISE_CONV_2D", [x, weights(1, 3, 3, 8), bias(8)], 1, 32, 48, 8, form=2, _0=same, _1=one, _2=one)
    x = add("ADD", [x, add("RELU6", [skip], 1, 32, 48, 8)], 1, 32, 48, 8)
    x = add("PAD", [x, model.constant([[0, 0], [1, 1], [1, 1], [0, 0]])], 1, 34, 50, 8)
    x = add("MAX_POOL_2D", [x], 1, 17, 25, 8, form=5, _0=same, _1=two, _2=two, _3=two, _4=two)
    slices = [model.constant(numbers) for numbers in ([0, 0, 0, 0], [1, 16, 24, 8], [1, 1, 1, 1])]
    x = add("STRIDED_SLICE", [x] + slices, 1, 16, 24, 8, form=32)
    pool = add("MEAN", [x, model.constant([1, 2])], 1, 1, 1, 8, form=27, _0=Scalar("b", 1))
    pool = add("RESIZE_BILINEAR", [pool, model.constant([16, 24])], 1, 16, 24, 8, form=15, _3=Scalar("b", 1))
    x = add("CONCATENATION", [x, pool], 1, 16, 24, 16, form=10, _0=Scalar("i", 3))
    x = add("MUL", [x, add("LOGISTIC", [x], 1, 16, 24, 16)], 1, 16, 24, 16)
    x = add("AVERAGE_POOL_2D", [x], 1, 8, 12, 16, form=5, _0=same, _1=two, _2=two, _3=two, _4=two)
    shape = model.constant([1, 16, 24, 4])
    x = add("TRANSPOSE_CONV", [shape, weights(4, 2, 2, 16), x], 1, 16, 24, 4, form=49, _0=same, _1=two, _2=two)
    x = add("RESIZE_NEAREST_NEIGHBOR", [x, model.constant([8, 12])], 1, 8, 12, 4, form=74, _1=Scalar("b", 1))
    x = add("CONV_2D", [x, weights(11, 1, 1, 4), bias(11)], 1, 8, 12, 11, form=1, _0=same, _1=one, _2=one)
    x = add("SOFTMAX", [add("RESHAPE", [x, model.constant([96, 11])], 96, 11)], 96, 11, form=9, _0=Scalar("f", 1.0))
    return model.data([add("RESHAPE", [x, model.constant([1, 8, 12, 11])], 1, 8, 12, 11)])


def check_file(bundle: Bundle, data: bytes) -> str:
    """What the checks before loading say of a file: "refused", "compiled" for the Edge TPU, or "plain"."""
    role = "edgetpu" if CUSTOM_OP.split()[1].encode("ascii") in data else "tflite"
    try:
        model = read_payload(bundle._replace(payloads={role: data}), role)
        return "compiled" if read_packages(model) else "plain"
    except EdgesegError:
        return "refused"


def run_file(bundle: Bundle, data: bytes, device: str) -> str:
    """What becomes of a file in the place of the payload of `bundle`."""
    if device == "usb":
        manifest = bundle.manifest._replace(target=TargetInfo("coral", "edgetpu", "int8"))
        bundle = bundle._replace(manifest=manifest, payloads={"edgetpu": data})
    else:
        bundle = bundle._replace(payloads={"tflite": data})
    try:
        backend = open_backend(bundle, device)
        try:
            backend.input()[:] = 100
            backend.infer()
        finally:
            backend.close()
    except EdgesegError:
        return "refused"
    return "run on " + device


def main() -> None:
    bundle = read_bundle(sys.argv[1])
    first, count, left = (int(number) for number in sys.argv[2:])
    plain, street = bundle.payloads["tflite"], street_network()
    corpus = [plain, street, street, compiled_file(plain), compiled_file(street, keep_on_cpu=4)]
    assert [check_file(bundle, data) for data in corpus] == 3 * ["plain"] + 2 * ["compiled"]
    for number in range(first, first + count):
        damaged = damage(number, corpus)
        print(number, damaged.how, sep=": ", end=": ", flush=True)
        signal.alarm(LIMIT_S)
        found = check_file(bundle, damaged.data)
        if found != "compiled":
            found = run_file(bundle, damaged.data, "cpu")  # also what is refused: by the same checks
        elif left > 0:
            found, left = run_file(bundle, damaged.data, "usb"), left - 1
        print(found, flush=True)
        signal.alarm(0)


if __name__ == "__main__":
    main()
