"""What each process of a run in `test_two_processes.py` does: train the models of a folder's recipes, in their order.

    accelerate launch ... tests/two_processes.py FOLDER OUT [--fsdp] [--killed-in dpo]

Each `NAME.yaml` of the folder becomes OUT/NAME, unless it is there; DPO starts from OUT/sft.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from whoseboat.tailoring import recipe as recipes
from whoseboat.tailoring.stages import Progress
from whoseboat.tailoring.training import train


def train_all(folder: Path, out: Path, killed_in: str | None = None) -> None:
    """Train the models of a folder's recipes; in one stage, end the process at its third step."""

    def watch(progress: Progress) -> None:
        if progress.stage == killed_in and progress.step == 3:
            os._exit(9)  # as a machine that is taken away: nothing is cleaned up

    for path in sorted(folder.glob("*.yaml")):
        recipe = recipes.load(path)
        if recipe.method == "dpo":
            recipe = replace(recipe, start_from=str(out / "1-sft"))
        if not (out / path.stem).is_dir():
            train(recipe, out / path.stem, on_progress=watch)


def share_out_on_cpu() -> None:
    """Have accelerate use FSDP on CPUs: it does so for accelerators alone, and is told that these are some."""
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    begin = PartialState.__init__

    def begin_as_accelerators(self: PartialState, *given: Any, **named: Any) -> None:  # noqa: ANN401 - as it is called
        begin(self, *given, **named)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = begin_as_accelerators


def main() -> None:
    """Train, and tell how the processes shared the work."""
    from accelerate.state import AcceleratorState

    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--fsdp", action="store_true")
    parser.add_argument("--killed-in")
    given = parser.parse_args()
    if given.fsdp:
        share_out_on_cpu()
    train_all(given.folder, given.out, given.killed_in)
    state = AcceleratorState()
    if state.is_main_process:
        print(f"{state.num_processes} processes, {state.distributed_type.value}")  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main()
