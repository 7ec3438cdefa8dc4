"""Starting another Python that finds modules as this one does, and saying what ended it."""

import os
import signal
import sys
from typing import List

from edgeseg.errors import EnvironmentFault


def python_command(module: str) -> List[str]:
    """The command that runs `main()` of a module in a new process, and exits with what that returns; add arguments.

    Not `python -m`, which would look for modules in the working folder first: the child gets `sys.path` as it is here,
    whatever the program did to it.

    Raises EnvironmentFault where this process is a program with an embedded Python.
    """
    name = os.path.basename(sys.executable or "")
    if "python" not in name and "pypy" not in name:
        raise EnvironmentFault(
            "a child process needs a Python interpreter, but sys.executable is {!r}".format(sys.executable),
            "set it before, in a program that embeds Python: sys.executable = '/usr/bin/python3'",
        )
    folders = [os.path.abspath(folder) for folder in sys.path if isinstance(folder, str)]
    code = "import sys; sys.path[:] = {}; from {} import main; sys.exit(main())".format(ascii(folders), module)
    return [sys.executable, "-c", code]


def signal_name(number: int) -> str:
    """SIGSEGV for 11; real-time signals have no names."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal {}".format(number)
