# Sourced by scripts that are a module of the PC side: `. pc.sh MODULE ARGUMENTS...`, in the folder that they are called in.

folder="$PWD"
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh"

if [ -z "${EDGESEG_VENV:-}" ]; then
    EDGESEG_VENV=.venv-demo
    python="$(find_python 3.12 3.11 3.13 3.10)" || { echo "$0 needs Python 3.10 or later" >&2; exit 3; }
    echo "== installing edgeseg with $("$python" -V) (once)" >&2
    make_venv "$EDGESEG_VENV" "$python" -e '.[export]'
fi
python="$(realpath -s "$EDGESEG_VENV")/bin/python"
cd "$folder"
exec "$python" -c '
import runpy, sys
from edgeseg.export.quiet import import_tensorflow
import_tensorflow()  # before the module does, and greets
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)' "$@"
