"""The builder."""

import hashlib
import json
import time
from typing import Any, Dict

from . import _plan
from ._config import IBuilderConfig
from ._log import emit, emit_error, require_gpu
from ._network import INetworkDefinition
from ._precision import engine_layers, has_quantizers, runs_on_dla
from ._surface import TYPES, behaviour_of, expect, native
from ._values import host_memory


class Builder:
    """Builds an engine from a parsed network."""

    def __init__(self, logger: Any) -> None:
        require_gpu(logger)
        self.logger = logger
        self.max_threads = 1
        self.max_DLA_batch_size = 4096
        self.max_batch_size = 1

    @property
    def platform_has_fast_fp16(self) -> bool:
        return _plan.has_fast_fp16()

    @property
    def platform_has_fast_int8(self) -> bool:
        return _plan.has_fast_int8()

    @property
    def platform_has_tf32(self) -> bool:
        return _plan.capability() >= (8, 0)

    @property
    def num_DLA_cores(self) -> int:  # noqa: N802
        return _plan.dla_cores()

    def create_network(self, flags: int = 0) -> Any:
        return native("INetworkDefinition", INetworkDefinition(self.logger, expect(flags, int)))

    def create_builder_config(self) -> Any:
        return native("IBuilderConfig", IBuilderConfig(self.logger))

    def is_network_supported(self, network: Any, config: Any) -> bool:
        return self._refusal(behaviour_of(network, "INetworkDefinition"), behaviour_of(config, "IBuilderConfig")) == ""

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        net = behaviour_of(network, "INetworkDefinition")
        how = behaviour_of(config, "IBuilderConfig")
        refusal = self._refusal(net, how)
        if refusal:
            emit_error(self.logger, "network.cpp::validate::2924", refusal)
        if refusal or not self._work(how):
            return None
        layers = engine_layers(net, how)
        if how.cache and not how.has("DISABLE_TIMING_CACHE"):
            how.cache.timed = sorted(set(how.cache.timed) | {_layer_key(layer) for layer in layers})
        names = [name for name, flag in TYPES["BuilderFlag"].__members__.items() if how.get_flag(flag)]
        about = {
            "flags": sorted(names),
            "layers": layers,
            "workspace": how.pools.get("WORKSPACE", how.max_workspace_size),
            "profiling_verbosity": how.profiling_verbosity.name,
            "strongly_typed": net.is_strongly_typed,
            "device": how.default_device_type.name,
            "dla_core": how.DLA_core,
            "dynamic_ranges": {name: t.dynamic_range for name, t in net.tensors.items() if t.dynamic_range},
            "optimization_level": how.builder_optimization_level,
            "timed": len(how.cache.timed) if how.cache else 0,
        }
        return host_memory(_plan.write_plan(about, net.model))

    def _refusal(self, net: INetworkDefinition, how: IBuilderConfig) -> str:
        """The error with which TensorRT refuses this network and configuration; "" if it does not."""
        text = ""
        if not net.outputs:
            text = "Network must have at least one output"
        elif net.is_strongly_typed and (how.has("FP16") or how.has("INT8")):
            text = "Precision flags are not allowed for a strongly typed network"
        elif not net.is_strongly_typed and has_quantizers(net.graph) and not how.has("INT8"):
            text = "Int8 precision has been set for a layer or layer output, but int8 is not configured in the builder"
        elif how.uses_dla():
            text = self._dla_refusal(net, how)
        return "Error Code 4: Internal Error ({})".format(text) if text else ""

    def _dla_refusal(self, net: INetworkDefinition, how: IBuilderConfig) -> str:
        if not _plan.dla_cores():
            return "DLA is not supported on this platform"
        if not (net.is_strongly_typed or how.has("FP16") or how.has("INT8")):
            return "Default DLA is enabled but layer precision is neither fp16 nor int8"
        strangers = [layer for layer in net.layers if not runs_on_dla(layer.node.op)]
        if strangers and not how.has("GPU_FALLBACK"):
            return "{}: {} is not supported on DLA and GPU fallback is not enabled".format(
                strangers[0].name, strangers[0].node.op
            )
        return ""

    def _work(self, how: IBuilderConfig) -> bool:
        """The time that a build takes, with progress; False if it fails or the monitor ends it."""
        faults = _plan.faults()
        if "build-fails" in faults:
            emit_error(
                self.logger,
                "virtualMemoryBuffer.cpp::resizePhysical::144",
                "Error Code 2: OutOfMemory (no further information)",
            )
            emit_error(
                self.logger,
                "optimizer.cpp::computeCosts::3624",
                "Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[conv]}.)",
            )
            return False
        steps = 10
        monitor = how.progress_monitor
        phase = "Building Engine"
        if monitor is not None:
            monitor.phase_start(phase, None, steps)
        is_wanted = True
        for step in range(steps):
            time.sleep(float(faults.get("slow-build") or 0) / steps)
            if monitor is not None and is_wanted:
                is_wanted = monitor.step_complete(phase, step)
            if not is_wanted:
                emit(self.logger, "WARNING", "Engine build was cancelled by the progress monitor.")
                break
        if monitor is not None:
            monitor.phase_finish(phase)
        return is_wanted


def _layer_key(layer: Dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(layer, sort_keys=True).encode("utf-8")).hexdigest()[:16]


BEHAVIOURS = {kind.__name__: kind for kind in (Builder,)}
