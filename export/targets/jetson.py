"""NVIDIA Jetson boards.

Sources: SM, JetPack, CUDA and TensorRT from NVIDIA's JetPack release notes and jetson_stats
(https://github.com/rbonghi/jetson_stats, jtop/core/jetson_variables.py); bandwidth and peak from NVIDIA's module
data sheets, TX2's from Hot Chips 2017. INT8 on the GPUs of TX1, Nano and TX2: sm_53 and sm_62 have no DP4A
instruction (https://github.com/dusty-nv/jetson-inference/issues/111); TensorRT then builds an engine that is slower
than fp16 (https://github.com/lewes6369/TensorRT-Yolov3/issues/62).
"""

from edgeseg.export.targets.base import Board, Target

_NO_INT8 = (
    "the GPU of {} (sm_{}) has no int8 arithmetic: TensorRT would build an engine that is slower than fp16, "
    "with the accuracy of int8"
)

_JETPACK4 = Board(53, 0, 0, "4.6.1 to 4.6.6", "3.6", "10.2", "8.2", (8, 2), 25.6, "0.47 TFLOPS fp16")
_JETPACK5 = Board(72, 2, 1, "5.1 to 5.1.6", "3.8", "11.4", "8.5", (8, 5), 59.7, "21 TOPS int8, GPU and DLAs")
_JETPACK6 = Board(
    87, 2, 2, "6.0 to 7.2", "3.10, 3.12", "12.2 to 13.2", "8.6 to 11.4", (8, 6), 204.8, "275 TOPS int8 sparse"
)


def _without_int8(name: str, title: str, board: Board) -> Target:
    reason = _NO_INT8.format(title, board.sm)
    return Target(name, title, "tensorrt", ("fp16", "fp32"), board, reason)


def _with_int8(name: str, title: str, board: Board) -> Target:
    # fp16 needs no images and hardly changes a mask; int8 has to be asked for, and its gain measured on the board.
    return Target(name, title, "tensorrt", ("fp16", "int8", "fp32"), board)


JETSONS = (
    _without_int8("tx1", "Jetson TX1", _JETPACK4._replace(peak="1.0 TFLOPS fp16")),
    _without_int8("nano", "Jetson Nano", _JETPACK4),
    _without_int8("tx2", "Jetson TX2", _JETPACK4._replace(sm=62, bandwidth_gbps=59.7, peak="1.33 TFLOPS fp16")),
    _with_int8("xavier-nx", "Jetson Xavier NX", _JETPACK5),
    _with_int8(
        "xavier",
        "Jetson AGX Xavier",
        _JETPACK5._replace(bandwidth_gbps=136.5, peak="32 TOPS int8: GPU 22, DLAs 10"),
    ),
    _with_int8(
        "orin-nano",
        "Jetson Orin Nano",
        _JETPACK6._replace(dla_cores=0, dla_generation=0, bandwidth_gbps=68.0, peak="40 TOPS int8 sparse"),
    ),
    _with_int8("orin-nx", "Jetson Orin NX", _JETPACK6._replace(bandwidth_gbps=102.4, peak="100 TOPS int8 sparse")),
    _with_int8("orin", "Jetson AGX Orin", _JETPACK6),
)
