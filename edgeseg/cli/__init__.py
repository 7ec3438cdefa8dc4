"""The command line: one file for each command, imported when that command is asked for."""

import argparse
import importlib
import importlib.util
import os
import sys
import traceback
from typing import List, NamedTuple, Optional, Sequence

from edgeseg.errors import EXIT_BUG, EXIT_INTERRUPTED, EdgesegError, EnvironmentFault
from edgeseg.version import __version__


class Command(NamedTuple):
    """A command and, for one of the PC side, the packages it cannot do without."""

    name: str
    summary: str
    needs: Sequence[str] = ()
    extra: str = ""
    python: str = ""  # oldest Python that it runs on
    spared: str = ""  # what needs none of this: the command itself asks, with `require`
    module: str = ""  # in edgeseg.cli; default: that of the same name


COMMANDS = (
    Command("data", "tell what is in a labelled dataset and what is wrong with it"),
    Command("train", "train a network on a labelled dataset", ("keras", "cv2"), "export", "3.10"),
    Command("export", "turn a network into a bundle for a target", ("keras", "tensorflow"), "export", "3.10"),
    Command("compile", "build the TensorRT engine of a bundle on this board, or compile a bundle for the Edge TPU"),
    Command("import", "wrap someone else's segmentation .tflite file in a bundle", module="import_model"),
    Command("zoo", "list the networks in the box and their figures"),
    Command("run", "segment a camera, video, image or folder"),
    Command("bench", "measure FPS, latency and accuracy on this machine"),
    Command(
        "verify",
        "compare a bundle with its float network, and the Edge TPU with the CPU, as masks",
        ("keras", "tensorflow"),
        "export",
        "3.10",
        "bundles for the Edge TPU",
    ),
    Command("inspect", "show what is in a bundle, a .tflite or .onnx file, or a network; or what networks cost"),
    Command("doctor", "check this machine: runtimes, OpenCV, cameras, space"),
)


def missing_reason(name: str) -> str:
    """Why this command cannot run here, or an empty string."""
    (command,) = (c for c in COMMANDS if c.name == name)
    if command.python and sys.version_info < tuple(int(n) for n in command.python.split(".")):
        return "needs Python {} or later".format(command.python)
    absent = [package for package in command.needs if importlib.util.find_spec(package) is None]
    return "needs {}: pip install 'edgeseg[{}]'".format(", ".join(absent), command.extra) if absent else ""


def require(name: str) -> None:
    """Raise EnvironmentFault if this command cannot run here."""
    what, _, fix = missing_reason(name).partition(": ")
    if what:
        raise EnvironmentFault("edgeseg {} {}".format(name, what), fix or "run it on a PC with a newer Python")


def main(argv: Optional[List[str]] = None) -> int:
    """Run a command; returns its exit code (see edgeseg.errors)."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        return _dispatch(arguments)
    except EdgesegError as error:
        print("edgeseg: error: {}".format(error), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        print("edgeseg: interrupted" + ("; {}".format(stop) if str(stop) else ""), file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`edgeseg ... | head`); that is no fault.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:
        traceback.print_exc()
        print("edgeseg: this is a bug of edgeseg; please report the lines above", file=sys.stderr)
        return EXIT_BUG


def _dispatch(arguments: List[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="edgeseg",
        description="Semantic segmentation for robots.",
        epilog="exit codes: 0 ok, 1 a check failed, 2 usage, 3 something is missing here, "
        "4 the bundle does not fit, 70 a bug, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version="edgeseg " + __version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in COMMANDS:
        # Only the command that is asked for is imported; --help stays fast.
        asked = arguments[:1] == [command.name]
        reason = missing_reason(command.name)
        spared = "; not for {}".format(command.spared) if command.spared else ""
        text = command.summary + (" [{}{}]".format(reason, spared) if reason else "")
        child = commands.add_parser(command.name, help=text, description=command.summary)
        if asked:
            module = importlib.import_module("edgeseg.cli." + (command.module or command.name))
            module.configure(child)
            child.set_defaults(run=module.run, spared=command.spared)
    args = parser.parse_args(arguments)
    if not args.command:
        parser.print_help()
        return 2
    if not args.spared:
        require(args.command)
    return int(args.run(args))
