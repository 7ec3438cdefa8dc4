"""One inference with a bundle that nobody has run before."""

import json
import subprocess
from typing import Any, Dict, NamedTuple, Optional

from edgeseg.errors import CheckFailed, EnvironmentFault
from edgeseg.python_child import python_command, signal_name

_SECONDS = 300
_CAMERA = "pattern:640x480?frames=1"  # a generated street scene
_SKIP = "leave the trial out with --no-trial, if the model is for another runtime"


class Trial(NamedTuple):
    """What came of it. `skipped` says why there was none; the other fields are then empty."""

    milliseconds: float = 0.0  # of the inference
    shares: Optional[Dict[str, float]] = None  # of the frame, by class
    skipped: str = ""


def try_bundle(path: str) -> Trial:
    """Run the bundle at `path` on the CPU for one frame, in a process of its own: a runtime may crash on a bad model.

    Raises CheckFailed if it crashes, hangs or cannot load the model.
    """
    run = ["run", path, "--device", "cpu", "--camera", _CAMERA, "--json", "-"]
    try:
        done = subprocess.run(
            python_command("edgeseg.cli") + run,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CheckFailed("the model gives no result within {} s".format(_SECONDS), _SKIP)
    if done.returncode < 0:
        raise CheckFailed("the runtime crashes on this model: {}".format(signal_name(-done.returncode)), _SKIP)
    said = done.stderr.partition("edgeseg: error: ")[2].partition("\n  fix: ")[0].strip()
    if done.returncode == EnvironmentFault.exit_code:
        return Trial(skipped=said.splitlines()[0] if said else "nothing here runs it")
    if done.returncode != 0:
        raise CheckFailed("the model does not run: {}".format(said or done.stderr.strip()[-500:]), _SKIP)
    result: Dict[str, Any] = json.loads(done.stdout.splitlines()[0])
    return Trial(result["latency_ms"]["infer"], result["shares"])
