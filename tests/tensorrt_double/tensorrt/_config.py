"""The builder's configuration and its timing cache."""

import json
from typing import Any, Dict, List, Optional

from . import _plan
from ._log import emit, emit_error
from ._precision import runs_on_dla
from ._surface import TYPES, behaviour_of, expect, native
from ._values import host_memory

_TYPED = {
    "profiling_verbosity": "ProfilingVerbosity",
    "default_device_type": "DeviceType",
    "engine_capability": "EngineCapability",
    "hardware_compatibility_level": "HardwareCompatibilityLevel",
    "progress_monitor": "IProgressMonitor",
}
_WHOLE = ("max_workspace_size", "DLA_core", "builder_optimization_level", "max_aux_streams", "avg_timing_iterations")


class ITimingCache:
    """Which layers were timed, for one version and GPU."""

    def __init__(self, data: bytes = b"") -> None:
        self.origin = [_plan.version(), list(_plan.capability())]
        self.timed: List[str] = []
        if data:
            content = json.loads(data.decode("utf-8"))
            self.origin, self.timed = content["origin"], content["timed"]

    def serialize(self) -> Any:
        return host_memory(json.dumps({"origin": self.origin, "timed": self.timed}).encode("utf-8"))

    def reset(self) -> bool:
        self.timed = []
        return True

    def fits(self) -> bool:
        return self.origin == [_plan.version(), list(_plan.capability())]


class IBuilderConfig:
    """How to build: flags, memory, DLA, timing cache."""

    default_device_type: Any
    profiling_verbosity: Any
    progress_monitor: Any
    max_workspace_size: int
    builder_optimization_level: int
    DLA_core: int

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self.flags = 1 << int(TYPES["BuilderFlag"].TF32)
        self.pools: Dict[str, int] = {}
        self.device_types: Dict[str, str] = {}
        self.cache: Optional[ITimingCache] = None
        self.num_optimization_profiles = 0
        self.quantization_flags = 0
        self.int8_calibrator: Any = None
        for name, value in (
            ("max_workspace_size", 0),
            ("DLA_core", -1),
            ("builder_optimization_level", 3),
            ("max_aux_streams", -1),
            ("avg_timing_iterations", 1),
            ("progress_monitor", None),
            ("profiling_verbosity", TYPES["ProfilingVerbosity"].LAYER_NAMES_ONLY),
            ("default_device_type", TYPES["DeviceType"].GPU),
            ("engine_capability", TYPES["EngineCapability"].STANDARD),
            ("hardware_compatibility_level", None),
        ):
            super().__setattr__(name, value)  # unchecked: None cannot be set by the caller

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _TYPED:
            expect(value, _TYPED[name])
        elif name in _WHOLE:
            expect(value, int)
        if name == "DLA_core" and value >= _plan.dla_cores():
            emit_error(
                self._logger,
                "builderConfig.cpp::setDLACore::1",
                "Error Code 3: API Usage Error (Parameter check failed, condition: dlaCore < getNbDLACores())",
            )
            return
        super().__setattr__(name, value)

    def set_flag(self, flag: Any) -> None:
        self.flags |= 1 << int(expect(flag, "BuilderFlag"))

    def clear_flag(self, flag: Any) -> None:
        self.flags &= ~(1 << int(expect(flag, "BuilderFlag")))

    def get_flag(self, flag: Any) -> bool:
        return bool(self.flags >> int(expect(flag, "BuilderFlag")) & 1)

    def has(self, name: str) -> bool:
        """Is the flag `name` set? A flag that this version lacks is not."""
        flag = TYPES["BuilderFlag"].__members__.get(name)
        return flag is not None and self.get_flag(flag)

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self.pools[expect(pool, "MemoryPoolType").name] = expect(pool_size, int)

    def get_memory_pool_limit(self, pool: Any) -> int:
        return self.pools.get(expect(pool, "MemoryPoolType").name, 0)

    def set_device_type(self, layer: Any, device_type: Any) -> None:
        self.device_types[behaviour_of(layer, "ILayer").name] = expect(device_type, "DeviceType").name

    def get_device_type(self, layer: Any) -> Any:
        name = self.device_types.get(behaviour_of(layer, "ILayer").name)
        return getattr(TYPES["DeviceType"], name) if name else self.default_device_type

    def is_device_type_set(self, layer: Any) -> bool:
        return behaviour_of(layer, "ILayer").name in self.device_types

    def can_run_on_DLA(self, layer: Any) -> bool:  # noqa: N802
        return bool(_plan.dla_cores()) and runs_on_dla(behaviour_of(layer, "ILayer").node.op)

    def create_timing_cache(self, serialized_timing_cache: Any) -> Any:
        try:
            return native("ITimingCache", ITimingCache(bytes(memoryview(serialized_timing_cache))))
        except (ValueError, KeyError):
            emit_error(
                self._logger,
                "timingCache.cpp::deserialize::1",
                "Error Code 1: Serialization (Serialization assertion failed.Timing cache is damaged)",
            )
            return None

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        behaviour = behaviour_of(cache, "ITimingCache")
        if not behaviour.fits() and not expect(ignore_mismatch, bool):
            emit(self._logger, "WARNING", "Timing cache was made by another TensorRT or on another device; not used.")
            return False
        self.cache = behaviour
        return True

    def get_timing_cache(self) -> Any:
        return native("ITimingCache", self.cache) if self.cache else None

    def uses_dla(self) -> bool:
        return "DLA" in [self.default_device_type.name] + list(self.device_types.values())


class IProgressMonitor:
    """To be subclassed by the caller."""


BEHAVIOURS = {kind.__name__: kind for kind in (ITimingCache, IBuilderConfig, IProgressMonitor)}
