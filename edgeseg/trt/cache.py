"""Where engines are kept between runs.

`NAME-KEY.engine` is the plan as TensorRT made it; `NAME-KEY.json` beside it says what it was made from and for, and
its hash. The plan is complete on the disk before the JSON file is written: a plan without one, or with another hash,
is not loaded.
"""

import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

from edgeseg.errors import EnvironmentFault
from edgeseg.stream.atomic import remove, write_atomic
from edgeseg.trt.build import REVISION
from edgeseg.trt.check import GoldenCheck
from edgeseg.trt.memory import Gpu
from edgeseg.trt.recipe import Recipe

VARIABLE = "EDGESEG_CACHE"
_ELSEWHERE = "choose a folder that can be written: {}=FOLDER".format(VARIABLE)
_SPARE_BYTES = 32 << 20  # of a disk: the timing cache, and what else writes to it meanwhile

# Temporary names of edgeseg.stream.atomic for what is kept here; the folder may hold files of others.
_LEFT_BEHIND = re.compile(r".+-[0-9a-f]{16}\.\d+\.tmp\.(engine|json)$|.+\.\d+\.tmp\.timing$")

Say = Callable[[str], None]


class NotUsable(Exception):
    """The engine must be built. The text says what is wrong with the one that is kept; it is "" where there is none."""


class Facts(NamedTuple):
    """What is known of an engine from its build."""

    built: str  # date and time, UTC
    edgeseg: str  # version
    build_seconds: float
    workspace_mib: int
    layers: Optional[Dict[str, int]]  # by precision; None where TensorRT did not tell
    check: GoldenCheck


class Kept(NamedTuple):
    """An engine of the cache."""

    plan: bytes
    facts: Facts


def cache_folder() -> str:
    """$EDGESEG_CACHE, else edgeseg/engines in the user's cache folder."""
    if os.environ.get(VARIABLE):
        return os.path.abspath(os.path.expanduser(os.environ[VARIABLE]))
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return os.path.abspath(os.path.expanduser(os.path.join(base, "edgeseg", "engines")))


@contextmanager
def explained(folder: str) -> Iterator[None]:
    """Turn an OSError of the block into an EnvironmentFault: engines cannot be kept in `folder`."""
    try:
        yield
    except OSError as error:
        raise EnvironmentFault("engines cannot be kept in {}: {}".format(folder, error.strerror), _ELSEWHERE)


def engine_key(recipe: Recipe, version: str, gpu: Gpu) -> Dict[str, Any]:
    """Everything that an engine depends on; `version` is TensorRT's."""
    ranges = json.dumps(recipe.ranges, sort_keys=True).encode("utf-8")
    return {
        "onnx": hashlib.sha256(recipe.onnx).hexdigest(),
        "activation_ranges": hashlib.sha256(ranges).hexdigest() if recipe.ranges else None,
        "precision": recipe.precision,
        "dla": recipe.dla,
        "sparse": recipe.sparse,
        "tensorrt": version,
        "gpu": gpu.name,
        "capability": "{}.{}".format(*gpu.capability),
        "multiprocessors": gpu.multiprocessors,
        "builder": REVISION,
    }


class EngineCache:
    """The place of one engine in the folder, by its key."""

    def __init__(self, folder: str, bundle: str, key: Dict[str, Any]) -> None:
        self.folder = folder
        self.key = key
        stem = os.path.splitext(os.path.basename(bundle))[0]
        self._name = re.sub(r"[^A-Za-z0-9._-]", "_", stem)[:60]
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode("utf-8")).hexdigest()[:16]
        self.path = os.path.join(folder, "{}-{}.engine".format(self._name, digest))
        self._facts_path = self.path[: -len(".engine")] + ".json"
        machine = "{tensorrt}-{gpu}-{capability}-{multiprocessors}".format(**key)
        self._timing_path = os.path.join(folder, re.sub(r"[^A-Za-z0-9._-]", "_", machine) + ".timing")

    def load(self) -> Kept:
        """The engine that is kept. Raises NotUsable if there is none for this key, or not as it was written."""
        try:
            with open(self._facts_path, "rb") as file:
                raw = json.loads(file.read().decode("utf-8"))
            with open(self.path, "rb") as file:
                plan = file.read()
            facts = Facts(**dict(raw["facts"], check=GoldenCheck(**raw["facts"]["check"])))
            found = (raw["key"], raw["bytes"], raw["sha256"])
        except FileNotFoundError:
            raise NotUsable("")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise NotUsable("{} or its .json file is damaged ({})".format(self.path, error))
        if found[0] != self.key:
            raise NotUsable("{} is for another network or board".format(self.path))
        if found[1:] != (len(plan), hashlib.sha256(plan).hexdigest()):
            raise NotUsable("{} is damaged".format(self.path))
        return Kept(plan, facts)

    def prepare(self, need: int) -> None:
        """Make the folder; raise EnvironmentFault if it cannot be written or has less than `need` bytes to spare."""
        with explained(self.folder):
            os.makedirs(self.folder, exist_ok=True)
            os.close(os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o644))
            free = shutil.disk_usage(self.folder).free
        if free < need + _SPARE_BYTES:
            raise EnvironmentFault(
                "disk full: folder {} has {} MB to spare, an engine may need {} MB".format(
                    self.folder, free // 10**6, (need + _SPARE_BYTES) // 10**6
                ),
                "free some space, or {}".format(_ELSEWHERE),
            )

    @contextmanager
    def locked(self, say: Say) -> Iterator[None]:
        """Hold the folder: one build at a time on a board, or two would spoil each other's measurements."""
        with explained(self.folder):
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            with explained(self.folder):
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    say("waiting for another process that builds an engine")
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
            for name in os.listdir(self.folder):
                if _LEFT_BEHIND.match(name):  # by a process that was killed
                    remove(os.path.join(self.folder, name))
            yield
        finally:
            os.close(descriptor)

    def store(self, plan: bytes, facts: Facts, timing: bytes) -> None:
        """Keep an engine and what it measured. Raises EnvironmentFault; then the engine is not kept."""
        content = {
            "engine": os.path.basename(self.path),
            "key": self.key,
            "bytes": len(plan),
            "sha256": hashlib.sha256(plan).hexdigest(),
            "facts": dict(facts._asdict(), check=facts.check._asdict()),
        }
        try:
            write_atomic(self._timing_path, timing)
            write_atomic(self.path, plan)
            try:
                self._sync(self.path)
                write_atomic(self._facts_path, json.dumps(content, indent=1, sort_keys=True).encode("utf-8"))
                self._sync(self._facts_path)
                self._sync(self.folder)
            except EnvironmentFault:
                remove(self.path)
                raise
        except EnvironmentFault as fault:
            raise EnvironmentFault(fault.message, "free some space, or {}".format(_ELSEWHERE))

    def timing(self) -> bytes:
        """Kernel times that earlier builds measured with this TensorRT on this GPU; b"" for none."""
        try:
            with open(self._timing_path, "rb") as file:
                return file.read()
        except OSError:
            return b""

    def others(self) -> List[str]:
        """Engines of a bundle of the same name with another key: of an older export or TensorRT."""
        pattern = glob.escape(os.path.join(self.folder, self._name)) + "-" + "[0-9a-f]" * 16 + ".engine"
        return sorted(set(glob.glob(pattern)) - {self.path})

    @property
    def _lock_path(self) -> str:
        return os.path.join(self.folder, ".lock")

    def _sync(self, path: str) -> None:
        """Have the disk hold it: robots are switched off without warning."""
        with explained(self.folder):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
