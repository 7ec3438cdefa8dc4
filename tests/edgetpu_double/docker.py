"""A double of the docker program with one image, which holds the double of edgetpu_compiler.

`install(folder)` puts it into a folder for the PATH. The image has the name in $DOCKER_DOUBLE_IMAGE. As with the real
one, what runs in a container is no child of the program: it lives on until `docker kill`. Each call adds its arguments
as a line to $DOCKER_DOUBLE_CALLS. $DOCKER_DOUBLE is "" or one of FAULTS.
"""

import os
import signal
import subprocess
import sys
from typing import Dict, List, Tuple

# Docker 28: what it prints, and its exit code
FAULTS: Dict[str, Tuple[str, int]] = {
    "no-daemon": (
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
        1,
    ),
    "not-permitted": (
        "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
        1,
    ),
}
NO_PROGRAM = (
    "docker: Error response from daemon: failed to create task for container: failed to create shim task: OCI runtime "
    'create failed: runc create failed: unable to start container process: exec: "edgetpu_compiler": executable file '
    "not found in $PATH: unknown"
)


def install(folder: str) -> None:
    path = os.path.join(str(folder), "docker")
    with open(path, "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\nexec '{}' '{}' \"$@\"\n".format(sys.executable, os.path.abspath(__file__)))
    os.chmod(path, 0o755)


def main(arguments: List[str]) -> int:
    with open(os.environ["DOCKER_DOUBLE_CALLS"], "a", encoding="utf-8") as file:
        file.write(" ".join(arguments) + "\n")
    fault = os.environ.get("DOCKER_DOUBLE", "")
    if fault in FAULTS:
        print(FAULTS[fault][0], file=sys.stderr)
        return FAULTS[fault][1]
    if arguments[0] == "kill":
        with open(_pid_file(arguments[1]), encoding="ascii") as file:
            os.killpg(int(file.read()), signal.SIGKILL)
        return 0
    image = os.environ["DOCKER_DOUBLE_IMAGE"]
    if image not in arguments:
        print("Error response from daemon: No such image: " + arguments[-1], file=sys.stderr)
        return 1
    return _run(arguments, arguments.index(image)) if arguments[0] == "run" else 0


def _run(arguments: List[str], image: int) -> int:
    def option(name: str) -> str:
        return arguments[arguments.index(name) + 1]

    if os.environ.get("DOCKER_DOUBLE") == "no-program":
        print(NO_PROGRAM, file=sys.stderr)
        return 127
    folder, _, inside = option("-v").rpartition(":")
    assert inside == option("-w")
    program = [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), option("--entrypoint") + ".py")]
    container = subprocess.Popen(program + arguments[image + 1 :], cwd=folder, start_new_session=True)
    with open(_pid_file(option("--name")), "w", encoding="ascii") as file:
        file.write(str(container.pid))
    return container.wait()


def _pid_file(name: str) -> str:
    return os.environ["DOCKER_DOUBLE_CALLS"] + "." + name


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
