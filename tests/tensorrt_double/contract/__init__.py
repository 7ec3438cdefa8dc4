"""Does our code use TensorRT as TensorRT is, in each recorded version? An abstract walk over the syntax tree.

For each version every function is walked once with the conditions decided that ask for an attribute: `hasattr(x, "N")`,
`getattr(x, "N", default)`, `"N" in trt.X.__members__`, a function or variable that is only such a condition, and what
`not`, `and`, `or`, `if` and an early `return` make of them. What can be reached in a version must exist there, take
those arguments, and be assignable if it is assigned.

What is a TensorRT object? In this order:
- what a TensorRT call gives (RETURNS, a class called by its name, `create(lambda: ...)`) and what is assigned from it;
- never what has an annotation other than Any, or comes from a class or function of ours that has one, or from another
  module than TensorRT (`json.loads`): that is a type of ours;
- a name, or the last part of a dotted one, in RECEIVERS, with leading underscores removed: `self._engine` is an engine.
An attribute whose name only TensorRT has, on an object that is none of these, is a finding too.
"""

from .names import RECEIVERS, RETURNS
from .walk import Report, check_source

__all__ = ["RECEIVERS", "RETURNS", "Report", "check_source"]
