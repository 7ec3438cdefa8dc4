"""NVIDIA's own Python bindings, without TensorRT's libraries: imported with stand-ins that are compiled here.

The names, signatures and log calls are the real ones; nothing can be built, as on a machine without a GPU. Wheels come
from the package index and are kept for the session; where they cannot be had, these tests are skipped.
"""

import glob
import json
import os
import runpy
import subprocess
import sys
import zipfile

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
DOUBLE = os.path.join(os.path.dirname(os.path.dirname(HERE)), "tensorrt_double")
# The recorded version, the requirements by preference (not every Python has a wheel of it), the libraries' number.
BINDINGS = [
    ("8.6.1", ["tensorrt-bindings==8.6.1"], 8),
    ("10.3.0", ["tensorrt-cu12-bindings==10.3.0", "tensorrt-cu12-bindings>=10.3,<11"], 10),
    ("11.4.0", ["tensorrt-cu12-bindings==11.4.0.106", "tensorrt-cu12-bindings>=11,<12"], 11),
]


def run(code, folder, *arguments, **environment):
    """Output of Python code in a process that imports `tensorrt` from `folder`."""
    path = os.pathsep.join([folder] + [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p])
    done = subprocess.run(
        [sys.executable, "-c", code] + list(arguments),
        env=dict(os.environ, PYTHONPATH=path, **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def download(requirements, folder):
    """Path of the wheel of the first requirement that has one for this Python; skips the test if none has."""
    for requirement in requirements:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-q", "--retries", "1"]
        options = ["--timeout", "15", "--disable-pip-version-check", "-d", folder, requirement]
        try:
            done = subprocess.run(
                pip + options, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=90
            )
        except subprocess.TimeoutExpired:
            pytest.skip("pip download {} takes too long".format(requirement))
        wheels = glob.glob(os.path.join(folder, "*.whl"))
        if done.returncode == 0 and wheels:
            return wheels[0]
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    pytest.skip("no wheel of {}: {}".format(requirements[0], lines[-1] if lines else "pip failed"))


@pytest.fixture(scope="module", params=BINDINGS, ids=[row[0] for row in BINDINGS])
def bindings(request, tmp_path_factory, compile_library):
    """(recorded version, folder for PYTHONPATH with the real package `tensorrt`)."""
    version, requirements, number = request.param
    folder = str(tmp_path_factory.mktemp("bindings"))
    wheel = download(requirements, folder)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    package = os.path.join(folder, "tensorrt")
    os.rename(os.path.join(folder, "tensorrt_bindings"), package)
    for library in ("nvinfer", "nvonnxparser", "nvinfer_plugin") + (("nvparsers",) if number == 8 else ()):
        name = "lib{}.so.{}".format(library, number)
        options = ["-D" + library.upper(), "-Wl,-soname," + name] + (["-DLOG_SLOT=4"] if number >= 11 else [])
        os.rename(compile_library("nvinfer.c", name, *options), os.path.join(package, name))  # found through $ORIGIN
    return version, folder


STARTED = """
import json, sys
from edgeseg.errors import EnvironmentFault
from edgeseg.trt.library import create, load_tensorrt, open_log
trt = load_tensorrt()
log = open_log(trt)
assert isinstance(log, trt.ILogger)
log.log(trt.ILogger.INFO, "not kept")
found = {"version": trt.__version__, "quiet": log.take_errors()}
for name in ("Builder", "Runtime"):
    try:
        create(lambda: getattr(trt, name)(log), log, "a " + name)
    except EnvironmentFault as fault:
        found[name] = [fault.exit_code, fault.message, fault.fix]
print(json.dumps(found))
"""


def test_our_code_starts_and_says_why_it_stops(bindings):
    version, folder = bindings
    found = json.loads(run(STARTED, folder))
    assert found["version"].split(".")[0] == version.split(".")[0] and found["quiet"] == []
    for name in ("Builder", "Runtime"):
        code, message, fix = found[name]
        assert code == 3 and "TensorRT cannot make a " + name in message and "driver" in message and "driver" in fix
        assert "TensorRT: CUDA initialization failure with error: 35" in message  # from the log of the real bindings


def test_compile_ends_with_the_reason(bindings, cuda_stub, jetson_bundle, tmp_path):
    """libcudart sees a GPU here, TensorRT does not: its own reason is what the user reads."""
    _, folder = bindings
    code = "import sys; from edgeseg.cli import main; sys.exit(0 if main(sys.argv[1:]) == 3 else 'no exit code 3')"
    done = subprocess.run(
        [sys.executable, "-c", code, "compile", jetson_bundle],
        env=dict(os.environ, PYTHONPATH=folder, EDGESEG_CACHE=str(tmp_path / "engines")),
        stderr=subprocess.PIPE,
        universal_newlines=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "CUDA error 35" in done.stderr and "fix: " in done.stderr and "Traceback" not in done.stderr


def test_the_oracle_is_what_the_bindings_have(bindings, oracles, tmp_path):
    version, folder = bindings
    out = str(tmp_path / "oracle.json")
    code = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    run(code, folder, os.path.join(DOUBLE, "make_oracle.py"), out)
    with open(out) as file:
        found = json.load(file)
    installed = run("import tensorrt; print(tensorrt.__version__)", folder).strip()
    if not installed.startswith(version):
        pytest.skip("this Python has bindings of {}, the oracle is of {}".format(installed, version))
    assert found == oracles[version]


def test_a_wheel_without_its_libraries_is_explained(bindings, tmp_path):
    version, folder = bindings
    broken = tmp_path / "tensorrt"
    broken.mkdir()
    for name in os.listdir(os.path.join(folder, "tensorrt")):
        if not name.startswith("lib"):
            os.symlink(os.path.join(folder, "tensorrt", name), str(broken / name))
    code = """
from edgeseg.errors import EnvironmentFault
from edgeseg.trt.library import load_tensorrt
try:
    load_tensorrt()
except EnvironmentFault as fault:
    print(fault)
"""
    number = version.split(".")[0]
    said = run(code, str(tmp_path))
    assert "libnv" in said and ".so.{} is not found".format(number) in said and "--runtime nvidia" in said, said


# What a program can see of TensorRT without a GPU, apart from names: run against the bindings and against the double.
PROBE = """
import json
import tensorrt as trt

def attempt(action):
    try:
        return repr(action())
    except Exception as error:
        return type(error).__name__ + ": " + str(error).split(chr(10))[0]

class Log(trt.ILogger):
    def __init__(self):
        trt.ILogger.__init__(self)
        self.lines = []
    def log(self, severity, msg):
        self.lines.append((str(severity), int(severity), msg))

class Unready(trt.ILogger):
    def __init__(self):
        pass

log, dims = Log(), trt.Dims((1, 2, 3))
member = trt.DataType.HALF
print(json.dumps({
    "builder": attempt(lambda: trt.Builder(log)),
    "runtime": attempt(lambda: trt.Runtime(log)),
    "log": log.lines,
    "no logger": attempt(lambda: trt.Builder(None)),
    "arity": attempt(lambda: trt.Builder()).split(".")[0],
    "keyword": attempt(lambda: trt.Builder(log=log)).split(".")[0],
    "no constructor": attempt(lambda: trt.IBuilderConfig()),
    "no init": attempt(lambda: Unready()),
    "new attribute": attempt(lambda: setattr(trt.Logger(), "color", 1)).replace("tensorrt.tensorrt.", ""),
    "number for severity": attempt(lambda: trt.Logger(1)).split(".")[0],
    "severity": [attempt(lambda: trt.Logger().min_severity), trt.ILogger.ERROR < trt.ILogger.WARNING],
    "severities": [[name, int(value)] for name, value in trt.ILogger.Severity.__members__.items()],
    "enum": [str(member), repr(member), member.name, member.value, int(member), [10, 11][member]],
    "enum from number": repr(trt.DataType(1)),
    "equal": [member == trt.DataType.HALF, member == 1, member == trt.DataType.FLOAT, hash(member) == hash(member)],
    "order": attempt(lambda: member < trt.DataType.FLOAT).split(":")[0],
    "shift": attempt(lambda: 1 << member).split(":")[0],
    "dims": [tuple(dims), len(dims), dims[1], dims[1:], str(dims), repr(dims), dims == (1, 2, 3), dims == [1, 2]],
    "dims and dims": attempt(lambda: dims == trt.Dims((1, 2, 3))).split(".")[0],
    "dims past end": attempt(lambda: dims[3]).split(":")[0],
    "pure virtual": attempt(lambda: type("Silent", (trt.ILogger,), {})().log(trt.ILogger.ERROR, "x")),
}, indent=1, sort_keys=True))
"""


def test_the_double_behaves_as_the_bindings(bindings):
    version, folder = bindings
    real = run(PROBE, folder)
    double = run(PROBE, DOUBLE, EDGESEG_DOUBLE_TENSORRT=version, STUB_CUDA_ERROR="35")
    assert json.loads(double) == json.loads(real)


def test_the_oracle_is_made_of_docstrings(tmp_path):
    """The reading of pybind11's first lines, which the files in api/ rest on."""
    space = runpy.run_path(os.path.join(DOUBLE, "make_oracle.py"))
    dump = {
        "Engine": {
            "__init__": "Initialize self.  See help(type(self)) for accurate signature.",
            "find": "find(self: Engine, index: int) -> str | find(self: Engine, name: str) -> str",
            "run": "run(self: Engine, at: Dict[str, Tuple[int, int]], flag: int = 0, mode: Mode = <Mode.A: 0>) -> bool",
            "stop": "stop(self: Engine) -> None",
            "__getitem__": "__getitem__(self: Engine, arg0: typing.SupportsInt) -> str",
            "count": "property ro: (arg0: Engine) -> int",
            "name": "property rw: ",
            "ERROR": "Indicates the severity of a message.",
        },
        "Mode": {"__enum__": {"A": 0}},
        "version": "version() -> int",
        "IPluginV2": {"x": "property ro: "},
    }
    assert space["oracle_of_dump"](dump) == {
        "Engine": {
            "class": {
                "find": [["index"], ["name"]],
                "run": [["at", "flag=", "mode="]],
                "stop": [[]],
                "__getitem__": [["arg0"]],
                "count": "ro",
                "name": "rw",
                "ERROR": "value",
            }
        },
        "Mode": {"enum": {"A": 0}},
        "version": {"function": [[]]},
    }
