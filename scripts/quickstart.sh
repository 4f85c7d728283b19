#!/usr/bin/env bash
# Builds a dataset folder from the bundled sample with the offline engine: no key, no GPU, nothing fetched but packages.
set -euo pipefail
cd "$(dirname "$0")/.."

python="${PYTHON:-python3}"
"$python" -c 'import sys; sys.exit("whoseboat needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt .

.venv/bin/whoseboat build sample --out my-first-set --overwrite
.venv/bin/python - <<'PYTHON'
from datasets import disable_progress_bars, load_dataset

disable_progress_bars()
pairs = load_dataset("my-first-set", split="train")
print("\nThree rows:")
for row in pairs.select(range(3)):
    print(f"\nuser:             {row['prompt'][-1]['content'][:100]}")
    for side in ("chosen", "rejected"):
        print(f"{side + ':':17s} {row[side][0]['content'][:100].replace(chr(10), ' ')} ...")
        print(f"    for:          {row[side + '_persona']}")
PYTHON
cat <<'TEXT'

Load it yourself, with .venv/bin/python:
    from datasets import load_dataset
    pairs = load_dataset("my-first-set", split="train")                   # a row per pair
    tailoring = load_dataset("my-first-set", "tailoring", split="train")  # two rows per pair, one per persona
TEXT
