# Sourced by the other scripts: `make_venv FOLDER PYTHON PACKAGES...` makes or reuses a virtual environment.
# A stamp of the arguments and of pyproject.toml says whether it is still right.

set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT"

find_python() {  # the newest of the given Pythons that is installed
    local version
    for version in "$@"; do
        local candidate
        for candidate in "python$version" "$HOME"/.pyenv/versions/"$version".*/bin/python; do
            if command -v "$candidate" >/dev/null 2>&1 &&
                "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
                command -v "$candidate"
                return 0
            fi
        done
    done
    return 1
}

make_venv() {
    local folder="$1" python="$2"
    shift 2
    local stamp
    stamp="$("$python" -V) $* $(cksum <pyproject.toml)"
    if [ -f "$folder/stamp" ] && [ "$(cat "$folder/stamp")" = "$stamp" ]; then
        return 0
    fi
    rm -rf "$folder"
    "$python" -m venv "$folder"
    if ! "$folder/bin/pip" install -q --disable-pip-version-check "$@"; then
        echo "scripts: cannot install $* (is there a network?)" >&2
        return 1
    fi
    echo "$stamp" >"$folder/stamp"
}
