"""Outputs are complete or absent: written under a temporary name beside the final one, then renamed."""

import errno
import os
from typing import Iterable

from edgeseg.errors import EnvironmentFault, UsageError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FREE_SPACE = "free some space or choose another disk"


def temporary_name(path: str) -> str:
    """A name beside `path` with the same extension, by which OpenCV chooses the format."""
    stem, extension = os.path.splitext(path)
    return "{}.{}.tmp{}".format(stem, os.getpid(), extension)


def write_atomic(path: str, data: bytes) -> None:
    """Write a file, or raise EnvironmentFault and leave what was there before."""
    temporary = temporary_name(path)
    try:
        with open(temporary, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError as error:
        remove(temporary)
        raise write_fault(path, error)
    except BaseException:
        remove(temporary)
        raise


def remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def write_fault(path: str, error: OSError) -> EnvironmentFault:
    """What a failed write means to the user."""
    if error.errno in _FULL:
        return disk_full(path)
    return EnvironmentFault("{} cannot be written: {}".format(path, error.strerror), "check path and permissions")


def disk_full(path: str) -> EnvironmentFault:
    return EnvironmentFault("disk full: {} cannot be written, and nothing of it was kept".format(path), FREE_SPACE)


def check_folder_of(path: str) -> None:
    """Raise UsageError if the folder of the file `path` is absent, EnvironmentFault if it is read-only."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise UsageError("folder {} does not exist".format(folder), "create it: mkdir -p {}".format(folder))
    if os.path.isdir(path):
        raise UsageError("{} is a folder, not a file".format(path), "give the name of a file")
    if not os.access(folder, os.W_OK):
        raise EnvironmentFault("folder {} cannot be written".format(folder), "check its permissions")


def make_folder(path: str) -> str:
    """Make the last folder of `path` if it is absent. Raises UsageError if the one above it is absent too."""
    path = os.path.abspath(path)
    if os.path.isdir(path):
        check_folder_of(os.path.join(path, "x"))
        return path
    if os.path.exists(path):
        raise UsageError("{} is a file, not a folder".format(path), "give another folder")
    check_folder_of(path)
    try:
        os.mkdir(path)
    except OSError as error:
        raise write_fault(path, error)
    return path


def check_not_input(output: str, inputs: Iterable[str]) -> None:
    """Raise UsageError if writing `output` (a file or a folder) would replace one of the files in `inputs`."""
    target = os.path.realpath(output)
    for path in map(os.path.realpath, inputs):
        if target in (path, os.path.dirname(path)):
            raise UsageError("output {} would replace the input {}".format(output, path), "choose another output")
