#!/usr/bin/env bash
# Installs the peers of a group, "torch" or "jax", in a fresh virtual environment:
#     tests/interop/install.sh GROUP TARGET_DIR
# PYTHON names the interpreter, python3.11 by default.
set -euo pipefail

group=$1 target=$2
requirements=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/requirements

"${PYTHON:-python3.11}" -m venv "$target"
pip() { "$target/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }

# Torch comes first and alone: what is installed with it can ask for a CUDA build.
if torch=$(grep -o '^torch==[^ ]*' "$requirements/$group.txt"); then
    pip install --no-compile "$torch"
fi
pip install --no-compile --requirement "$requirements/$group.txt"
if [ -e "$requirements/$group-nodeps.txt" ]; then
    pip install --no-compile --no-deps --requirement "$requirements/$group-nodeps.txt"
fi
