"""Which inference runtimes there are, what each runs, and how to get it. A table: nothing is imported."""

import importlib
import importlib.util
import os
import sys
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple

from edgeseg.bundle import Bundle
from edgeseg.errors import BundleError, EnvironmentFault, UsageError


class BackendEntry(NamedTuple):
    """One runtime; rows are in order of preference for `device="auto"`."""

    name: str
    module: str  # module of edgeseg that holds the class `Backend`
    role: str  # the payload that it runs; "" for none
    packages: Tuple[str, ...]  # any one of these makes it available, best first
    install: str


BACKENDS = (
    BackendEntry(
        "tflite",
        "edgeseg.backends.tflite",
        "tflite",
        ("ai_edge_litert", "tflite_runtime", "tensorflow"),
        "pip install 'edgeseg[tflite]'",
    ),
    BackendEntry(
        "edgetpu",
        "edgeseg.backends.edgetpu",
        "edgetpu",
        ("ai_edge_litert", "tflite_runtime"),
        "pip install 'edgeseg[tflite]'",
    ),
    BackendEntry(
        "tensorrt",
        "edgeseg.backends.tensorrt",
        "onnx",
        ("tensorrt",),
        "on a Jetson: sudo apt install python3-libnvinfer (not with pip: TensorRT belongs to JetPack)",
    ),
    BackendEntry(
        "onnxruntime", "edgeseg.backends.onnxruntime", "onnx", ("onnxruntime",), "pip install 'edgeseg[onnx]'"
    ),
    BackendEntry("fake", "edgeseg.backends.fake", "", ("numpy",), ""),
)
PROVIDERS = ("cpu", "cuda", "tensorrt")  # of onnxruntime: device "onnxruntime:cuda"; "onnxruntime" is the first
GPU_ONNXRUNTIME = (
    "install an onnxruntime with GPU support: on a Jetson the wheel for its JetPack and Python, listed at "
    "https://elinux.org/Jetson_Zoo#ONNX_Runtime; on a PC: pip uninstall onnxruntime && pip install onnxruntime-gpu"
)

# Of the NVIDIA driver: a PC and JetPack 5 on, JetPack 4 and 5, JetPack 6 on.
_GPU_NODES = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu")


class Way(NamedTuple):
    """A way to run a bundle: a runtime, for onnxruntime its provider, for edgetpu which one."""

    entry: BackendEntry
    provider: str = ""
    device: str = ""


def named_ways() -> Dict[str, Way]:
    """Every name that a device may have beside "auto", "cpu", and those of one Edge TPU of several, as "usb:1"."""
    ways = {entry.name: Way(entry) for entry in BACKENDS}
    runtime = ways["onnxruntime"].entry
    ways.update(("onnxruntime:" + provider, Way(runtime, provider)) for provider in PROVIDERS)
    ways["onnxruntime"] = ways["onnxruntime:cpu"]
    ways.update((kind, Way(ways["edgetpu"].entry, device=kind)) for kind in ("usb", "pci"))
    return ways


def device_names() -> str:
    """All of them, for people."""
    return "auto, cpu, {}, and usb:1, pci:0, :0 for one Edge TPU of several".format(", ".join(named_ways()))


def available_package(entry: BackendEntry) -> Optional[str]:
    """The best installed package that provides this backend, or None."""
    for package in entry.packages:
        if importlib.util.find_spec(package) is not None:
            return package
    return None


def has_nvidia_gpu() -> bool:
    """Whether this machine is a Jetson or has the driver of an NVIDIA GPU."""
    from edgeseg.device import find_board

    return any(os.path.exists(node) for node in _GPU_NODES) or find_board().is_jetson


