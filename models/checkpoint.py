"""The state of a training run in one file, replaced atomically after each epoch."""

import fcntl
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeseg.errors import EnvironmentFault, UsageError

GROUPS = ("weights", "average", "optimizer")  # of arrays
HEADER = ("epoch", "recipe", "history", "ranking")
FILE = "checkpoint.npz"


class Checkpoint(NamedTuple):
    """Everything that the next epoch depends on."""

    epoch: int  # epochs that are complete
    recipe: dict[str, Any]  # the arguments of the run
    weights: list[np.ndarray]
    average: list[np.ndarray]
    optimizer: list[np.ndarray]
    history: list[dict[str, float]]
    ranking: Sequence[dict[str, Any]] = ()  # of several initial weights, as models.ranking.Ranked, best first


def save_checkpoint(path: Path, state: Checkpoint) -> None:
    """Write `state` to `path`: a reader sees the old file or the new one, whatever happens meanwhile.

    Raises EnvironmentFault if it cannot be written; the old file is then untouched.
    """
    header = {key: getattr(state, key) for key in HEADER}
    arrays = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)}
    for group in GROUPS:
        arrays |= {f"{group}/{i:04d}": array for i, array in enumerate(getattr(state, group))}
    with AtomicReplacement(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises UsageError if there is none or it cannot be read."""
    if not path.is_file():
        raise UsageError(f"there is no run to resume: {path} does not exist", "start the run without --resume")
    try:
        # numpy leaves a file open that it cannot read
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            header = json.loads(archive["header"].tobytes())
            groups: dict[str, Any] = {
                group: [archive[name] for name in sorted(archive.files) if name.startswith(group + "/")]
                for group in GROUPS
            }
        return Checkpoint(**header, **groups)
    except UNREADABLE as error:
        raise UsageError(
            f"checkpoint {path} cannot be read: {error}", "start the run anew in another folder"
        ) from error


# All that numpy raises on a file that is damaged or not an archive of arrays.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error)


class AtomicReplacement:
    """Context manager: gives a temporary path beside `path`, moved onto it if the block succeeds.

    A failing file operation, in the block or in the move, becomes an EnvironmentFault; the temporary
    file never outlives the block. What a killed process has left is removed by the next replacement.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")

    def __enter__(self) -> Path:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
        except OSError as error:
            raise self._fault(error) from error
        return self._temporary

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        try:
            if kind is None:
                _flush(self._temporary)
                os.replace(self._temporary, self._path)
                _flush(self._path.parent)  # else a power cut may forget the rename
        except OSError as problem:
            raise self._fault(problem) from problem
        finally:
            self._temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise self._fault(error) from error

    def _fault(self, error: OSError) -> EnvironmentFault:
        return EnvironmentFault(f"{self._path} cannot be written: {error}", "check free space and permissions")

    def _remove_leftovers(self) -> None:
        for leftover in self._path.parent.glob(f".{escape(self._path.name)}.*.tmp*"):
            pid = leftover.name.removeprefix(f".{self._path.name}.").split(".")[0]
            if not (pid.isdigit() and Path(f"/proc/{pid}").exists()):
                leftover.unlink(missing_ok=True)


@contextmanager
def sole_user(out: Path) -> Iterator[None]:
    """Hold folder `out`, made if need be, against another training; gone again if it stays empty.

    The lock is the kernel's and ends with the process, however it ends. Raises UsageError where
    another process trains in `out`, EnvironmentFault where the folder cannot be made.
    """
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = os.open(out, os.O_RDONLY)
    except OSError as error:
        raise EnvironmentFault(f"folder {out} cannot be made: {error}", "choose another -o") from error
    try:
        _lock(folder, out)
        yield
    finally:
        os.close(folder)
        if is_new and not any(out.iterdir()):
            out.rmdir()


def _lock(folder: int, out: Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(f"another process is training in {out}", "wait for its end, or choose another -o") from error
    except OSError:
        pass  # some network file systems have no locks


def _flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
