"""The examples of training on many GPUs: what they ask of Slurm, of accelerate and of Hugging Face Jobs is there."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from whoseboat.tailoring import recipe as recipes

pytest.importorskip("accelerate", reason="accelerate is in the extra `train`")

ROOT = Path(__file__).parents[1]
SLURM, JOBS, FSDP = (ROOT / "scripts" / name for name in ("train_slurm.sbatch", "train_jobs.py", "fsdp.yaml"))
RECIPE = ["fixed", "tuning=full", "save_every=200"]
# Stands for a command of Slurm, or for accelerate.
SRUN = 'shift; for node in $(seq 0 $((SLURM_NNODES - 1))); do SLURM_NODEID=$node "$@"; done'
SCONTROL = r"printf 'node-a\nnode-b\n'"
SAYS = 'import json, os, sys; print(json.dumps([sys.argv[1:], os.environ["HF_HOME"], os.getcwd()]))'


def script(path: Path, text: str) -> None:
    """Write a command."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def launched(arguments: list[str]) -> Any:  # noqa: ANN401 - accelerate has no types
    """Return what accelerate makes of the arguments of `accelerate launch`: its own parser, and its own checks."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    return _validate_launch_command(launch_command_parser().parse_args(arguments))[0]


def recipe_of(arguments: list[str]) -> recipes.Recipe:
    """Return the recipe that a command line of `whoseboat train` names."""
    changes = [one for one in arguments[2:] if re.match(r"\w+=", one)]
    assert arguments[0] == "train"
    return recipes.load(arguments[1], changes)


# ---- the setting of FSDP


def test_the_setting_of_fsdp_is_one_that_accelerate_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own loader knows every key, its launcher tells the processes, and its plugin takes every value."""
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.launch import prepare_multi_gpu_env

    assert load_config_from_file(str(FSDP)).distributed_type.value == "FSDP"
    asked = launched(["--config_file", str(FSDP), "-m", "whoseboat", "train"])
    told = {name: value for name, value in prepare_multi_gpu_env(asked).items() if "FSDP" in name}
    assert told["ACCELERATE_USE_FSDP"] == "true"
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    plugin = FullyShardedDataParallelPlugin()
    assert (plugin.fsdp_version, plugin.reshard_after_forward) == (2, True)
    assert not plugin.activation_checkpointing  # adapters would come out empty


# ---- Slurm


def test_the_batch_script_is_sound() -> None:
    """It is a shell script, names files that exist, and settings that sbatch has."""
    subprocess.run(["bash", "-n", str(SLURM)], check=True)
    text = SLURM.read_text(encoding="utf-8")
    named = re.findall(r"scripts/[\w./-]+\w", text)
    assert {"scripts/fsdp.yaml", "scripts/train_slurm.sbatch"} <= set(named)
    assert all((ROOT / name).is_file() for name in named)
    lines = text.splitlines()
    settings = [line for line in lines if line.startswith("#SBATCH")]
    assert "#SBATCH --requeue" in settings
    assert "#SBATCH --ntasks-per-node=1" in settings  # accelerate starts the processes of a node
    before = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert all(lines.index(line) < before for line in settings)  # sbatch reads no further


