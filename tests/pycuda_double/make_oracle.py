"""Writes names and numbers of arguments of the real pycuda: `python -I make_oracle.py > oracle.json` where it imports.

oracle.json is of pycuda 2026.1. It needs no GPU, only a libcuda.so.1 that loads.
"""

import inspect
import json
import re
from typing import Any

CLASSES = (
    "Context",
    "Device",
    "Stream",
    "Event",
    "DeviceAllocation",
    "PagelockedHostAllocation",
    "host_alloc_flags",
    "event_flags",
    "device_attribute",
)
FUNCTIONS = (
    "init",
    "mem_alloc",
    "mem_get_info",
    "memcpy_dtoh_async",
    "memcpy_htod_async",
    "pagelocked_empty",
)
ERRORS = ("Error", "LogicError", "MemoryError", "RuntimeError", "LaunchError")


def arity(function: Any) -> list[int]:
    """Fewest and most arguments, `self` counted, from the signature in the first line of a Boost.Python docstring."""
    signature = next(line for line in function.__doc__.splitlines() if "->" in line)
    inside = signature[signature.index("(") + 1 : signature.rindex(") ->")]
    required, _, optional = inside.partition("[")
    counts = [len(re.findall(r"\(\w+\)\w+", part)) for part in (required, optional)]
    return [counts[0], sum(counts)]


def members(kind: Any) -> dict[str, list[int] | None]:
    """The public attributes of a class: arguments of a method, None for a property or the value of an enumeration."""
    found: dict[str, list[int] | None] = {}
    for base in kind.__mro__:
        for name, raw in vars(base).items():
            value = raw.__func__ if isinstance(raw, staticmethod) else raw
            signature = callable(value) and "->" in (value.__doc__ or "")
            if name == "__init__" and signature:
                found.setdefault(name, arity(value))
            elif not name.startswith("_") and base.__module__.startswith("pycuda"):
                found.setdefault(name, arity(value) if signature else None)
    return found


def main() -> None:
    import pycuda
    from pycuda import driver

    api = {
        "version": pycuda.VERSION_TEXT,
        "classes": {name: members(getattr(driver, name)) for name in CLASSES},
        "functions": {name: arity(getattr(driver, name)) for name in FUNCTIONS},
        "errors": {name: [base.__name__ for base in inspect.getmro(getattr(driver, name))] for name in ERRORS},
    }
    print(json.dumps(api, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