def open_backend(bundle: Bundle, device: str = "auto", threads: int = 1) -> Any:
    """Open `bundle` on a device; see `edgeseg.backends.base.BaseBackend` for what comes back.

    `device` is "auto", "cpu", the name of a backend, onnxruntime with a provider ("onnxruntime:cuda"), or an Edge TPU
    ("usb", "pci", "usb:1", ":0"). "auto" runs a bundle for TensorRT on the GPU and one for Coral on the Edge TPU where
    there is one, never in silence on the CPU; without it, and other bundles, it takes the CPU. "cpu" is always the CPU.

    Raises UsageError for an unknown device, BundleError if the bundle holds nothing that the device runs,
    EnvironmentFault with the reason and the command that mends it if no runtime for it works here.
    """
    faults: List[EnvironmentFault] = []
    for way in find_ways(bundle, device):
        try:
            backend = _open(way, bundle, threads)
        except EnvironmentFault as fault:
            faults.append(fault)
            continue
        if faults and _wants_gpu(bundle):  # a slower way than the user may think
            _warn("{} takes over: {}".format(backend.name, faults[0]))
        if device == "auto" and bundle.manifest.target.backend == "edgetpu" and backend.name != "edgetpu":
            _warn(_why_not_the_tpu(bundle))
        if backend.name == "edgetpu" and (bundle.manifest.verification or {}).get("ok") is False:
            _warn(
                "{} failed `edgeseg verify`: {}".format(bundle.path, _what_failed(bundle.manifest.verification or {}))
            )
        return backend
    raise _no_way(bundle, device, faults)


def _what_failed(verification: Dict[str, Any]) -> str:
    if verification.get("worst_agreement", 0.0) < verification.get("agreement_required", 1.0):
        return "the Edge TPU's masks are not to be trusted, they are not those of the CPU"
    return "the Edge TPU draws the masks of the CPU, but those differ from the float network's"


def find_ways(bundle: Bundle, device: str) -> List[Way]:
    """The ways to run `bundle` on `device`, best first. Raises UsageError and BundleError as `open_backend` does."""
    named = named_ways()
    if device == "auto" and _wants_gpu(bundle):
        ways = [named["tensorrt"]]
        if bundle.manifest.target.dla is None:  # onnxruntime would not use the DLA
            ways += [named["onnxruntime:tensorrt"], named["onnxruntime:cuda"]]
    elif device == "auto" and _wants_tpu(bundle):
        ways = [named["edgetpu"]]
    elif device in ("auto", "cpu"):
        ways = [named["tflite"], named["onnxruntime:cpu"]]
    elif device in named:
        ways = [named[device]]
    elif device and _is_tpu_name(device):
        ways = [Way(named["edgetpu"].entry, device=device)]
    else:
        raise UsageError("there is no device {!r}".format(device), "devices: " + device_names())
    usable = [way for way in ways if not way.entry.role or way.entry.role in bundle.payloads]
    if not usable:
        raise _unfit(bundle, device, ways[0])
    return usable


def _unfit(bundle: Bundle, device: str, way: Way) -> BundleError:
    """Why `bundle` holds nothing that `device` runs."""
    target = bundle.manifest.target
    if way.entry.name == "edgetpu" and target.backend == "edgetpu":
        return BundleError(
            "{} is not compiled for the Edge TPU yet".format(bundle.path), "edgeseg compile {}".format(bundle.path)
        )
    if device == "cpu" and list(bundle.payloads) == ["edgetpu"]:
        return BundleError(
            "{} holds a network compiled for the Edge TPU alone, which the CPU cannot run".format(bundle.path),
            "import it with its uncompiled file: edgeseg import COMPILED.tflite --cpu UNCOMPILED.tflite",
        )
    return BundleError(
        "{} holds {} for target {}, which device {!r} does not run".format(
            bundle.path, ", ".join(bundle.payloads), target.name, device
        ),
        "export the network for this machine: edgeseg export NETWORK --target {} -o OUT.edgeseg".format(
            "coral" if way.entry.name == "edgetpu" else "cpu"
        ),
    )


def _wants_gpu(bundle: Bundle) -> bool:
    return bundle.manifest.target.backend == "tensorrt" and has_nvidia_gpu()


