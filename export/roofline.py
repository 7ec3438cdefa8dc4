"""Latency on a board that is not here: a roofline for each operation, corrected by what such boards were seen to do.

An operation cannot take less than its arithmetic at the peak rate of the chip, nor less than its reads and writes at
the bandwidth of its memory (Williams et al. 2009). The sum over a network is a bound. Mobile networks stay far from
it: depthwise convolutions move much and compute little, and the kernels for them are poor. How far is taken from
published measurements of MobileNets; how much these differ among each other is the error to expect.

Measured time over bound, by GPU generation, batch 1, fp16 (JetPack of 2018 to 2020; newer ones may be quicker):

    Nano       MobileNetV2 300x300, 64 FPS                                     4.6   [1]
               MobileNetV2 224x224, 17.65 ms                                   9.5   [2]
               MobileNetV2 with ASPP 640x480, 320x240, 2.78 and 11.5 FPS       13.7, 13.2   [3]
    TX2        MobileNetV1 224x224, 12.9 ms                                    12.5  [4]
               MobileNetV2 with ASPP 640x480, 320x240, 7 and 28.6 FPS          14.4, 14.1   [3]
    AGX Xavier MobileNetV2 224x224, 723 FPS                                    5.4   [5]
               MobileNetV2 with ASPP 640x480, 320x240, 44.5 and 142.8 FPS      9.1, 11.2    [3]
    Edge TPU   MobileNetV2 224x224, 2.6 ms on USB 3                            17.3  [6]
               DeepLabV3 on MobileNetV2 513x513, 26.5 ms without its CPU tail  19.3  [7]

Without depthwise convolutions the same bounds are close: FCN-ResNet18 takes 1.0 times the bound on a Nano, 1.3 to 2.5
times on an AGX Xavier [8].

[1] https://devblogs.nvidia.com/jetson-nano-ai-computing  [2] iwatake2222/TensorRT_Sample_JetsonNano, MobileNetV2
[3] PRBonn/bonnetal, train/auxiliary/jetsonbenchmark.md; bound of a network rebuilt from its configuration
[4] NVIDIA-AI-IOT/tf_to_trt_image_classification  [5] NVIDIA-AI-IOT/torch2trt, docs/benchmarks/jetson_xavier.md
[6] https://coral.ai/docs/edgetpu/benchmarks  [7] LibrEdgeTPU, HARDWARE_ANALYSIS section 19
[8] dusty-nv/jetson-inference, docs/segnet-console-2.md
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from edgeseg.export.targets import Board, Target
from edgeseg.models.cost import Operation

# fp16 operations of a CUDA core in a clock, two a multiply-accumulate. sm_53, sm_62: half2. sm_72: tensor cores, 512
# multiply-accumulates of an SM of 64 cores (11 TFLOPS of AGX Xavier's data sheet); sm_87: 1024 of 128 (NVIDIA
# TB_10749-001: 170 TOPS int8 sparse of AGX Orin's GPU, half of it dense, half of that fp16).
_DENSE_OPERATIONS = {53: 4, 62: 4, 72: 16, 87: 16}
_VECTOR_OPERATIONS = 4  # half2 on the CUDA cores: a depthwise convolution is no product of matrices

# Measured time over bound, as above. No mobile network was found for Orin: it is taken to be as Xavier.
_ORIN = 87
_XAVIER = (5.4, 9.1, 11.2)
_MEASURED = {53: (4.6, 9.5, 13.7, 13.2), 62: (12.5, 14.4, 14.1), 72: _XAVIER, _ORIN: _XAVIER}
_MEASURED_TPU = (17.3, 19.3)
_TPU_OPERATIONS = 4e12  # https://coral.ai/products/accelerator


class Chip(NamedTuple):
    """What bounds a chip in the default precision of its target, and how far mobile networks were from the bound."""

    element_bytes: int
    dense: float  # operations a second of dense convolutions, two a multiply-accumulate
    depthwise: float
    bandwidth: float  # bytes a second; infinity where activations do not leave the chip
    measured: tuple[float, ...]  # time over bound of published networks

    @property
    def slowdown(self) -> float:
        """The geometric mean of what was measured."""
        return math.exp(math.fsum(map(math.log, self.measured)) / len(self.measured))


def chip_of(target: Target) -> Chip | None:
    """What is known of a target; None for a CPU, which can be measured."""
    if target.board:
        return _jetson(target.board)
    if target.backend == "edgetpu":
        return Chip(1, _TPU_OPERATIONS, _TPU_OPERATIONS, math.inf, _MEASURED_TPU)
    return None


def bound_ms(steps: Sequence[Operation], chip: Chip) -> float:
    """The least time of an inference: each operation's arithmetic or traffic, whichever takes longer."""
    seconds = 0.0
    for step in steps:
        if step.inputs:
            arithmetic = 2 * step.macs / (chip.depthwise if step.depthwise else chip.dense)
            traffic = chip.element_bytes * (step.read + step.written + step.weights) / chip.bandwidth
            seconds += max(arithmetic, traffic)
    return 1e3 * seconds


def estimate_ms(steps: Sequence[Operation], chip: Chip) -> float:
    """What an inference of a mobile network is expected to take."""
    return chip.slowdown * bound_ms(steps, chip)


def basis(target: Target, chip: Chip) -> str:
    """A line on what an estimate is worth."""
    low, high = (ratio / chip.slowdown for ratio in (min(chip.measured), max(chip.measured)))
    where = " on AGX Xavier, none being known of Orin," if target.board and target.board.sm == _ORIN else ""
    return (
        f"ms on {target.name} is estimated ({target.precisions[0]} roofline x {chip.slowdown:.1f}), not measured: "
        f"{len(chip.measured)} published measurements of mobile networks{where} were {low:.1f} to {high:.1f} times "
        "such an estimate; `edgeseg bench` measures on the board"
    )


def _jetson(board: Board) -> Chip:
    clocks = board.cuda_cores * board.gpu_ghz * 1e9
    return Chip(
        2,
        clocks * _DENSE_OPERATIONS[board.sm],
        clocks * _VECTOR_OPERATIONS,
        board.bandwidth_gbps * 1e9,
        _MEASURED[board.sm],
    )
