"""A double of edgetpu_compiler: its command line, its words, its files and its failures.

`install(folder)` puts a program of that name into a folder for the PATH. What it prints is what versions 14.1, 15.0
and 16.0 print (google-coral/edgetpu issues; numbers beside the texts), with the operators of the model that it is
given. $EDGETPU_COMPILER_DOUBLE_VERSION is the version; $EDGETPU_COMPILER_DOUBLE names a failure, of those in MODES, or:

    partial:N     the last N operators stay on the CPU
    large:HxW     activations are too large above that input size
    flaky:N:MODE  the first N runs fail as MODE does, counted in the file $EDGETPU_COMPILER_DOUBLE_RUNS

Each run adds its arguments as a line to $EDGETPU_COMPILER_DOUBLE_RUNS, if that is set.
"""

import argparse
import collections
import os
import signal
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List, Tuple

VERSIONS = {"14": "14.1.317412892", "15": "15.0.340273435", "16": "16.0.384591198"}
_MIN_RUNTIME = {"14": 13, "15": 13, "16": 14}

_MAPPED = "Mapped to Edge TPU"
_FAILED = "Compilation child process completed within timeout period.\nCompilation failed! \n"
_NOT_COMPILED = 1  # the real exit codes are not known, only that they are not 0


def install(folder: str, name: str = "edgetpu_compiler") -> str:
    """Write the program into `folder`; returns its path. It runs with the Python that calls this."""
    path = os.path.join(str(folder), name)
    with open(path, "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\nexec '{}' '{}' \"$@\"\n".format(sys.executable, os.path.abspath(__file__)))
    os.chmod(path, 0o755)
    return path


def main(arguments: List[str]) -> int:
    version = os.environ.get("EDGETPU_COMPILER_DOUBLE_VERSION", "16")
    print("Edge TPU Compiler version " + VERSIONS[version], flush=True)
    runs = _count_run(arguments)
    args = _parser(version).parse_args(arguments)
    if args.version:
        return 0
    mode = os.environ.get("EDGETPU_COMPILER_DOUBLE", "")
    if mode.startswith("flaky:"):
        _, count, flaky = mode.split(":", 2)
        mode = flaky if runs <= int(count) else ""
    return _compile(args, version, mode)


