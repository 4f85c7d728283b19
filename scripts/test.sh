#!/usr/bin/env bash
# Sets up its own virtual environment with all extras, then lints, checks types and runs the tests.
set -euo pipefail
cd "$(dirname "$0")/.."

python="${PYTHON:-python3}"
[ -x .venv-test/bin/python ] || "$python" -m venv .venv-test
pip="pip install --quiet --disable-pip-version-check --constraint constraints.txt"
.venv-test/bin/python -m $pip torch  # first by itself, so that the version pinned for tests is the one taken
.venv-test/bin/python -m $pip --editable '.[train,metric,scale,dev]'
export PATH="$PWD/.venv-test/bin:$PATH"

ruff check .
ruff format --check .
mypy
pytest "$@"
