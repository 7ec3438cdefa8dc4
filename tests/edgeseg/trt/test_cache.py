"""Where engines are kept: what is in the key, what is loaded again and what never is, disks that fail."""

import json
import os
import subprocess
import sys
import threading

import pytest

from edgeseg.errors import EnvironmentFault
from edgeseg.stream.atomic import write_atomic
from edgeseg.trt.cache import EngineCache, Facts, NotUsable, cache_folder, engine_key
from edgeseg.trt.check import GoldenCheck
from edgeseg.trt.memory import Gpu
from edgeseg.trt.recipe import Recipe

RECIPE = Recipe("/somewhere/street.edgeseg", "xavier", b"an ONNX file", "uint8", "int8", 0, {"pixels": 1.0}, False)
GPU = Gpu((7, 2), 8, True, 16 << 30, "NVIDIA Jetson AGX Xavier")
CHECK = GoldenCheck(1.0, 0.9, 0.01, 0.97, 0.25)
FACTS = Facts("2024-01-02T03:04:05Z", "1.2.3", 61.5, 1024, {"int8": 57, "fp16": 3}, CHECK)
PLAN = b"a plan" * 1000


def a_cache(folder, recipe=RECIPE, version="8.5.2.2", gpu=GPU):
    return EngineCache(str(folder), recipe.bundle, engine_key(recipe, version, gpu))


@pytest.fixture
def kept(tmp_path):
    """A cache with an engine in it."""
    cache = a_cache(tmp_path)
    cache.prepare(1000)
    cache.store(PLAN, FACTS, b"times")
    return cache


def test_what_was_stored_is_loaded(kept, tmp_path):
    again = a_cache(tmp_path).load()
    assert again.plan == PLAN and again.facts == FACTS
    assert a_cache(tmp_path).timing() == b"times"
    names = sorted(os.listdir(str(tmp_path)))
    assert len(names) == 4 and not any("tmp" in name for name in names), names
    assert os.path.basename(kept.path).startswith("street-") and kept.path.endswith(".engine")


CHANGES = [
    {"recipe": RECIPE._replace(onnx=b"another ONNX file")},
    {"recipe": RECIPE._replace(ranges={"pixels": 2.0})},
    {"recipe": RECIPE._replace(ranges={})},
    {"recipe": RECIPE._replace(precision="fp16")},
    {"recipe": RECIPE._replace(dla=1)},
    {"recipe": RECIPE._replace(dla=None)},
    {"recipe": RECIPE._replace(sparse=True)},
    {"version": "8.5.2.3"},
    {"gpu": GPU._replace(capability=(8, 7))},
    {"gpu": GPU._replace(multiprocessors=6)},
    {"gpu": GPU._replace(name="NVIDIA Jetson Xavier NX")},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_another_network_or_board_has_another_engine(kept, tmp_path, change):
    other = a_cache(tmp_path, **change)
    assert other.path != kept.path
    with pytest.raises(NotUsable, match=r"^$"):
        other.load()
    assert other.others() == [kept.path]
    # A file that was copied from another board under the name that this one looks for:
    for extension in (".engine", ".json"):
        os.rename(kept.path.replace(".engine", extension), other.path.replace(".engine", extension))
    with pytest.raises(NotUsable, match="another network or board"):
        other.load()


def test_the_place_of_the_bundle_does_not_matter(kept, tmp_path):
    assert a_cache(tmp_path, RECIPE._replace(bundle="/elsewhere/street.edgeseg")).load().plan == PLAN
    strange = a_cache(tmp_path, RECIPE._replace(bundle="/x/a b/\u00e4*[1]?.edgeseg"))
    strange.store(PLAN, FACTS, b"")
    assert os.path.dirname(strange.path) == str(tmp_path) and strange.load().plan == PLAN and strange.others() == []


def edit(path, change):
    with open(path) as file:
        content = json.load(file)
    change(content)
    with open(path, "w") as file:
        json.dump(content, file)


def rewrite(path, data):
    with open(path, "wb") as file:
        file.write(data)


def replace_by_folder(path):
    os.unlink(path)
    os.mkdir(path)


def truncate(path):
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)


def flip(path):
    with open(path, "r+b") as file:
        file.seek(100)
        byte = file.read(1)[0]
        file.seek(100)
        file.write(bytes([byte ^ 1]))


DAMAGES = [
    ("truncated engine", lambda plan, facts: truncate(plan)),
    ("one bit of the engine", lambda plan, facts: flip(plan)),
    ("empty engine", lambda plan, facts: rewrite(plan, b"")),
    ("truncated facts", lambda plan, facts: truncate(facts)),
    ("empty facts", lambda plan, facts: rewrite(facts, b"")),
    ("facts without a hash", lambda plan, facts: edit(facts, lambda content: content.pop("sha256"))),
    ("facts without the check", lambda plan, facts: edit(facts, lambda content: content["facts"].pop("check"))),
    ("facts of another kind", lambda plan, facts: edit(facts, lambda content: content["facts"].update(color="red"))),
    ("a list for facts", lambda plan, facts: rewrite(facts, b"[1, 2]")),
    ("a folder for an engine", lambda plan, facts: replace_by_folder(plan)),
]


