"""The double of an Edge TPU: files of the compiler's format, and a libedgetpu whose TPU is another interpreter."""

import ctypes
import fcntl
import importlib
import os
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from compiled import CACHE_BYTES, compiled_file

from edgeseg.coral.package import CUSTOM_OP, EXECUTION_ONLY, PARAMETER_CACHING, read_packages
from edgeseg.tflite.model import read_tflite

GOOGLE = "deeplabv3_mnv2_pascal_quant"
MODULES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")

# Loads the library argv[1] for the file argv[2], and prints the checksum of its output argv[3] times.
SCRIPT = """
import importlib, sys, zlib
module = importlib.import_module(sys.argv[4])
delegate = module.load_delegate(sys.argv[1])
interpreter = module.Interpreter(model_path=sys.argv[2], experimental_delegates=[delegate])
interpreter.allocate_tensors()
for _ in range(int(sys.argv[3])):
    interpreter.invoke()
    print(zlib.crc32(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tobytes()), flush=True)
"""


@pytest.fixture(scope="module")
def runtime():
    """The name of the interpreter's module here."""
    for name in MODULES:
        if importlib.util.find_spec(name.split(".")[0]) is not None:
            return name
    return pytest.skip("no TensorFlow Lite interpreter")


@pytest.fixture(scope="module")
def plain(bundles):
    """An uncompiled full-integer file of three operators."""
    with zipfile.ZipFile(os.path.join(bundles, "int8.edgeseg")) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("tflite")]
        return archive.read(name)


def infer(runtime, content, image, library=None):
    module = importlib.import_module(runtime)
    delegates = [module.load_delegate(library)] if library else None
    interpreter = module.Interpreter(model_content=content, experimental_delegates=delegates)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_a_compiled_file_is_what_google_makes(shared_data):
    with open(shared_data("coral", GOOGLE + ".tflite"), "rb") as file:
        ours = read_tflite(compiled_file(file.read(), keep_on_cpu=8, min_runtime=12))
    with open(shared_data("coral", GOOGLE + "_edgetpu.tflite"), "rb") as file:
        theirs = read_tflite(file.read())
    assert [o._replace(custom_options=b"") for o in ours.operators] == [
        o._replace(custom_options=b"") for o in theirs.operators
    ]
    assert ours._replace(operators=(), size=0) == theirs._replace(operators=(), size=0)
    (made,), (wanted,) = read_packages(ours), read_packages(theirs)
    assert (made.min_runtime, made.compiler, made.streamed_bytes) == (12, "cl/", 0)
    assert (made.inputs, made.outputs) == (wanted.inputs, wanted.outputs)
    assert [e.type for e in made.executables] == [e.type for e in wanted.executables]


def test_a_file_of_one_operator(plain):
    model = read_tflite(plain)
    compiled = read_tflite(compiled_file(plain))
    assert [(o.name, o.version) for o in compiled.operators] == [(CUSTOM_OP, 1)]
    assert [compiled.tensors[i].name for i in compiled.inputs] == [model.tensors[i].name for i in model.inputs]
    assert (compiled.description, compiled.metadata) == ("Exported from Subgraph.", {})
    (package,) = read_packages(compiled)
    parameters = sum(len(tensor.data) for tensor in model.tensors)
    assert (package.min_runtime, package.cached_bytes, package.streamed_bytes) == (14, parameters, 0)
    assert [e.type for e in package.executables] == [EXECUTION_ONLY, PARAMETER_CACHING]
    assert package.executables[0].caching_token == package.executables[1].caching_token != 0
    assert package.outputs[0].shape == model.tensors[model.outputs[0]].shape[1:]
    assert package.outputs[0].data_type == "signed fixed-point 8"
    assert parameters < CACHE_BYTES


def test_what_does_not_fit_is_streamed(plain):
    (package,) = read_packages(read_tflite(compiled_file(plain, cache_bytes=50)))
    assert package.cached_bytes == 50
    assert package.streamed_bytes == sum(len(tensor.data) for tensor in read_tflite(plain).tensors) - 50


