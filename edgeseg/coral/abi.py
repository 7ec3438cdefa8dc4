"""Which interpreter may load which libedgetpu. A wrong pair corrupts memory, or finds "unresolved custom op".

libedgetpu hands the interpreter a structure by value (TfLiteRegistration), as the TensorFlow that it was compiled with
laid it out. TensorFlow 2.10 put a pointer at its end. Interpreters from 2.10 on follow it, and with an older libedgetpu
that is whatever lies on the stack. Tried on x86-64, with the three libraries that Google shipped (16.0 max and std,
legacy 13), up to where they ask for a TPU: tflite-runtime 2.7.0 and 2.9.1 work with each; 2.10.0 to 2.14.0, TensorFlow
2.21, ai-edge-litert 1.0.1 and 1.4.0 crash or find an "unresolved custom op"; with ai-edge-litert 2.1 and 2.3 one of the
three crashes, and two happen to find nothing harmful on the stack. What TensorFlow 2.13 and 2.14 added behind that
pointer is not followed for a delegate: garbage there changed nothing. An older interpreter ignores what a newer library
adds.

https://github.com/google-coral/edgetpu/issues/812, https://github.com/tensorflow/tensorflow/issues/62371
"""

import importlib.util
import os
import re
import sys
from typing import Tuple

from edgeseg.coral.library import BUILDS, Library, install_command
from edgeseg.errors import EnvironmentFault

_BOUNDARY = (2, 10)
# TensorFlow that workspace.bzl of google-coral/libedgetpu and feranick/libedgetpu named in their history. A libedgetpu
# that was built otherwise has another, or none: then only its compiler tells that it is one of Google's.
_TENSORFLOW = {
    "f394a768719a55b5c351ed1ecab2ec6f16f99dd4": "2.4-dev",  # libedgetpu 15.0
    "855c4c0ee34257b98ce2d01121940efb5423a059": "2.5-dev",
    "a4dfb8d1a71385bd6d122e4f27f86dcebb96712d": "2.5.0",  # libedgetpu 16.0, Google's last
    "1b8f5c396f0c016ebe81fe1af029e6f205c926a4": "2.8.4",
    "a5ed5f39b675a1c6f315e0caf3ad4b38478fa571": "2.9.3",
    "fdfc646704c37bdf450525f6ced9d80df86e4993": "2.10.1",
    "a3e2c692c18649329c4210cf8df2487d2028e267": "2.11.1",
    "8e2b6655c0c488290179ab90a0daed0f6d3006f7": "2.12.1",
    "f841394b1b714c5cc5366536411cf146c8c570df": "2.13.1",
    "99d80a9e254c9df7940b2902b14d15914dbbbcd9": "2.14.1",
    "6887368d6d46223f460358323c4b76d61d1558a8": "2.15.0",
    "63f5a65c7cd7b6241bede8d2e0082058566ea364": "2.15.1",
    "5bc9d26649cca274750ad3625bd93422617eed4b": "2.16.1",
    "ad6d8cc177d0c868982e39e0823d0efbfb95f04c": "2.17.0",
    "3c92ac03cab816044f7b18a86eb86aa01a294d95": "2.17.1",
    "6550e4bd80223cdb8be6c3afd1f81e86a4d433c3": "2.18.0",
    "cb64295ec7308f770b22db6047a1e755b35b7bee": "2.18.1",
    "e36baa302922ea3c7131b302c2996bd2051ee5c4": "2.19.0",
    "f4247ebb6f9e7421f38c3f01a9a5d5cd54bd24fd": "2.19.1",
    "72fbba3d20f4616d7312b5e2b7f79daf6e82f2fa": "2.20.0",
}
# Debian 8's and 9's, on which Google built all its releases. TensorFlow 2.10 does not compile with them.
_GOOGLES_COMPILERS = ("5.4.0 20160609", "6.3.0 20170516")
_GOOGLES_INTERPRETER = (
    "pip install --extra-index-url https://google-coral.github.io/py-repo/ tflite-runtime==2.5.0.post1 'numpy<2'"
)


def check_pair(library: Library, package: str, version: str, root: str = "/") -> None:
    """Whether an interpreter may load a library.

    Args:
        library: from `find_library`.
        package: of the interpreter: "ai_edge_litert", "tflite_runtime" or "tensorflow".
        version: its `__version__`; one that is unknown counts as new.
        root: the folder that stands for "/" where the system is looked at, for the command that mends it.

    Raises EnvironmentFault with the pairs that work if the interpreter is newer than the library allows. A library of
    unknown origin passes: those that are too old all come from Google.
    """
    if not _is_old(library) or _is_old_interpreter(package, version):
        return
    newer = install_command(root) or "build it for a TensorFlow of 2.10 or later, or find one at " + BUILDS
    fixes = ["install a libedgetpu that fits {}: {}".format(package, newer)]
    if sys.version_info < (3, 10):  # the last Python that it is made for is 3.9
        fixes.append("keep it, and install the interpreter that it was made for: " + _GOOGLES_INTERPRETER)
    raise EnvironmentFault(
        "libedgetpu at {} ({}) and {} {} corrupt memory together: it fits only interpreters before "
        "TensorFlow 2.10".format(library.path, describe(library), package, version or "of unknown version"),
        "; or ".join(fixes),
    )


def describe(library: Library) -> str:
    """What a library was built with, for people: "TensorFlow 2.19.1"."""
    version = _TENSORFLOW.get(library.tensorflow_commit)
    if version:
        return "TensorFlow {}".format(version)
    if library.compiler in _GOOGLES_COMPILERS:
        return "a build of Google's of 2021 or before"
    if library.tensorflow_commit:
        return "TensorFlow commit {}".format(library.tensorflow_commit[:10])
    return "built with an unknown TensorFlow"


def foreign_pycoral() -> str:
    """Where a package `pycoral` is installed that is not Google's; "" otherwise.

    PyPI's pycoral (0.2.0) is another program. Google's is on no public index but its own.
    """
    spec = importlib.util.find_spec("pycoral")
    folders = list(spec.submodule_search_locations or []) if spec else []
    if folders and not any(os.path.isfile(os.path.join(folder, "utils", "edgetpu.py")) for folder in folders):
        return folders[0]
    return ""


def _is_old(library: Library) -> bool:
    version = _TENSORFLOW.get(library.tensorflow_commit)
    if version:
        return _numbers(version) < _BOUNDARY
    return library.compiler in _GOOGLES_COMPILERS


def _is_old_interpreter(package: str, version: str) -> bool:
    """LiteRT counts its versions anew: 1.0.1 is of TensorFlow 2.18."""
    return package != "ai_edge_litert" and () < _numbers(version) < _BOUNDARY


def _numbers(version: str) -> Tuple[int, ...]:
    """Major and minor: (2, 14) of "2.14.0"."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
