"""Memory and messages that a worker and its child process share."""

import contextlib
import mmap
import os
import struct
import tempfile
from typing import IO, Any, NamedTuple, Tuple

import numpy as np

from edgeseg.errors import EnvironmentFault

Array = Any

BEAT_S = 0.5  # the child counts up this often while it is alive

# A request is the number of a frame; a reply repeats it. Number 0 is the start. Text follows a reply.
MESSAGE = struct.Struct("<QB")
DONE, FAILED = 0, 1
MAX_MESSAGE_BYTES = 1 << 16


class TensorSpec(NamedTuple):
    shape: Tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


BEAT = TensorSpec((1,), "uint64")


def unlinked_file(size: int) -> "IO[bytes]":
    """A file that no folder lists: it is gone with the last process that has it open. In RAM where there is room.

    Its bytes are reserved now: on a disk that is full later, writing to the mapped memory would be fatal (SIGBUS).
    Raises EnvironmentFault if there is no room.
    """
    reasons = []
    for folder in ("/dev/shm", None):  # None: the folder for temporary files
        try:
            with contextlib.ExitStack() as stack:
                file = stack.enter_context(tempfile.TemporaryFile(dir=folder, buffering=0))
                if size:
                    os.posix_fallocate(file.fileno(), 0, size)
                stack.pop_all()
                return file
        except OSError as error:
            reasons.append(str(error))
    raise EnvironmentFault(
        "{} bytes of shared memory cannot be had: {}".format(size, "; ".join(reasons)),
        "free some memory and disk; in a container: docker run --shm-size=256m",
    )


def map_tensor(descriptor: int, spec: TensorSpec, writable: bool = True) -> Array:
    """The content of a file as an array that is shared with all others who map it."""
    access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    memory = mmap.mmap(descriptor, spec.bytes, prot=access)
    return np.frombuffer(memory, spec.dtype).reshape(spec.shape)
