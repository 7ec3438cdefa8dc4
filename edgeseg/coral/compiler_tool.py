"""The program edgetpu_compiler: where it is, which version, and how to run it without being at its mercy."""

import contextlib
import errno
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from types import FrameType
from typing import Iterator, List, NamedTuple, Optional, Sequence

from edgeseg.coral.compiler_log import parse_log
from edgeseg.errors import EnvironmentFault

NAME = "edgetpu_compiler"
PROGRAM_VARIABLE = "EDGETPU_COMPILER"
IMAGE_VARIABLE = "EDGETPU_COMPILER_IMAGE"
HOW_TO_GET = (
    "on an x86-64 Debian or Ubuntu (or in a docker image of debian:11 whose name is in ${}) install the package "
    "edgetpu-compiler of Google's Coral repository: https://coral.ai/docs/edgetpu/compiler; Google Colab is such a "
    "machine too; a program in another place is found by ${}".format(IMAGE_VARIABLE, PROGRAM_VARIABLE)
)

_X86_64 = ("x86_64", "amd64")
_VERSION_SECONDS = 60  # a container starts in a second or two, on a busy machine later
_DOCKER_SECONDS = 30
_KILL_SECONDS = 5
_MAX_OUTPUT = 4 << 20  # a search for delegates prints 300 bytes for each operator


class Compiler(NamedTuple):
    """An Edge TPU compiler that answers."""

    program: str  # path; "" in a docker image
    image: str  # docker image; "" on this machine
    found: str  # by what, for people: "PATH", "$EDGETPU_COMPILER", "docker image NAME"
    version: str  # e.g. "16.0.384591198"

    @property
    def major(self) -> int:
        digits = self.version.split(".")[0]
        return int(digits) if digits.isdigit() else 0


class Finished(NamedTuple):
    """A program that ended, or was killed."""

    code: Optional[int]  # exit code, negative for a signal; None: it ran past its time
    output: str  # standard output and error; their order may be wrong
    seconds: float


def find_compiler() -> Optional[Compiler]:
    """The compiler of $EDGETPU_COMPILER, of the PATH, or in the docker image of $EDGETPU_COMPILER_IMAGE.

    None if there is none. Raises EnvironmentFault for one that is there, or named, and does not work.
    """
    named, image = os.environ.get(PROGRAM_VARIABLE), os.environ.get(IMAGE_VARIABLE)
    if named:
        return _with_version(Compiler(_named_program(named), "", "$" + PROGRAM_VARIABLE, ""))
    found = shutil.which(NAME)
    if found:
        return _with_version(Compiler(os.path.abspath(found), "", "PATH", ""))
    if image:
        _check_image(image)
        return _with_version(Compiler("", image, "docker image " + image, ""))
    return None


def require_compiler() -> Compiler:
    """As `find_compiler`; EnvironmentFault with how to get one if there is none."""
    compiler = find_compiler()
    if compiler is None:
        raise EnvironmentFault(
            "there is no Edge TPU compiler here: no {} on the PATH, ${} and ${} are not set{}".format(
                NAME, PROGRAM_VARIABLE, IMAGE_VARIABLE, _other_machine()
            ),
            HOW_TO_GET,
        )
    return compiler


def run_compiler(compiler: Compiler, arguments: Sequence[str], folder: str, seconds: float) -> Finished:
    """Run the compiler in `folder`, with file names relative to it, for `seconds` at most.

    It has ended, with all that it started, when this returns or raises. Raises EnvironmentFault if it does not start.
    """
    if not compiler.image:
        return _run([compiler.program] + list(arguments), folder, seconds)
    container = "edgeseg-{}".format(uuid.uuid4().hex[:12])
    finished = None
    try:
        finished = _run(_docker_run(compiler.image, container, folder) + list(arguments), folder, seconds)
    finally:
        if finished is None or finished.code is None:  # the docker program is gone, what it started is not
            with contextlib.suppress(EnvironmentFault):
                _run(["docker", "kill", container], folder, _DOCKER_SECONDS)
    return finished


def _docker_run(image: str, container: str, folder: str) -> List[str]:
    user = "{}:{}".format(os.getuid(), os.getgid())  # or its files would be root's
    command = ["docker", "run", "--rm", "--network", "none", "--name", container, "--user", user]
    # Some images have the compiler as entry point, others none.
    return command + ["-v", folder + ":/work", "-w", "/work", "--entrypoint", NAME, image]