def test_each_node_starts_its_processes_and_meets_the_others(tmp_path: Path) -> None:
    """Two nodes of eight GPUs: one run of 16 processes, each node with its number, all with the same command."""
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        script(tmp_path / name, f"#!/usr/bin/env bash\n{text}\n")
    (tmp_path / "checkout" / ".venv" / "bin").mkdir(parents=True)
    script(tmp_path / "checkout" / ".venv" / "bin" / "accelerate", f"#!{sys.executable}\n{SAYS}\n")
    slurm = {"SUBMIT_DIR": str(tmp_path / "checkout"), "NNODES": "2", "JOB_ID": "123456", "JOB_NODELIST": "node-[a-b]"}
    environment = {name: value for name, value in os.environ.items() if name != "HF_HOME"}
    environment |= {f"SLURM_{name}": value for name, value in slurm.items()}
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    told = [*RECIPE, "--data", "ORG/NAME", "--out", "/shared/models/my model"]
    done = subprocess.run(["bash", str(SLURM), *told], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    started, *nodes = done.stdout.splitlines()
    assert "16 processes" in started
    found = [json.loads(line) for line in nodes]
    for number, (arguments, home, directory) in enumerate(found):
        assert (home, directory) == (str(tmp_path / "checkout" / ".hf"), str(tmp_path / "checkout"))
        assert arguments[:3] == ["launch", "--config_file", "scripts/fsdp.yaml"]
        asked = launched([str(FSDP) if one == "scripts/fsdp.yaml" else one for one in arguments[1:]])
        assert (asked.use_fsdp, asked.fsdp_version) == (True, 2)
        assert (asked.num_machines, asked.num_processes, asked.machine_rank) == (2, 16, number)
        assert (asked.main_process_ip, asked.main_process_port) == ("node-a", 23456)
        assert (asked.module, asked.training_script) == (True, "whoseboat")
        assert asked.training_script_args == ["train", *told]
        assert recipe_of(asked.training_script_args).save_every == 200
    assert len(found) == 2


# ---- Hugging Face Jobs

OWNER = {"id": "1", "name": "ORG", "type": "org"}
TOKEN, KEY = "hf_" + "j" * 34, "key-of-another-service"


@contextmanager
def jobs_api() -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    """Serve as much of the Hub as takes a job; yield its address, and what it was asked: path, login and body."""
    asked: list[tuple[str, str, Any]] = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, self.headers["Authorization"], json.loads(body)))
            job = {"id": "job-1", "status": {"stage": "RUNNING", "message": None}, "owner": OWNER}
            answer = json.dumps(job).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def start(tmp_path: Path, *given: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `train_jobs.py` with a login and a key of its own."""
    command = [sys.executable, str(JOBS), *RECIPE, "--data", "ORG/NAME", "--to", "ORG/My-Model", *given]
    usual = {"HF_TOKEN": TOKEN, "OTHER_KEY": KEY, "HF_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        command, env={**os.environ, **usual, **environment}, capture_output=True, text=True, check=False
    )


def test_a_job_is_asked_for_as_it_is_shown(tmp_path: Path) -> None:
    """The real client sends one job; its secrets go there and nowhere else."""
    with jobs_api() as (endpoint, asked):
        done = start(tmp_path, "--flavor", "h200x4", "--secret", "OTHER_KEY", HF_ENDPOINT=endpoint)
    assert done.returncode == 0, done.stderr
    assert "hf jobs logs job-1" in done.stdout
    ((path, login, job),) = asked
    assert (path, login) == ("/api/jobs/ORG", f"Bearer {TOKEN}")
    assert job["secrets"] == {"HF_TOKEN": TOKEN, "OTHER_KEY": KEY}
    assert (job["flavor"], job["timeoutSeconds"], job["labels"]) == ("h200x4", 12 * 3600, {"name": "my-model"})
    assert (job["environment"]["GPUS"], job["environment"]["TO"]) == ("4", "ORG/My-Model")
    assert job["environment"]["FSDP"] == FSDP.read_text(encoding="utf-8")
    assert job["command"][:4] == ["uv", "run", "--with", f"whoseboat[train]=={version()}"]
    shown = done.stdout + done.stderr + json.dumps({**job, "secrets": sorted(job["secrets"])})
    assert TOKEN not in shown
    assert KEY not in shown


def version() -> str:
    """Return the version of this program."""
    from whoseboat import __version__

    return __version__


def test_a_dry_run_starts_nothing_and_needs_no_login(tmp_path: Path) -> None:
    """It prints arguments that the installed client takes, with secrets by their names."""
    import huggingface_hub

    done = start(tmp_path, "--dry-run", "--secret", "OTHER_KEY", HF_TOKEN="", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["secrets"] == ["HF_TOKEN", "OTHER_KEY"]
    assert KEY not in done.stdout
    inspect.signature(huggingface_hub.run_uv_job).bind(**shown)
    assert shown["flavor"] in [one.value for one in huggingface_hub.JobHardware]
    refused = start(tmp_path, "--secret", "NO_SUCH_KEY", HF_ENDPOINT="http://127.0.0.1:9")
    assert refused.returncode == 1
    assert "no NO_SUCH_KEY" in refused.stderr


def test_the_commands_of_a_job_train_and_publish(tmp_path: Path) -> None:
    """On the machine of the job: accelerate gets the setting, whoseboat the recipe, and what was made is published."""
    shown = json.loads(start(tmp_path, "--dry-run", "--private").stdout)
    for name in ("accelerate", "whoseboat"):
        script(tmp_path / name, f"#!{sys.executable}\n{SAYS}\n")
    environment = {**os.environ, **shown["env"], "HF_HOME": "", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [shown["script"], *shown["script_args"]],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    training, publishing = (json.loads(line)[0] for line in done.stdout.splitlines())
    asked = launched([str(tmp_path / one) if one == "fsdp.yaml" else one for one in training[1:]])
    assert (asked.num_processes, asked.use_fsdp, asked.fsdp_version) == (8, True, 2)
    assert asked.training_script_args == ["train", *RECIPE, "--data", "ORG/NAME", "--out", "model"]
    assert recipe_of(asked.training_script_args).tuning == "full"
    assert publishing == ["publish", "model", "--to", "ORG/My-Model", "--private", "--yes"]