def _wants_tpu(bundle: Bundle) -> bool:
    """Whether a compiled bundle finds an Edge TPU here, or can run on nothing else."""
    if bundle.manifest.target.backend != "edgetpu" or "edgetpu" not in bundle.payloads:
        return False
    from edgeseg.coral.devices import seen_tpus

    return "tflite" not in bundle.payloads or bool(seen_tpus())


def _is_tpu_name(device: str) -> bool:
    from edgeseg.coral.devices import is_device_name

    return is_device_name(device)


def _why_not_the_tpu(bundle: Bundle) -> str:
    if "edgetpu" in bundle.payloads:
        return "no Edge TPU is seen here: {} runs on the CPU, slowly; `edgeseg doctor` looks for it".format(bundle.path)
    return "{0} is not compiled for the Edge TPU, so it runs on the CPU, slowly: edgeseg compile {0}".format(
        bundle.path
    )


def _warn(text: str) -> None:
    sys.stderr.write("edgeseg: warning: {}\n".format(text))


def _open(way: Way, bundle: Bundle, threads: int) -> Any:
    package = available_package(way.entry)
    if package is None and way.entry.name == "tensorrt":
        from edgeseg.trt.library import load_tensorrt

        load_tensorrt()  # knows more than that it is absent: another Python, a virtual environment
    if package is None:
        raise EnvironmentFault(
            "{} is not installed (package {})".format(way.entry.name, " or ".join(way.entry.packages)),
            GPU_ONNXRUNTIME if way.provider in ("cuda", "tensorrt") else way.entry.install,
        )
    options = {"provider": way.provider} if way.provider else {"device": way.device} if way.device else {}
    return importlib.import_module(way.entry.module).Backend(bundle, package, threads, **options)


def way_out(bundle: Bundle) -> List[str]:
    """What else the user can do when the accelerator of `bundle` fails: nothing, or a sentence."""
    return ["or run it on the CPU all the same: --device cpu"] if {"tflite", "onnx"} & set(bundle.payloads) else []


def _no_way(bundle: Bundle, device: str, faults: List[EnvironmentFault]) -> EnvironmentFault:
    """One fault out of those of each way that was tried."""
    on_gpu = device == "auto" and _wants_gpu(bundle)
    hint = _jetson_hint(bundle) if device == "auto" and not on_gpu else ""
    if device == "auto" and _wants_tpu(bundle):
        more = [text for text in way_out(bundle) if text not in faults[0].fix]
        return EnvironmentFault(faults[0].message, "; ".join([faults[0].fix] + more))
    if len(faults) == 1 and not on_gpu:
        return EnvironmentFault(faults[0].message, "; or ".join(filter(None, [hint, faults[0].fix])))
    reasons = "".join("\n  " + message for message in _unique(fault.message for fault in faults))
    fix = "; or ".join(_unique(fault.fix for fault in faults))
    if not on_gpu:
        fix = "; or ".join(filter(None, [hint, fix]))
        return EnvironmentFault("nothing here runs {}:{}".format(bundle.path, reasons), fix)
    return EnvironmentFault(
        "{} is for the GPU of a {}; there is a GPU here, but nothing that runs it:{}".format(
            bundle.path, bundle.manifest.target.name, reasons
        ),
        "; ".join([fix] + way_out(bundle)),
    )


def _jetson_hint(bundle: Bundle) -> str:
    """What is likelier than a missing package: a GPU that is not seen, or a bundle for the CPU on a Jetson."""
    from edgeseg.device import find_board

    if bundle.manifest.target.backend == "tensorrt":
        return "" if has_nvidia_gpu() else "let this process see an NVIDIA GPU (in a container: --runtime nvidia)"
    targets = find_board().targets
    if not targets:
        return ""
    return "export a bundle for this board, on the PC: edgeseg export fcn8-camvid --target {} -o board.edgeseg".format(
        targets[0]
    )


def _unique(texts: Iterable[str]) -> List[str]:
    found: List[str] = []
    for text in texts:
        if text not in found:
            found.append(text)
    return found