def _parser(version: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgetpu_compiler")
    parser.add_argument("-v", "--version", action="store_true")
    parser.add_argument("-s", "--show_operations", action="store_true")
    parser.add_argument("-o", "--out_dir", default=".")
    if version == "16":
        parser.add_argument("-t", "--timeout_sec", type=int, default=180)
    parser.add_argument("model", nargs="?")
    return parser


def _count_run(arguments: List[str]) -> int:
    """How often a model was given so far."""
    path = os.environ.get("EDGETPU_COMPILER_DOUBLE_RUNS")
    if not path:
        return 1
    with open(path, "a+", encoding="utf-8") as file:
        file.write(" ".join(arguments) + "\n")
        file.seek(0)
        return sum(line.rstrip().endswith(".tflite") for line in file)


def _compile(args: Any, version: str, mode: str) -> int:
    with open(args.model, "rb") as file:
        data = file.read()
    if version == "16" and mode not in ("unparsable", "new-operator", "not-quantized", "damaged"):
        print("Started a compilation timeout timer of {} seconds.".format(args.timeout_sec), flush=True)
    if mode.startswith("large:"):
        height, width = (int(side) for side in mode[len("large:") :].split("x"))
        mode = "large-activations" if _larger(data, height, width) else ""
    if mode in MODES:
        return MODES[mode](args, version, data)
    keep = int(mode[len("partial:") :]) if mode.startswith("partial:") else 0
    if mode and not keep:
        raise SystemExit("edgetpu_compiler double: there is no mode {!r}".format(mode))
    return _succeed(args, version, data, keep)


def _larger(data: bytes, height: int, width: int) -> bool:
    from edgeseg.tflite.model import read_tflite

    model = read_tflite(data)
    shape = model.tensors[model.inputs[0]].shape
    return shape[1] > height or shape[2] > width


def _succeed(args: Any, version: str, data: bytes, keep: int = 0) -> int:
    from compiled import compiled_file

    _report(args, version, data, compiled_file(data, keep, _MIN_RUNTIME[version]), keep)
    return 0


def _report(args: Any, version: str, data: bytes, payload: bytes, keep: int, subgraphs: int = 1) -> None:
    """Write the file and its log, and say so."""
    stem = os.path.join(args.out_dir, os.path.splitext(os.path.basename(args.model))[0]).replace("./", "")
    rows = operator_rows(data, keep)
    table = "\nOperator                       Count      Status\n\n"
    table += "".join("{:<31}{:<11}{}\n".format(name, count, status) for name, count, status in rows)
    with open(stem + "_edgetpu.tflite", "wb") as file:
        file.write(payload)
    head = "Edge TPU Compiler version {}\nInput: {}\nOutput: {}_edgetpu.tflite\n"
    with open(stem + "_edgetpu.log", "w", encoding="utf-8") as file:
        file.write(head.format(VERSIONS[version], args.model, stem) + table)
    total = sum(count for _, count, _ in rows)
    text = _SUCCESS.format(args.model, size_text(len(data)), stem, size_text(len(payload)), subgraphs, total, stem)
    keep = sum(count for _, count, status in rows if status != _MAPPED)
    if keep:
        text += _PARTIAL.format(total - keep, keep)
    text += table if args.show_operations else "See the operation log file for individual operation details.\n"
    if version == "16":
        text += "Compilation child process completed within timeout period.\nCompilation succeeded! \n"
    print(text, end="")


_SUCCESS = """
Model compiled successfully in 986 ms.

Input model: {}
Input size: {}
Output model: {}_edgetpu.tflite
Output size: {}
On-chip memory used for caching model parameters: 3.86MiB
On-chip memory remaining for caching model parameters: 3.83MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: {}
Total number of operations: {}
Operation log: {}_edgetpu.log
"""
_PARTIAL = """
Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the model will \
instead run on the CPU, which is slower. If possible, consider updating your model to use only operations supported \
by the Edge TPU. For details, visit g.co/coral/model-reqs.
Number of operations that will run on Edge TPU: {}
Number of operations that will run on CPU: {}
"""


def operator_rows(data: bytes, keep: int) -> List[Tuple[str, int, str]]:
    """(name, count, status): the first of those on the CPU has a limitation, what follows it is a second subgraph."""
    from edgeseg.tflite.model import read_tflite

    names = [operator.name for operator in read_tflite(data).operators]
    fates = [_MAPPED] * (len(names) - keep)
    if keep:
        fates += ["Operation is otherwise supported, but not mapped due to some unspecified limitation"]
        fates += ["More than one subgraph is not supported"] * (len(names) - len(fates))
    counts: Dict[Tuple[str, str], int] = collections.OrderedDict()
    for key in zip(names, fates):
        counts[key] = counts.get(key, 0) + 1
    return [(name, count, fate) for (name, fate), count in counts.items()]


def size_text(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024 or unit == "MiB":
            break
        count /= 1024
    return "{:.2f}{}".format(count, unit)


def _say(text: str, code: int = _NOT_COMPILED) -> Callable[[Any, str, bytes], int]:
    """A mode that prints `text` and ends."""

    def end(args: Any, version: str, data: bytes) -> int:
        print(text.format(model=args.model), end="", flush=True)
        return code

    return end


def _hang(args: Any, version: str, data: bytes) -> int:
    """With a child of its own, as version 16 has."""
    subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(100)", os.environ.get("EDGETPU_COMPILER_DOUBLE_RUNS", "")]
    )
    time.sleep(100)
    return _NOT_COMPILED


def _crash(number: int) -> Callable[[Any, str, bytes], int]:
    def end(args: Any, version: str, data: bytes) -> int:
        signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
        os.kill(os.getpid(), number)
        return 0

    return end


def _without_table(args: Any, version: str, data: bytes) -> int:
    args.show_operations = False
    return _succeed(args, version, data)


def _without_file(args: Any, version: str, data: bytes) -> int:
    _succeed(args, version, data)
    os.unlink(os.path.join(args.out_dir, os.path.splitext(args.model)[0] + "_edgetpu.tflite"))
    return 0


def _write(change: Callable[[bytes, bytes], bytes], **said: int) -> Callable[[Any, str, bytes], int]:
    """A mode that reports success with another file than it should be, out of the model and the compiled file, or with
    another story.
    """

    def end(args: Any, version: str, data: bytes) -> int:
        from compiled import compiled_file

        payload = change(data, compiled_file(data))
        _report(args, version, data, payload, said.get("keep", 0), said.get("subgraphs", 1))
        return said.get("code", 0)

    return end


def _unwritable(args: Any, version: str, data: bytes) -> int:
    _without_file(args, version, data)
    print("Error opening file for writing: network_edgetpu.tflite\nInternal compiler error. Aborting! ")
    return _NOT_COMPILED


_TOO_NEW = "ERROR: Didn't find op for builtin opcode 'TRANSPOSE_CONV' version '4'. An older version of this builtin "
_TOO_NEW += (
    "might be supported. Are you using an old TFLite binary with a newer model?\n\nERROR: Registration failed.\n"
)
_IN_INTERPRETER = "Compilation failed: Model failed in Tflite interpreter. Please ensure model can be loaded/run in "
_IN_INTERPRETER += "Tflite interpreter.\n" + _FAILED
_UNRESOLVED = "ERROR: Encountered unresolved custom op: FlexErf.\nERROR: Node number 3 (FlexErf) failed to prepare.\n"
_DYNAMIC = "ERROR: Attempting to use a delegate that only supports static-sized tensors with a graph that has "
_DYNAMIC += "dynamic-sized tensors.\n"
_LARGE = "ERROR: Restored original execution plan after delegate application failure.\n"
_LARGE += "Compilation failed: Compilation failed due to large activation tensors in model.\n" + _FAILED
_OUT_OF_RANGE = "libc++abi: terminating with uncaught exception of type std::out_of_range: vector\n"

MODES: Dict[str, Callable[[Any, str, bytes], int]] = {
    "unparsable": _say(_TOO_NEW + "\nInvalid model: {model}\nModel could not be parsed\n"),  # 845, 631, 879
    "new-operator": _say("ERROR: Op builtin_code out of range: 151. Are you using old TFLite binary?\n"),  # 862
    "not-quantized": _say("Invalid model: {model}\nModel not quantized\n"),
    "damaged": _say("Invalid model: {model}\nModel could not be parsed\n"),
    "internal-error": _say("\nInternal compiler error. Aborting! \n"),  # 189, 206, 211, 358
    "large-activations": _say(_LARGE),  # 439, 449, 512, 608, 653
    "no-reason": _say(_FAILED),  # 187, 707, 714, 903
    "custom-op": _say(_UNRESOLVED + _IN_INTERPRETER),
    "dynamic": _say(_DYNAMIC + _IN_INTERPRETER),  # 829
    "interpreter": _say(_IN_INTERPRETER),
    "own-timeout": _say(
        "Compilation timeout. This is usually caused by large activations.\nCompilation failed! \n"
    ),  # 686
    "uncaught": _say(_OUT_OF_RANGE + _FAILED),  # 728
    "version-only": _say("", 0),  # 411
    "failure-with-code-0": _say(_LARGE, 0),
    "exec-format": _say("/usr/bin/edgetpu_compiler: 2: exec: edgetpu_compiler_bin/ld.so: Exec format error\n", 126),
    "library": _say("edgetpu_compiler: error while loading shared libraries: libc++.so.1: cannot open\n", 127),
    "hang": _hang,
    "segfault": _crash(signal.SIGSEGV),
    "killed": _crash(signal.SIGKILL),
    "no-table": _without_table,
    "no-file": _without_file,
    "unwritable": _unwritable,  # 400
    "success-with-code-1": _write(lambda model, payload: payload, code=1),
    "truncated": _write(lambda model, payload: payload[: len(payload) // 2]),
    "no-custom-op": _write(lambda model, payload: model, keep=sys.maxsize, subgraphs=0),  # 358
    "says-partial": _write(lambda model, payload: payload, keep=2),
    "says-3-subgraphs": _write(lambda model, payload: payload, subgraphs=3),
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
