"""Compile a full-integer .tflite file for the Edge TPU with Google's edgetpu_compiler, and check what comes out.

`--search_delegate` is not used: it helps only by leaving operators to the CPU, one more at each of up to hundreds of
tries of minutes each.
"""

import os
import tempfile
import time
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

from edgeseg.coral.compiler_log import CompilerLog, Failure, Row, find_failure, parse_log
from edgeseg.coral.compiler_tool import Compiler, Finished, check_program, run_compiler
from edgeseg.coral.package import Package, read_packages, split
from edgeseg.errors import BundleError, CheckFailed
from edgeseg.stream.atomic import write_fault
from edgeseg.tflite.model import Operator, TfliteModel, read_tflite

ATTEMPTS = 3  # the same file may fail and compile (edgetpu issues 206 and 211)
TIMEOUT_SECONDS = 180  # the compiler's own default
_MARGIN_SECONDS = 30  # for its start and end, before it is killed
_TIMEOUT_SINCE = 16  # the major version that knows --timeout_sec

Log = Callable[[str], None]

_REPORT_IT = "compile once more; if it stays so, use another version of the compiler"


class CompilationFailed(CheckFailed):
    """There is no compiled file, or not one that is wanted. `size_matters`: another input size may do."""

    def __init__(self, message: str, fix: str, size_matters: bool = False) -> None:
        super().__init__(message, fix)
        self.size_matters = size_matters


class Compilation(NamedTuple):
    """A compiled file, and what `manifest.compilation` says of it."""

    payload: bytes
    report: Dict[str, Any]


def compile_tflite(
    data: bytes, compiler: Compiler, log: Log, allow_partial: bool = False, timeout: float = TIMEOUT_SECONDS
) -> Compilation:
    """Compile an uncompiled .tflite file; `log` is told of failed attempts, `timeout` is of each, in seconds.

    Raises CompilationFailed if there is no result that the compiler's exit code, its messages and the file itself
    agree on, or if operators are left to the CPU and `allow_partial` is not set. EnvironmentFault if the compiler
    cannot run here, BundleError if `data` is not a .tflite file.
    """
    model = read_tflite(data)
    start = time.monotonic()
    for attempt in range(1, ATTEMPTS + 1):
        options = _options(compiler, timeout)
        finished, payload, log_file = _attempt(data, compiler, options, timeout)
        said = parse_log(finished.output)
        if finished.code == 0 and said.succeeded:
            said = said if said.rows else said._replace(rows=parse_log(log_file).rows)
            packages = _check(model, payload, said, allow_partial)
            report = _report(said, packages, payload)
            report.update(compiler=compiler.version, found=compiler.found, options=" ".join(options))
            report.update(attempts=attempt, seconds=round(time.monotonic() - start, 1))
            return Compilation(payload, report)
        check_program(compiler, finished)
        failure = _failure(finished, said, timeout)
        if not failure.again or attempt == ATTEMPTS:
            break
        log("attempt {} of {} to compile failed: {}; trying again".format(attempt, ATTEMPTS, failure.cause))
    tries = " {} times".format(attempt) if attempt > 1 else ""
    raise CompilationFailed(
        "the Edge TPU compiler {} failed{}: {}{}".format(
            compiler.version, tries, failure.cause, _quoted(finished.output)
        ),
        failure.fix,
        failure.size_matters,
    )


def _options(compiler: Compiler, timeout: float) -> List[str]:
    limit = ["--timeout_sec", str(max(1, int(timeout)))] if compiler.major >= _TIMEOUT_SINCE else []
    return ["--show_operations"] + limit


