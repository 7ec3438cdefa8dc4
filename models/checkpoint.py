"""The state of a training run in one file, replaced atomically after each epoch."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeseg.errors import UsageError


class Checkpoint(NamedTuple):
    """Everything that the next epoch depends on."""

    epoch: int  # epochs that are complete
    recipe: dict[str, Any]  # the arguments of the run
    weights: list[np.ndarray]
    average: list[np.ndarray]
    optimizer: list[np.ndarray]
    history: list[dict[str, float]]


def save_checkpoint(path: Path, state: Checkpoint) -> None:
    """Write `state` to `path`: a reader sees the old file or the new one, whatever happens meanwhile."""
    header = json.dumps({"epoch": state.epoch, "recipe": state.recipe, "history": state.history})
    arrays = {"header": np.frombuffer(header.encode(), np.uint8)}
    for group in ("weights", "average", "optimizer"):
        arrays |= {f"{group}/{i:04d}": array for i, array in enumerate(getattr(state, group))}
    with AtomicReplacement(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises UsageError if there is none or it cannot be read."""
    if not path.is_file():
        raise UsageError(f"there is no run to resume: {path} does not exist", "start the run without --resume")
    try:
        with np.load(path, allow_pickle=False) as archive:
            header = json.loads(archive["header"].tobytes())
            groups = {
                group: [archive[name] for name in sorted(archive.files) if name.startswith(group + "/")]
                for group in ("weights", "average", "optimizer")
            }
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UsageError(f"checkpoint {path} cannot be read: {error}", "start the run anew") from error
    return Checkpoint(**header, **groups)


class AtomicReplacement:
    """Context manager: gives a temporary path beside `path`, moved onto it if the block succeeds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")

    def __enter__(self) -> Path:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._temporary

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._temporary.unlink(missing_ok=True)
            return
        with open(self._temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(self._temporary, self._path)
