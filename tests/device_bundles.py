"""Small real bundles for tests of the device side: a network that finds the nearest class colour.

`python tests/device_bundles.py FOLDER` writes them; a board's Python cannot, it has no Keras and no ONNX.
The network is an 8x8 average pooling and a 1x1 convolution: logit of class c is 2 color_c x - |color_c|^2,
in units of 255^2, so the winner is the class whose colour is nearest to the mean of a cell.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

if __name__ == "__main__":  # beside this script is a folder `edgeseg`, of tests, that would hide the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from edgeseg.bundle import payload_info, write_bundle
from edgeseg.manifest import InputInfo, Manifest, NetworkInfo, OutputInfo, TargetInfo
from edgeseg.palette import CAMVID

HEIGHT, WIDTH, STRIDE = 64, 96, 8
CLASSES = CAMVID
COLORS = np.array([c.color for c in CLASSES], np.float64) / 255


def manifest(role: str, payload: bytes, precision: str, scale: float = 1.0, zero_point: int = 0) -> Manifest:
    """The manifest of a bundle with one payload."""
    count = len(CLASSES)
    grid = (1, HEIGHT // STRIDE, WIDTH // STRIDE, count)
    is_int8 = precision == "int8"
    floats = InputInfo((1, HEIGHT, WIDTH, 3), "float32", "nhwc", "rgb", (1 / 127.5,) * 3, (-1.0,) * 3, "stretch")
    return Manifest(
        schema=1,
        network=NetworkInfo("colors", 1.0, (HEIGHT, WIDTH), STRIDE, 4 * count, 3 * count * HEIGHT * WIDTH // 64),
        classes=CLASSES,
        input=floats._replace(dtype="uint8", scale=(1.0,) * 3, offset=(0.0,) * 3)
        if is_int8 or role == "onnx"
        else floats,
        output=OutputInfo(grid, "int8" if is_int8 else "float32", "nhwc", "logits", "half_pixel", scale, zero_point),
        target=TargetInfo("cpu", "onnxruntime" if role == "onnx" else "tflite", precision),
        payloads=(payload_info(role, f"payload/network.{role}", payload),),
        compression=None,
        calibration=None,
        parity=None,
        accuracy=None,
        compilation=None,
        verification=None,
        provenance={"made_by": "tests/device_bundles.py"},
    )


def onnx_payload() -> bytes:
    """uint8 NHWC in, float32 NHWC logits out, opset 13 (onnxruntime 1.10 of Python 3.6 reads up to 15)."""
    from onnx import TensorProto, checker, helper, numpy_helper

    kernel = (2 * COLORS / 255).astype(np.float32)[:, :, None, None]
    bias = (-(COLORS**2).sum(axis=1)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["cells", "kernel", "bias"], ["scores"]),
        helper.make_node("Transpose", ["scores"], ["logits"], perm=[0, 2, 3, 1]),
    ]
    shape = [1, HEIGHT // STRIDE, WIDTH // STRIDE, len(CLASSES)]
    graph = helper.make_graph(
        nodes,
        "colors",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, HEIGHT, WIDTH, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 7
    checker.check_model(model)
    return model.SerializeToString()


def tflite_payload(precision: str) -> tuple[bytes, float, int]:
    """The same network through Keras and our own converter; payload, output scale and zero point."""
    from edgeseg.export.quiet import import_tensorflow

    import_tensorflow()
    import keras

    from edgeseg.export.tflite import to_float_tflite, to_int8_tflite
    from edgeseg.tflite.model import read_tflite

    image = keras.Input((HEIGHT, WIDTH, 3))
    cells = keras.layers.AveragePooling2D(8)(image)
    score = keras.layers.Conv2D(len(CLASSES), 1)
    network = keras.Model(image, score(cells))
    # The input is pixel / 127.5 - 1, so x = (input + 1) / 2.
    score.set_weights([COLORS.T[None, None], COLORS.sum(axis=1) - (COLORS**2).sum(axis=1)])
    rng = np.random.default_rng(0)
    images = [_patches(rng) for _ in range(20)]
    if precision == "fp32":
        return to_float_tflite(network), 1.0, 0
    payload = to_int8_tflite(network, images)
    model = read_tflite(payload)
    output = model.tensors[model.outputs[0]]
    return payload, output.scale[0], output.zero_point[0]


def _patches(rng: np.random.Generator) -> np.ndarray:
    ids = rng.integers(0, len(CLASSES), (4, 6))
    colors = np.array([c.color for c in CLASSES], np.uint8)
    return colors[ids].repeat(HEIGHT // 4, axis=0).repeat(WIDTH // 6, axis=1)


def make(folder: Path) -> None:
    """Write onnx.edgeseg, int8.edgeseg and fp32.edgeseg into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    payload = onnx_payload()
    write_bundle(str(folder / "onnx.edgeseg"), manifest("onnx", payload, "fp32"), {"onnx": payload})
    for precision in ("int8", "fp32"):
        payload, scale, zero_point = tflite_payload(precision)
        made = manifest("tflite", payload, precision, scale, zero_point)
        write_bundle(str(folder / f"{precision}.edgeseg"), made, {"tflite": payload})


if __name__ == "__main__":
    make(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