def _named_program(named: str) -> str:
    path = shutil.which(os.path.expanduser(named))
    if path is None:
        problem = "cannot be executed" if os.path.isfile(os.path.expanduser(named)) else "is not a program"
        raise EnvironmentFault(
            "${} is {}, which {}".format(PROGRAM_VARIABLE, named, problem),
            "set it to the path of {} (chmod +x it), or unset it".format(NAME),
        )
    return os.path.abspath(path)


def _check_image(image: str) -> None:
    """Raise EnvironmentFault unless docker has the image here: `docker run` would look for it on the network."""
    if shutil.which("docker") is None:
        raise EnvironmentFault(
            "${} is {}, but there is no docker here".format(IMAGE_VARIABLE, image), "install docker; or " + HOW_TO_GET
        )
    finished = _run(["docker", "image", "inspect", image], os.getcwd(), _DOCKER_SECONDS)
    if finished.code == 0:
        return
    reason = last_line(finished.output) or "docker does not answer"
    if "No such" in reason:
        fix = "build or pull that image; `docker images` lists those that are here"
    elif "permission denied" in reason:
        fix = "let this user talk to docker: sudo usermod -aG docker $USER, and log in again"
    else:
        fix = "start the docker daemon: sudo systemctl start docker"
    raise EnvironmentFault("docker image {} cannot be used: {}".format(image, reason), fix)


def _with_version(compiler: Compiler) -> Compiler:
    """Ask for the version, which shows that it runs here."""
    with tempfile.TemporaryDirectory(prefix="edgeseg-") as folder:
        finished = run_compiler(compiler, ["--version"], folder, _VERSION_SECONDS)
    version = parse_log(finished.output).version
    if version:
        return compiler._replace(version=version)
    check_program(compiler, finished)
    what = "no answer in {} s".format(_VERSION_SECONDS) if finished.code is None else last_line(finished.output)
    raise EnvironmentFault(
        "{} does not say that it is an Edge TPU compiler: {}".format(_where(compiler), what or "no output"), HOW_TO_GET
    )


def check_program(compiler: Compiler, finished: Finished) -> None:
    """Raise EnvironmentFault if the program itself cannot run here; what a shell or docker says of that."""
    where, line = _where(compiler), last_line(finished.output)
    if "Exec format error" in finished.output or "cannot execute binary file" in finished.output:
        raise _wrong_architecture(where)
    if "error while loading shared libraries" in finished.output:
        raise EnvironmentFault("{} lacks a library: {}".format(where, line), HOW_TO_GET)
    if compiler.image and finished.code in (125, 126, 127):  # of docker, not of the compiler
        raise EnvironmentFault("{} cannot be run: {}".format(where, line), HOW_TO_GET)


def last_line(output: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _where(compiler: Compiler) -> str:
    return compiler.program or compiler.found


def _wrong_architecture(where: str) -> EnvironmentFault:
    return EnvironmentFault(
        "{} is not a program for this machine ({})".format(where, platform.machine()),
        "the compiler exists for x86-64 only: run `edgeseg compile` on such a machine, then copy the bundle back",
    )


def _other_machine() -> str:
    machine = platform.machine()
    return "" if machine in _X86_64 else "; it exists for x86-64 only, and this machine is " + machine


def _run(command: List[str], folder: str, seconds: float) -> Finished:
    start = time.monotonic()
    # A file: a pipe could fill up, or be held open by what the compiler leaves behind.
    with tempfile.TemporaryFile() as sink, _stoppable():
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=dict(os.environ, LC_ALL="C"),
                start_new_session=True,  # a group of its own, which can be killed as a whole
            )
        except OSError as error:
            raise _cannot_start(command[0], error)
        try:
            code: Optional[int] = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _kill_group(process)
        size = sink.seek(0, os.SEEK_END)
        sink.seek(max(0, size - _MAX_OUTPUT))
        output = sink.read().decode("utf-8", "replace")
    return Finished(code, output, time.monotonic() - start)


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(OSError):  # all of it has ended
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel, which ends it later
        process.wait(_KILL_SECONDS)


def _cannot_start(program: str, error: OSError) -> EnvironmentFault:
    if error.errno == errno.ENOEXEC:
        return _wrong_architecture(program)
    return EnvironmentFault("{} cannot be started: {}".format(program, error.strerror), HOW_TO_GET)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM end this process in order: the compiler is killed and the scratch folder removed."""

    def stop(number: int, frame: Optional[FrameType]) -> None:
        sys.exit(128 + number)

    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
