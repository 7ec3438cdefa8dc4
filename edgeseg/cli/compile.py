"""`edgeseg compile`: what is left to do after the export: the TensorRT engine, or the program for the Edge TPU."""

import argparse
import json
import os
from typing import Any, Dict, List

from edgeseg.bundle import Bundle, read_bundle
from edgeseg.cli.options import positive
from edgeseg.errors import UsageError
from edgeseg.trt.layers import layers_text
from edgeseg.trt.provide import Provided, Request, open_session, provide_engine
from edgeseg.trt.recipe import read_recipe

SUMMARY = "build the TensorRT engine of a bundle on this board, or compile a bundle for the Edge TPU"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", help="a bundle for a Jetson (on it) or for Coral (on any machine with the compiler)")
    parser.add_argument("--force", action="store_true", help="compile even if that was done already")
    parser.add_argument(
        "--workspace",
        type=positive,
        metavar="MIB",
        help="Jetson: memory in which TensorRT may try kernels, with a new build (default: 256 up to 4 GiB boards, "
        "else 1024)",
    )
    parser.add_argument(
        "--allow-partial", action="store_true", help="Coral: take a result that leaves operators to the CPU"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Compile and keep the result; returns 0. Raises what `provide_engine` and `compile_tflite` raise."""
    bundle = read_bundle(args.bundle)
    if bundle.manifest.target.backend == "edgetpu":
        from edgeseg.cli.compile_coral import compile_coral

        _refuse(args.workspace is not None, "--workspace", "a Jetson", bundle)
        return compile_coral(bundle, args.force, args.allow_partial, args.json)
    read_recipe(bundle)
    _refuse(args.allow_partial, "--allow-partial", "Coral", bundle)
    session = open_session()
    try:
        workspace = args.workspace << 20 if args.workspace else None
        request = Request(force=args.force or bool(workspace), workspace=workspace, must_keep=True)
        provided = provide_engine(session, bundle, request)
        provided.engine.close()
    finally:
        session.close()
    print(json.dumps(_report(provided), indent=1, sort_keys=True) if args.json else "\n".join(_lines(provided)))
    return 0


def _refuse(given: bool, option: str, kind: str, bundle: Bundle) -> None:
    if given:
        raise UsageError(
            "{} is for bundles of {}; {} is for target {}".format(
                option, kind, bundle.path, bundle.manifest.target.name
            ),
            "leave it out",
        )


def _report(provided: Provided) -> Dict[str, Any]:
    cache, facts = provided.cache, provided.facts
    return dict(
        facts._asdict(),
        check=facts.check._asdict(),
        engine=cache.path,
        bytes=os.path.getsize(cache.path),
        key=cache.key,
        built_now=provided.built,
        other_engines=cache.others(),
    )


def _lines(provided: Provided) -> List[str]:
    cache, facts, key = provided.cache, provided.facts, provided.cache.key
    how = "built in {:.0f} s" if provided.built else "built earlier, in {:.0f} s"
    lines = [
        "engine: " + cache.path,
        "size: {:.2f} MB, {}".format(os.path.getsize(cache.path) / 1e6, how.format(facts.build_seconds)),
        "for: TensorRT {tensorrt}, {gpu} (compute capability {capability}, {multiprocessors} multiprocessors), "
        "{precision}{dla_core}".format(dla_core="" if key["dla"] is None else ", DLA {dla}".format(**key), **key),
        "layers: " + layers_text(facts.layers),
        "golden frame: " + facts.check.text,
    ]
    if cache.others():
        lines.append("other engines of this name, of another export or TensorRT: rm " + " ".join(cache.others()))
    return lines
