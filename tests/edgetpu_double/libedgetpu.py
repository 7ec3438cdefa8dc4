"""Build the double of libedgetpu with gcc: `python libedgetpu.py OUT.so` or build_libedgetpu()."""

import os
import shutil
import subprocess
import sys
from typing import Sequence

FOLDER = os.path.dirname(os.path.abspath(__file__))
# The strings of Google's own libedgetpu 16.0, and the structs that it was built with.
STOCK = (
    "TENSORFLOW_COMMIT=a4dfb8d1a71385bd6d122e4f27f86dcebb96712d",
    "COMPILER=6.3.0 20170516",
    "OLD_STRUCTS",
)


def has_gcc() -> bool:
    return shutil.which("gcc") is not None


def build_libedgetpu(path: str, defines: Sequence[str] = (), needs: Sequence[str] = ()) -> str:
    """Compile libedgetpu.c to `path`, with macros NAME or NAME=TEXT, linked to the libraries `needs`; the path."""
    flags = ["-DKERNEL_FOLDER={}".format(_quoted(FOLDER))]
    for define in defines:
        name, _, text = define.partition("=")
        flags.append("-D{}={}".format(name, _quoted(text)) if text else "-D" + name)
    command = ["gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"] + flags
    command += [os.path.join(FOLDER, "libedgetpu.c"), "-o", path, "-ldl", "-Wl,--no-as-needed"] + list(needs)
    subprocess.run(command, check=True)
    return path


def _quoted(text: str) -> str:
    return '"{}"'.format(text)


if __name__ == "__main__":
    build_libedgetpu(sys.argv[1])