def test_the_last_operators_stay_on_the_cpu(plain):
    names = [o.name for o in read_tflite(plain).operators]
    assert [o.name for o in read_tflite(compiled_file(plain, keep_on_cpu=2)).operators] == [CUSTOM_OP] + names[1:]
    with pytest.raises(ValueError, match="cannot leave 3 to the CPU"):
        compiled_file(plain, keep_on_cpu=len(names))


@pytest.mark.parametrize("keep_on_cpu", [0, 1, 2])
def test_the_delegate_computes_what_the_cpu_does(keep_on_cpu, plain, runtime, libedgetpu, painting):
    image = painting[0][None]
    got = infer(runtime, compiled_file(plain, keep_on_cpu), image, libedgetpu)
    np.testing.assert_array_equal(got, infer(runtime, plain, image))
    assert len(np.unique(got)) > 10


def test_google_s_own_compiled_file_finds_the_bird(runtime, libedgetpu, shared_data, monkeypatch):
    cv2 = pytest.importorskip("cv2")
    monkeypatch.setenv("EDGETPU_DOUBLE_MODEL", shared_data("coral", GOOGLE + ".tflite"))
    with open(shared_data("coral", GOOGLE + "_edgetpu.tflite"), "rb") as file:
        content = file.read()
    image = cv2.imread(shared_data("coral", "bird_segmentation.bmp"))[None, :, :, ::-1]
    wanted = cv2.imread(shared_data("coral", "bird_segmentation_mask.bmp"), cv2.IMREAD_UNCHANGED)
    (mask,) = infer(runtime, content, image, libedgetpu)
    same = np.count_nonzero(mask == wanted)
    assert same / (2 * mask.size - same) > 0.90  # pycoral's tests/segment_test.py


@pytest.fixture
def play(plain, runtime, libedgetpu, tmp_path):
    """Function (faults, count, library, timeout, environment) -> its exit code, checksums and stderr."""
    path = str(tmp_path / "net_edgetpu.tflite")
    with open(path, "wb") as file:
        file.write(compiled_file(plain))

    def run(faults="", count=3, library=libedgetpu, timeout=60, **environment):
        variables = dict(os.environ, EDGETPU_DOUBLE_FAULTS=faults)
        variables.update(("EDGETPU_DOUBLE_" + name, value) for name, value in environment.items())
        command = [sys.executable, "-c", SCRIPT, library, path, str(count), runtime]
        done = subprocess.run(
            command, check=False, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout
        )
        return done.returncode, done.stdout.decode().split(), done.stderr.decode()

    return run


@pytest.mark.parametrize(
    ("faults", "code", "lines", "text"),
    [
        ("", 0, 3, ""),
        ("invoke:abort@2", -signal.SIGABRT, 1, "F driver/usb/usb_driver.cc:857] transfer on tag 1 failed. Abort."),
        ("invoke:crash@3", -signal.SIGSEGV, 2, ""),
        ("invoke:error%2", 1, 1, "Failed to execute request. Deadline exceeded"),
        ("open:error", 1, 0, "Failed to load delegate from"),
        ("open:abort@1", -signal.SIGABRT, 0, "USB transfer error 2"),
        ("prepare:error", 1, 0, "Failed to retrieve TPU context."),
        ("invoke:sleep1 open:sleep1", 0, 3, ""),
    ],
)
def test_faults(faults, code, lines, text, play):
    returned, sums, errors = play(faults)
    assert (returned, len(sums)) == (code, lines)
    assert text in errors


def test_wrong_results(play):
    _, (first, second, third), _ = play("invoke:wrong@2")
    assert first == third != second


def test_a_tpu_that_hangs(play):
    with pytest.raises(subprocess.TimeoutExpired):
        play("invoke:hang@2", timeout=3)


def test_events_count_over_processes(play, tmp_path):
    folder = tmp_path / "events"
    folder.mkdir()
    codes = [play("invoke:abort%5", count=2, EVENTS=str(folder))[0] for _ in range(4)]
    assert codes == [0, 0, -signal.SIGABRT, 0]
    assert (folder / "invoke").stat().st_size == 7
    assert (folder / "open").stat().st_size == 4