@pytest.mark.parametrize("damage", [row[1] for row in DAMAGES], ids=[row[0] for row in DAMAGES])
def test_a_damaged_engine_is_never_loaded(kept, damage):
    damage(kept.path, kept.path.replace(".engine", ".json"))
    with pytest.raises(NotUsable, match="is damaged"):
        kept.load()


def test_half_a_pair_is_no_engine(kept, tmp_path):
    os.unlink(kept.path)
    with pytest.raises(NotUsable, match=r"^$"):
        kept.load()
    kept.store(PLAN, FACTS, b"")
    os.unlink(kept.path.replace(".engine", ".json"))
    with pytest.raises(NotUsable, match=r"^$"):
        kept.load()


def test_folder_of_the_user(monkeypatch, tmp_path):
    for name in ("EDGESEG_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == str(tmp_path / ".cache" / "edgeseg" / "engines")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == str(tmp_path / "xdg" / "edgeseg" / "engines")
    monkeypatch.setenv("EDGESEG_CACHE", "~/mine")
    assert cache_folder() == str(tmp_path / "mine")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    cache = a_cache(tmp_path / "file" / "engines")  # refused to root too
    with pytest.raises(EnvironmentFault, match=r"cannot be kept in .*engines: ") as caught:
        cache.prepare(1000)
    assert "EDGESEG_CACHE=" in caught.value.fix
    with pytest.raises(NotUsable):
        cache.load()
    assert cache.timing() == b""


def test_a_disk_without_room(tmp_path):
    with pytest.raises(EnvironmentFault, match="disk full"):
        a_cache(tmp_path).prepare(1 << 60)


FULL_DISK = """
import resource, sys
sys.path[:0] = {path!r}
from edgeseg.errors import EnvironmentFault
from test_cache import FACTS, PLAN, a_cache
cache = a_cache({folder!r})
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    cache.store(b"new" + PLAN, FACTS, b"")
except EnvironmentFault as fault:
    print(fault.exit_code, fault)
"""


@pytest.mark.parametrize("limit", [3000, 0])
def test_a_disk_that_fills_up_leaves_what_was_there(kept, tmp_path, limit):
    before = sorted(os.listdir(str(tmp_path)))
    path = [os.path.dirname(os.path.abspath(__file__))] + sys.path
    script = FULL_DISK.format(path=path, folder=str(tmp_path), limit=limit)
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.stdout.startswith(b"3 disk full"), (done.stdout, done.stderr)
    assert sorted(os.listdir(str(tmp_path))) == before and kept.load().plan == PLAN


def test_a_disk_that_fills_up_between_the_two_files(kept, monkeypatch):
    def fails(path, data):
        if path.endswith(".json"):
            raise EnvironmentFault("disk full")
        write_atomic(path, data)

    monkeypatch.setattr("edgeseg.trt.cache.write_atomic", fails)
    with pytest.raises(EnvironmentFault):
        kept.store(b"new" + PLAN, FACTS, b"")
    assert not os.path.exists(kept.path)  # neither the old engine nor one without a hash
    with pytest.raises(NotUsable):
        kept.load()


def test_one_builds_at_a_time(tmp_path):
    cache = a_cache(tmp_path)
    said: list = []
    order: list = []
    entered, leave = threading.Event(), threading.Event()

    def first():
        with a_cache(tmp_path).locked(said.append):
            entered.set()
            assert leave.wait(10)
            order.append("first")

    def say(text):
        said.append(text)
        leave.set()

    thread = threading.Thread(target=first)
    thread.start()
    assert entered.wait(10)
    with cache.locked(say):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]
    assert len(said) == 1 and "waiting" in said[0]


def test_what_a_killed_process_left_is_removed(tmp_path):
    left = tmp_path / "street-0123456789abcdef.4711.tmp.engine"
    others = [tmp_path / name for name in ("report.tmp.pdf", "street.4711.tmp.mp4", "notes.tmp.engine")]
    for path in [left] + others:
        path.write_bytes(PLAN)
    with a_cache(tmp_path).locked(print):
        assert not left.exists() and all(path.exists() for path in others)  # the folder may hold files of the user


def test_the_lock_is_free_after_a_failure(tmp_path):
    cache = a_cache(tmp_path)
    said: list = []
    for _ in range(2):
        with pytest.raises(RuntimeError):
            with cache.locked(said.append):
                raise RuntimeError("the build failed")
    assert said == []
