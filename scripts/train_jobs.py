"""Trains one model on Hugging Face Jobs, on all GPUs of a machine, and publishes it.

    python scripts/train_jobs.py fixed tuning=full gradient_checkpointing=true --data ORG/NAME --to ORG/MODEL

`--dry-run` shows what would be asked for. Needs a login (`hf auth login`, or HF_TOKEN) that may write to ORG, and costs
money. The set is one on the Hub: the job sees no disk of this machine. Weights are shared out among the GPUs as
`scripts/fsdp.yaml` says.

The model goes to the Hub at the end, as `whoseboat publish` does it. Checkpoints are on the disk of the job: a job that
runs out of --timeout begins anew, so give it room. Secrets are told by their names alone: their values are taken from
the login or the environment here, and are neither printed nor put on a command line.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from pathlib import Path
from typing import Any

from huggingface_hub import get_token, run_uv_job

from whoseboat import __version__

FSDP = Path(__file__).with_name("fsdp.yaml")
# What the job runs; what it is told stands in its environment, recipe and changes after it.
COMMANDS = """set -eu
printf %s "$FSDP" > fsdp.yaml
accelerate launch --config_file fsdp.yaml --num_processes "$GPUS" -m whoseboat train "$@"
whoseboat publish model --to "$TO" $HOW --yes"""


def arguments(given: argparse.Namespace) -> dict[str, Any]:
    """Return what `run_uv_job` is called with, but for the values of secrets: None stands for each."""
    gpus = re.search(r"x(\d+)$", given.flavor)
    train = [given.recipe, *given.changes, "--data", given.data, "--out", "model"]
    return {
        "script": "bash",
        "script_args": ["-c", COMMANDS, "train", *train],
        "dependencies": [given.package],
        "python": "3.12",
        "flavor": given.flavor,
        "timeout": given.timeout,
        "env": {
            "FSDP": FSDP.read_text(encoding="utf-8"),
            "GPUS": gpus[1] if gpus else "1",
            "TO": given.to,
            "HOW": "--private" if given.private else "",
        },
        "secrets": dict.fromkeys(["HF_TOKEN", *given.secret]),
        "namespace": given.to.partition("/")[0],
        "name": given.to.partition("/")[2].lower()[:60],
    }


def secret(name: str) -> str:
    """Return the value of a secret: of HF_TOKEN that of the login, else that of the environment."""
    value = get_token() if name == "HF_TOKEN" else os.environ.get(name)
    if not value:
        raise SystemExit(f"no {name}: log in with `hf auth login`, or set it in the environment")
    return value


def main() -> None:
    """Start the job, and say where it is to be seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="the name of a recipe of ours")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="in place of what the recipe says")
    parser.add_argument("--data", required=True, metavar="ORG/NAME[@REVISION]", help="the set to train on")
    parser.add_argument("--to", required=True, metavar="ORG/NAME", help="the repo of the model; ORG pays for the job")
    parser.add_argument("--private", action="store_true", help="only the repo's owners see it")
    parser.add_argument("--flavor", default="a100x8", help="the machine (`hf jobs hardware` lists them)")
    parser.add_argument("--timeout", default="12h", help="after this long the job is ended")
    parser.add_argument("--secret", action="append", default=[], metavar="NAME", help="a further one, by its name")
    parser.add_argument("--package", default=f"whoseboat[train]=={__version__}", help="what is installed there")
    parser.add_argument("--dry-run", action="store_true", help="print what would be asked for; start nothing")
    given = parser.parse_intermixed_args()
    asked = arguments(given)
    if given.dry_run:
        print(json.dumps({**asked, "secrets": sorted(asked["secrets"])}, indent=1))
        return
    job = run_uv_job(**{**asked, "secrets": {name: secret(name) for name in asked["secrets"]}})
    print(f"{job.url}\nhf jobs logs {job.id}")


if __name__ == "__main__":
    main()
