"""Any CPU: x86-64, 64-bit ARM, Raspberry Pi; LiteRT with XNNPACK."""

from edgeseg.export.targets.base import Target

CPU = Target("cpu", "any 64-bit CPU, with LiteRT", backend="tflite", precisions=("int8", "fp32"))
