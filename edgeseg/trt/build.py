"""From the ONNX of a bundle to a TensorRT plan, on TensorRT 8.2 to 11.4.

Sources: NVIDIA TensorRT Developer Guide, "The Build Phase", "Working with DLA", "Explicit Quantization".
"""

from typing import Any, Iterator, List, NamedTuple, Set

from edgeseg.errors import BundleError
from edgeseg.trt.library import create, failure
from edgeseg.trt.progress import Progress
from edgeseg.trt.recipe import Recipe

REVISION = 1  # of this file: raise it when the same recipe gives another engine, and kept ones are built again
_REPORTED = 5  # parser errors that a message lists


class Built(NamedTuple):
    plan: bytes
    timing: bytes  # measured kernel times, which make the next build faster


def build(trt: Any, log: Any, recipe: Recipe, workspace: int, timing: bytes, progress: Progress) -> Built:
    """Build a plan with `workspace` bytes to try kernels in; `timing` is what an earlier build measured, or b"".

    Takes minutes on a board. Raises BundleError if the network does not fit this TensorRT or GPU,
    EnvironmentFault if TensorRT fails; both with what it logged.
    """
    builder = create(lambda: trt.Builder(log), log, "an engine builder")
    _check_board(trt, builder, recipe)
    network = create(lambda: builder.create_network(_network_flags(trt)), log, "a network")
    parser = create(lambda: trt.OnnxParser(network, log), log, "an ONNX parser")
    _parse(trt, log, parser, recipe)
    _set_ranges(trt, network, recipe)
    if not _has_precision_flags(trt):
        _check_types(trt, network, recipe)
    config = create(builder.create_builder_config, log, "a builder configuration")
    _configure(trt, builder, config, recipe, workspace)
    _keep_float(trt, network, config, recipe)
    _set_timing_cache(log, config, timing)
    monitor = _monitor(trt, config, progress)
    plan = builder.build_serialized_network(network, config)
    del monitor, parser  # which TensorRT needed until here
    timing_cache = config.get_timing_cache()
    if plan is None:
        raise failure(
            "TensorRT {} could not build an engine of {}".format(trt.__version__, recipe.bundle),
            log,
            "if memory ran out: end other programs, or edgeseg compile {} --workspace 128; else {} with another "
            "--precision".format(recipe.bundle, recipe.reexport),
        )
    return Built(bytes(plan), bytes(timing_cache.serialize()) if timing_cache else b"")


def _check_board(trt: Any, builder: Any, recipe: Recipe) -> None:
    """Raise BundleError for what this TensorRT or GPU cannot do, before it fails in words of its own."""
    here = "TensorRT {} on this board".format(trt.__version__)
    if recipe.input_dtype == "uint8" and "UINT8" not in trt.DataType.__members__:
        raise BundleError(
            "{} takes uint8 pixels, which {} cannot".format(recipe.bundle, here),
            "export for this board, on the PC: edgeseg export NETWORK --target tx2 (or tx1, nano)",
        )
    if recipe.precision not in _fast_precisions(builder):
        raise BundleError(
            "{} is {}, for which this GPU has no instructions".format(recipe.bundle, recipe.precision),
            "{} --precision {}".format(recipe.reexport, "fp16" if recipe.precision == "int8" else "fp32"),
        )
    if recipe.dla is None:
        return
    if recipe.precision == "fp32":
        raise BundleError("a DLA computes in fp16 or int8, not in fp32", recipe.reexport + " --precision fp16")
    if recipe.dla >= builder.num_DLA_cores:
        raise BundleError(
            "{} is for DLA core {}; {} has {}".format(recipe.bundle, recipe.dla, here, builder.num_DLA_cores),
            "{}, with another --dla or without it".format(recipe.reexport),
        )


def _fast_precisions(builder: Any) -> Set[str]:
    """The precisions that the GPU has instructions for; all where TensorRT no longer tells."""
    fast = {"fp32"}
    if getattr(builder, "platform_has_fast_fp16", True):
        fast.add("fp16")
    if getattr(builder, "platform_has_fast_int8", True):
        fast.add("int8")
    return fast


def _has_precision_flags(trt: Any) -> bool:
    """False where the types of the graph are the precision of the engine (TensorRT 11)."""
    return "FP16" in trt.BuilderFlag.__members__


def _network_flags(trt: Any) -> int:
    """Explicit batch where there is a choice; types from the graph where no flag can ask for a precision."""
    flags = 0
    if "EXPLICIT_BATCH" in trt.NetworkDefinitionCreationFlag.__members__:
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    if "STRONGLY_TYPED" in trt.NetworkDefinitionCreationFlag.__members__ and not _has_precision_flags(trt):
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    return flags


def _parse(trt: Any, log: Any, parser: Any, recipe: Recipe) -> None:
    if parser.parse(recipe.onnx) and not parser.num_errors:
        return
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    lines = [_describe(error) for error in errors[:_REPORTED]]
    if len(errors) > _REPORTED:
        lines.append("and {} more".format(len(errors) - _REPORTED))
    message = "TensorRT {} cannot read the network of {}".format(trt.__version__, recipe.bundle)
    raise BundleError(
        failure("\n  ".join([message] + lines), log).message,
        "edgeseg inspect {} names what TensorRT does not take; export the network again".format(recipe.bundle),
    )