def _attempt(data: bytes, compiler: Compiler, options: List[str], timeout: float) -> Tuple[Finished, bytes, str]:
    """How the compiler ended, the file that it wrote (b"" for none) and its log file."""
    with tempfile.TemporaryDirectory(prefix="edgeseg-") as folder:
        source = os.path.join(folder, "network.tflite")
        try:
            with open(source, "wb") as file:
                file.write(data)
        except OSError as error:
            raise write_fault(source, error)
        finished = run_compiler(compiler, options + ["network.tflite"], folder, timeout + _MARGIN_SECONDS)
        payload = _content(os.path.join(folder, "network_edgetpu.tflite"))
        log_file = _content(os.path.join(folder, "network_edgetpu.log")).decode("utf-8", "replace")
        return finished, payload, log_file


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _failure(finished: Finished, said: CompilerLog, timeout: float) -> Failure:
    found = find_failure(finished.output)
    if finished.code is None:
        cause = "it was still at work {:g} s past its time limit of {:g} s, and was ended".format(
            _MARGIN_SECONDS, timeout
        )
        return Failure(cause, found.fix, size_matters=True)
    if finished.code in (-9, 137):  # 137: of a shell or docker
        return Failure("it was killed, as the system does when memory runs out", "free memory, then compile again")
    signal = -finished.code if finished.code < 0 else finished.code - 128
    if 0 < signal < 32:
        return found._replace(cause="it crashed with signal {}".format(signal))
    if said.succeeded:
        cause = "it reports success, but ended with exit code {}".format(finished.code)
        return found._replace(cause=cause, fix=_REPORT_IT)
    return found


def _quoted(output: str) -> str:
    """Its last words."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return "".join("\n  | " + line for line in lines[-4:])


def _check(model: TfliteModel, payload: bytes, said: CompilerLog, allow_partial: bool) -> Tuple[Package, ...]:
    """The packages of the compiled file. Raises CompilationFailed unless it is what the compiler says that it is."""
    if not payload:
        raise CompilationFailed("the Edge TPU compiler reports success, but wrote no file", _REPORT_IT)
    try:
        compiled = read_tflite(payload)
        packages = read_packages(compiled)
    except BundleError as error:
        raise CompilationFailed("the Edge TPU compiler wrote a damaged file: {}".format(error.message), _REPORT_IT)
    left = split(compiled).cpu
    if not packages:
        raise CompilationFailed(
            "the Edge TPU compiler reports success, but mapped nothing to the Edge TPU" + _left_text(left, said.rows),
            "`edgeseg inspect FILE --target coral` names the first operator that it does not take",
        )
    _check_account(said, len(left), len(packages))
    if _border(model) != _border(compiled):
        raise CompilationFailed("the compiled file has other inputs and outputs than the network", _REPORT_IT)
    if left and not allow_partial:
        raise CompilationFailed(
            "{} operator(s) are left to the CPU{}".format(len(left), _left_text(left, said.rows)),
            "use another network or input size; `edgeseg compile BUNDLE --allow-partial` takes it as it is, slower",
            any(row.size_matters for row in said.rows),
        )
    return packages


def _check_account(said: CompilerLog, left: int, packages: int) -> None:
    """Raise CompilationFailed if the compiler tells another story than its file."""
    told = sum(row.number for row in said.rows if not row.mapped)
    problems = []
    if said.rows and told != left:
        problems.append("{} operators on the CPU, the file has {}".format(told, left))
    if said.subgraphs is not None and said.subgraphs != packages:
        problems.append("{} Edge TPU subgraphs, the file has {}".format(said.subgraphs, packages))
    if problems:
        raise CompilationFailed("the Edge TPU compiler reports {}".format("; ".join(problems)), _REPORT_IT)


def _border(model: TfliteModel) -> List[Tuple[Any, ...]]:
    tensors = [model.tensors[i] for i in model.inputs + model.outputs]
    return [(tensor.shape, tensor.type, tensor.scale, tensor.zero_point) for tensor in tensors]


def _left_text(left: Sequence[Operator], rows: Sequence[Row]) -> str:
    """The operators on the CPU, with the compiler's reasons where it gives them."""
    rows = [row for row in rows if not row.mapped] or [Row(o.name, 1, "no reason given") for o in left]
    return "".join("\n  {} x {}: {}".format(row.number, row.operator, row.status) for row in rows)


def _report(said: CompilerLog, packages: Tuple[Package, ...], payload: bytes) -> Dict[str, Any]:
    """Bytes of parameters are those in the file; the compiler adds instructions to them, and rounds."""
    return {
        "bytes": len(payload),
        "subgraphs": len(packages),
        "min_runtime": max(package.min_runtime for package in packages),
        "cached_bytes": sum(package.cached_bytes for package in packages),
        "streamed_bytes": sum(package.streamed_bytes for package in packages),
        "on_chip_used_bytes": said.cached_bytes,
        "on_chip_free_bytes": said.free_bytes,
        "operators": [{"operator": row.operator, "count": row.number, "status": row.status} for row in said.rows],
    }
