"""From a bundle to an engine that runs: the one that is kept, or a new one, checked before it is kept."""

import time
from typing import Any, Dict, NamedTuple, Optional, Tuple

from edgeseg.bundle import Bundle
from edgeseg.errors import EnvironmentFault
from edgeseg.trt.budget import workspace_bytes
from edgeseg.trt.build import Built, build
from edgeseg.trt.cache import EngineCache, Facts, Kept, NotUsable, Say, cache_folder, engine_key
from edgeseg.trt.check import check_engine, check_tensors
from edgeseg.trt.engine import Engine, RefusedPlan
from edgeseg.trt.layers import count_layers, require_precision
from edgeseg.trt.library import load_tensorrt, open_log
from edgeseg.trt.memory import Memory, open_memory
from edgeseg.trt.progress import Progress, watched, write_error
from edgeseg.trt.recipe import Recipe, read_recipe
from edgeseg.version import __version__

# Engines of this process that could not be kept, by their place: a second Segmenter must not build for minutes again.
_unkept: Dict[str, Kept] = {}


class Session(NamedTuple):
    """TensorRT, its log and the GPU. Close it after the engines that run in it."""

    trt: Any
    log: Any
    memory: Memory

    def close(self) -> None:
        self.memory.close()


def open_session() -> Session:
    """Raises EnvironmentFault with the reason if there is no TensorRT or no GPU."""
    trt = load_tensorrt()
    return Session(trt, open_log(trt), open_memory())


def tell(text: str) -> None:
    """A line on standard error: a build takes minutes, and also who only calls the library should know."""
    write_error("edgeseg: {}\n".format(text))


class Request(NamedTuple):
    """How to get an engine."""

    say: Say = tell
    force: bool = False  # build even if there is one
    workspace: Optional[int] = None  # bytes; None for what suits the board
    must_keep: bool = False  # an engine that cannot be kept is a fault, not only a warning


class Provided(NamedTuple):
    """An engine that is ready to run, and where it came from."""

    engine: Engine
    cache: EngineCache
    facts: Facts
    built: bool  # now; False: it was kept from an earlier run


def provide_engine(session: Session, bundle: Bundle, request: Request) -> Provided:
    """The engine of `bundle`, loaded from the cache or built, which takes minutes.

    Raises UsageError or BundleError if the bundle does not fit this board, EnvironmentFault if memory or disk do not
    suffice, CheckFailed if the new engine does not give the masks of the bundle.
    """
    recipe = read_recipe(bundle)
    key = engine_key(recipe, session.trt.__version__, session.memory.gpu)
    cache = EngineCache(cache_folder(), bundle.path, key)
    found, reason = _load(session, bundle, recipe, cache, request)
    if found:
        return found
    try:
        cache.prepare(2 * len(recipe.onnx))
    except EnvironmentFault as fault:
        if request.must_keep:
            raise
        request.say("warning: {}\n  fix: {}".format(fault.message, fault.fix))
        provided, made = _build(session, bundle, recipe, cache, request)
        _unkept[cache.path] = Kept(made.plan, provided.facts)
        return provided
    with cache.locked(request.say):
        found, reason = _load(session, bundle, recipe, cache, request)  # another process may have built it meanwhile
        if found:
            return found
        if reason:
            request.say(reason)
        provided, made = _build(session, bundle, recipe, cache, request)
        try:
            _store(provided, made, request)
        except BaseException:
            provided.engine.close()
            raise
        return provided


def _load(
    session: Session, bundle: Bundle, recipe: Recipe, cache: EngineCache, request: Request
) -> Tuple[Optional[Provided], str]:
    """The engine that is kept; or None and why it is not used ("" where there is none)."""
    if request.force:
        return None, ""
    try:
        kept = _unkept.get(cache.path) or cache.load()
        engine = _open(session, bundle, recipe, kept.plan)
    except NotUsable as why:
        return None, str(why)
    except RefusedPlan as fault:
        lines = fault.message.splitlines()[:2]  # what, and the first that TensorRT says of it
        return None, "{}: {}".format(cache.path, ". ".join(line.strip() for line in lines))
    return Provided(engine, cache, kept.facts, built=False), ""


def _open(session: Session, bundle: Bundle, recipe: Recipe, plan: bytes) -> Engine:
    engine = Engine(session.trt, session.log, session.memory, plan, recipe.dla)
    try:
        check_tensors(engine, bundle)
    except BaseException:
        engine.close()
        raise
    return engine


def _build(
    session: Session, bundle: Bundle, recipe: Recipe, cache: EngineCache, request: Request
) -> Tuple[Provided, Built]:
    workspace = workspace_bytes(session.memory, request.workspace)
    request.say("building the engine of {}: this takes minutes, once".format(bundle.path))
    start = time.monotonic()
    # The timing cache fixes the choice of kernels: who asks for another build wants that made anew.
    made = _build_watched(session, recipe, workspace, b"" if request.force else cache.timing())
    seconds = time.monotonic() - start
    engine = _open(session, bundle, recipe, made.plan)
    try:
        layers = count_layers(engine.layers_json())
        require_precision(layers, recipe)
        facts = Facts(
            built=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            edgeseg=__version__,
            build_seconds=round(seconds, 1),
            workspace_mib=workspace >> 20,
            layers=layers,
            check=check_engine(engine, bundle, recipe),
        )
    except BaseException:
        engine.close()
        raise
    return Provided(engine, cache, facts, built=True), made


def _build_watched(session: Session, recipe: Recipe, workspace: int, timing: bytes) -> Built:
    progress = Progress()

    def work() -> Built:
        with session.memory.active():
            return build(session.trt, session.log, recipe, workspace, timing, progress)

    return watched(work, "building the engine", progress)


def _store(provided: Provided, made: Built, request: Request) -> None:
    try:
        provided.cache.store(made.plan, provided.facts, made.timing)
    except EnvironmentFault as fault:
        message = "the engine was built, but could not be kept: {}".format(fault.message)
        if request.must_keep:
            raise EnvironmentFault(message, fault.fix)
        request.say("warning: {}\n  fix: {}".format(message, fault.fix))
        _unkept[provided.cache.path] = Kept(made.plan, provided.facts)