def _describe(parser_error: Any) -> str:
    if parser_error.node() < 0:
        return str(parser_error.desc())  # of the file, not of a node
    where = "node {}".format(parser_error.node())
    if hasattr(parser_error, "node_name"):
        where += " {} ({})".format(parser_error.node_name(), parser_error.node_operator())
    return "{}: {}".format(where, parser_error.desc())


def _tensors(network: Any) -> Iterator[Any]:
    """The inputs of a parsed network and the outputs of all its layers."""
    for i in range(network.num_inputs):
        yield network.get_input(i)
    for i in range(network.num_layers):
        yield from _outputs(network.get_layer(i))


def _outputs(layer: Any) -> Iterator[Any]:
    for k in range(layer.num_outputs):
        tensor = layer.get_output(k)
        if tensor is not None:
            yield tensor


def _check_types(trt: Any, network: Any, recipe: Recipe) -> None:
    """Where the precision comes from the graph alone, the graph must have it."""
    wanted = {"fp16": "HALF", "int8": "INT8"}.get(recipe.precision)
    found: Set[str] = {tensor.dtype.name for tensor in _tensors(network)}
    if wanted is not None and wanted not in found:
        raise BundleError(
            "TensorRT {} takes the precision from the network, and that of {} has no {} tensors".format(
                trt.__version__, recipe.bundle, recipe.precision
            ),
            "export for this board, on the PC: edgeseg export NETWORK --target orin --precision " + recipe.precision,
        )


def _set_ranges(trt: Any, network: Any, recipe: Recipe) -> None:
    """Give tensors the activation ranges by which a DLA quantises: symmetric, +-127 steps."""
    if not recipe.ranges:
        return
    tensors = {tensor.name: tensor for tensor in _tensors(network)}
    strangers: List[str] = sorted(set(recipe.ranges) - set(tensors))
    if strangers:
        raise BundleError(
            "the activation ranges of {} name tensors that its network does not have: {}".format(
                recipe.bundle, ", ".join(strangers[:_REPORTED])
            ),
            "export the network again",
        )
    for name, limit in recipe.ranges.items():
        if limit is None:
            continue
        tensor = tensors[name]
        if hasattr(tensor, "set_dynamic_range"):
            accepted = tensor.set_dynamic_range(-limit, limit)
        else:
            raise BundleError(
                "int8 on a DLA needs activation ranges, which TensorRT {} no longer takes".format(trt.__version__),
                "{} --dla {} --precision fp16".format(recipe.reexport, recipe.dla),
            )
        if not accepted:
            raise BundleError(
                "TensorRT {} refuses the range {} of tensor {}".format(trt.__version__, limit, name),
                "export the network again",
            )


def _keep_float(trt: Any, network: Any, config: Any, recipe: Recipe) -> None:
    """Have the layers that int8 would spoil compute in fp16: those whose output has no range."""
    kept = {name for name, limit in recipe.ranges.items() if limit is None}
    if not kept:
        return
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        if kept & {tensor.name for tensor in _outputs(layer)} and hasattr(layer, "precision"):
            layer.precision = trt.DataType.HALF
    if "PREFER_PRECISION_CONSTRAINTS" in trt.BuilderFlag.__members__:
        config.set_flag(trt.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)


def _configure(trt: Any, builder: Any, config: Any, recipe: Recipe, workspace: int) -> None:
    if hasattr(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    else:
        config.max_workspace_size = workspace
    # INT8 allows int8 beside fp32; without FP16, what is not quantised would be slower than in an fp16 engine.
    wanted = {"fp32": set(), "fp16": {"fp16"}, "int8": {"int8", "fp16"}}[recipe.precision] & _fast_precisions(builder)
    if "FP16" in trt.BuilderFlag.__members__ and "fp16" in wanted:
        config.set_flag(trt.BuilderFlag.FP16)
    if "INT8" in trt.BuilderFlag.__members__ and "int8" in wanted:
        config.set_flag(trt.BuilderFlag.INT8)
    # Allows the kernels that skip zeros: TensorRT tries them where GPU and layer can, and never without this flag.
    if recipe.sparse:
        config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    if recipe.dla is not None:
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = recipe.dla
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # for the check of the engine's precision


def _set_timing_cache(log: Any, config: Any, timing: bytes) -> None:
    cache = config.create_timing_cache(timing)
    if cache is None or not config.set_timing_cache(cache, False):
        log.take_errors()  # damaged or of another machine: it is measured anew
        empty = config.create_timing_cache(b"")
        if empty is not None:
            config.set_timing_cache(empty, False)


def _monitor(trt: Any, config: Any, progress: Progress) -> Any:
    """Have TensorRT report its phases, where it can."""
    if hasattr(trt, "IProgressMonitor"):

        class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)

            def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
                progress.start(phase_name, num_steps)

            def step_complete(self, phase_name: str, step: int) -> bool:
                progress.step(phase_name, step)
                return not progress.cancelled

            def phase_finish(self, phase_name: str) -> None:
                progress.finish(phase_name)

        monitor = Monitor()
        config.progress_monitor = monitor
        return monitor
    return None
