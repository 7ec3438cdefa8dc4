"""`edgeseg compile` for Coral: the bundle gets what the Edge TPU compiler makes of its .tflite file."""

import json
import os
import sys

from edgeseg.bundle import Bundle, write_bundle
from edgeseg.coral.compiled_bundle import compilation_lines, with_compilation
from edgeseg.coral.compiler import compile_tflite
from edgeseg.coral.compiler_tool import require_compiler
from edgeseg.errors import BundleError
from edgeseg.stream.atomic import check_folder_of


def compile_coral(bundle: Bundle, force: bool, allow_partial: bool, as_json: bool) -> int:
    """Compile the bundle's .tflite file and write the bundle anew, unless that was done already; returns 0.

    Raises BundleError if there is no such file in it, EnvironmentFault without a compiler or a writable folder,
    CompilationFailed if there is no result, or not one that is wanted.
    """
    wanted = force or "edgetpu" not in bundle.payloads
    if wanted:
        bundle = _compiled(bundle, allow_partial)
    report = bundle.manifest.compilation
    if as_json:
        print(json.dumps(dict(report or {}, bundle=bundle.path, compiled_now=wanted), indent=1, sort_keys=True))
        return 0
    print("{}: compiled for the Edge TPU{}".format(bundle.path, "" if wanted else " already; --force compiles anew"))
    if report:  # none where the file came with it
        print("\n".join(compilation_lines(report)))
    return 0


def _compiled(bundle: Bundle, allow_partial: bool) -> Bundle:
    data = bundle.payloads.get("tflite")
    if data is None:
        raise BundleError(
            "{} holds no tflite payload, which the compiler needs".format(bundle.path), "export the network again"
        )
    path = os.path.realpath(bundle.path)  # the file itself, where the path is a link
    check_folder_of(path)
    compiler = require_compiler()
    _say("compiling with Edge TPU compiler {} ({})".format(compiler.version, compiler.found))
    bundle = with_compilation(bundle, compile_tflite(data, compiler, _say, allow_partial))
    write_bundle(path, bundle.manifest, bundle.payloads)
    return bundle


def _say(text: str) -> None:
    print("edgeseg: " + text, file=sys.stderr, flush=True)