class Library:
    """What libedgetpu exports, through ctypes."""

    def __init__(self, path):
        self._library = ctypes.CDLL(path)
        self._library.edgetpu_list_devices.restype = ctypes.POINTER(Device)
        self._library.edgetpu_free_devices.argtypes = [ctypes.POINTER(Device)]
        self._library.edgetpu_version.restype = ctypes.c_char_p
        self._library.tflite_plugin_create_delegate.restype = ctypes.c_void_p
        self._library.tflite_plugin_destroy_delegate.argtypes = [ctypes.c_void_p]

    def devices(self):
        count = ctypes.c_size_t()
        found = self._library.edgetpu_list_devices(ctypes.byref(count))
        listed = [(found[i].type, found[i].path) for i in range(count.value)]
        self._library.edgetpu_free_devices(found)
        return listed

    def version(self):
        return self._library.edgetpu_version()

    def opens(self, device):
        keys, values = (ctypes.c_char_p * 1)(b"device"), (ctypes.c_char_p * 1)(device.encode())
        delegate = self._library.tflite_plugin_create_delegate(keys, values, ctypes.c_size_t(1), None)
        if delegate:
            self._library.tflite_plugin_destroy_delegate(delegate)
        return bool(delegate)


class Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("path", ctypes.c_char_p)]


def test_what_is_plugged_in(libedgetpu, monkeypatch):
    library = Library(libedgetpu)
    assert library.devices() == [(1, b"/sys/bus/usb/devices/1-1")]
    monkeypatch.setenv("EDGETPU_DOUBLE_DEVICES", "pci usb pci")
    assert [kind for kind, _ in library.devices()] == [0, 1, 0]
    assert library.devices()[2] == (0, b"/dev/apex_1")
    monkeypatch.setenv("EDGETPU_DOUBLE_FAULTS", "list:error")
    assert library.devices() == []


def test_version(libedgetpu, stock_libedgetpu, monkeypatch):
    assert Library(libedgetpu).version().startswith(b"BuildLabel(COMPILER=12.2.0,DATE=")
    assert Library(stock_libedgetpu).version().endswith(b"), RuntimeVersion(14)")
    monkeypatch.setenv("EDGETPU_DOUBLE_RUNTIME", "13")
    assert Library(libedgetpu).version().endswith(b"), RuntimeVersion(13)")


@pytest.mark.parametrize(
    ("devices", "device", "opens"),
    [
        ("", "", False),
        ("usb", "", True),
        ("usb", "pci", False),
        ("pci", ":0", True),
        ("usb pci usb", "usb:1", True),
        ("usb pci usb", ":2", True),
        ("usb pci usb", "pci:1", False),
        ("usb", "gpu", False),
        ("usb", "usb:", False),
    ],
)
def test_device_names(devices, device, opens, libedgetpu, monkeypatch):
    monkeypatch.setenv("EDGETPU_DOUBLE_DEVICES", devices)
    assert Library(libedgetpu).opens(device) == opens


def test_one_process_holds_the_tpu(libedgetpu, monkeypatch, tmp_path):
    path = str(tmp_path / "lock")
    monkeypatch.setenv("EDGETPU_DOUBLE_LOCK", path)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not Library(libedgetpu).opens("")
    assert Library(libedgetpu).opens("")


def test_a_package_for_a_newer_runtime(play):
    code, _, errors = play(RUNTIME="13")
    assert code == 1
    assert "Package requires runtime version (14), which is newer than this runtime version (13)." in errors


def test_old_structs_kill_a_current_interpreter(play, stock_libedgetpu):
    code, sums, _ = play(library=stock_libedgetpu)
    assert code != 0
    assert sums == []
    with open(stock_libedgetpu, "rb") as file:
        content = file.read()
    assert b"TENSORFLOW_COMMIT=a4dfb8d1a71385bd6d122e4f27f86dcebb96712d" in content
    assert b"COMPILER=6.3.0 20170516" in content
