"""NVIDIA Jetson boards.

Sources: SM, JetPack, CUDA and TensorRT from NVIDIA's JetPack release notes and jetson_stats
(https://github.com/rbonghi/jetson_stats, jtop/core/jetson_variables.py); bandwidth, cores and clock from NVIDIA's
module data sheets, TX2's from Hot Chips 2017. INT8 on the GPUs of TX1, Nano and TX2: sm_53 and sm_62 have no DP4A
instruction (https://github.com/dusty-nv/jetson-inference/issues/111); TensorRT then builds an engine that is slower
than fp16 (https://github.com/lewes6369/TensorRT-Yolov3/issues/62).
"""

from edgeseg.export.targets.base import Board, Target

_NO_INT8 = (
    "the GPU of {} (sm_{}) has no int8 arithmetic: TensorRT would build an engine that is slower than fp16, "
    "with the accuracy of int8"
)

_JETPACK4 = Board(53, 0, 0, "4.6.1 to 4.6.6", "3.6", "10.2", "8.2", (8, 2), 25.6, 128, 0.9216)
_JETPACK5 = Board(72, 2, 1, "5.1 to 5.1.6", "3.8", "11.4", "8.5", (8, 5), 59.7, 384, 1.1)
_JETPACK6 = Board(87, 2, 2, "6.0 to 7.2", "3.10, 3.12", "12.2 to 13.2", "8.6 to 11.4", (8, 6), 204.8, 2048, 1.3)


def _without_int8(name: str, title: str, board: Board) -> Target:
    reason = _NO_INT8.format(title, board.sm)
    return Target(name, title, "tensorrt", ("fp16", "fp32"), board, reason)


def _with_int8(name: str, title: str, board: Board) -> Target:
    # fp16 needs no images and hardly changes a mask; int8 has to be asked for, and its gain measured on the board.
    return Target(name, title, "tensorrt", ("fp16", "int8", "fp32"), board)


JETSONS = (
    _without_int8("tx1", "Jetson TX1", _JETPACK4._replace(cuda_cores=256, gpu_ghz=0.998)),
    _without_int8("nano", "Jetson Nano", _JETPACK4),
    _without_int8("tx2", "Jetson TX2", _JETPACK4._replace(sm=62, bandwidth_gbps=59.7, cuda_cores=256, gpu_ghz=1.3)),
    _with_int8("xavier-nx", "Jetson Xavier NX", _JETPACK5),
    _with_int8("xavier", "Jetson AGX Xavier", _JETPACK5._replace(bandwidth_gbps=136.5, cuda_cores=512, gpu_ghz=1.377)),
    _with_int8(
        "orin-nano",
        "Jetson Orin Nano",
        _JETPACK6._replace(dla_cores=0, dla_generation=0, bandwidth_gbps=68.0, cuda_cores=1024, gpu_ghz=0.625),
    ),
    _with_int8("orin-nx", "Jetson Orin NX", _JETPACK6._replace(bandwidth_gbps=102.4, cuda_cores=1024, gpu_ghz=0.918)),
    _with_int8("orin", "Jetson AGX Orin", _JETPACK6),
)
