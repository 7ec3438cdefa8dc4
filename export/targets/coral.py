"""Google Coral: the Edge TPU on a USB stick, a PCIe or M.2 card, or a Dev Board."""

from edgeseg.export.targets.base import Target

CORAL = Target("coral", "Google Coral Edge TPU", backend="edgetpu", precisions=("int8",))
