"""What a task of a build costs: the cutting of the source, and the building of the conversations that are its own.

    python scripts/bench_tasks.py [--rows 100000 1000000] [--tasks 16] [--format jsonl]

The input is like that of `bench_build.py`, but its responses are 80 words each drawn at random from the sample's, so
that files are no smaller than those of people's texts. Each figure is from a process of its own on one core (Linux).
Time is that of the processor, so that other work on the machine changes it little; memory is the process's peak.

    read    every row is read, and none kept
    cut     every row is read and put by for its task; tasks share this out among them
    own     what else a task does, where the source was cut: read its own, screen, infer with `contrast`, write
    task    all that a task does where the source cannot be cut: read every row, keep its own, and so on
    whole   the same with one task alone
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path

WORDS = 80
KINDS = ("read", "cut", "own", "task", "whole")


def write_input(path: Path, rows: int) -> None:
    """Write so many pairs as JSON lines, or as Parquet where the name says so."""
    text = (resources.files("whoseboat.sample") / "pairs.jsonl").read_text(encoding="utf-8")
    pairs = [json.loads(line) for line in text.splitlines()]
    words = [word for pair in pairs for side in ("chosen", "rejected") for word in pair[side].split()]
    draw = random.Random(0)  # noqa: S311 - for figures
    records = (
        {
            "prompt": f"{number}. {pairs[number % len(pairs)]['prompt'][-1]['content']}",
            "chosen": " ".join(draw.choices(words, k=WORDS)),
            "rejected": " ".join(draw.choices(words, k=WORDS)),
        }
        for number in range(rows)
    )
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema([(name, pa.string()) for name in ("prompt", "chosen", "rejected")])
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for _ in range(0, rows, 10_000):
                batch = [record for _, record in zip(range(10_000), records, strict=False)]
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
        return
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def measure(kind: str, source: Path, tasks: int) -> None:
    """Do one kind of work in this process, and print its figures as JSON."""
    from whoseboat import engines, sources
    from whoseboat.records import Row
    from whoseboat.redaction import Redactor
    from whoseboat.scale import cutting
    from whoseboat.screening import screen
    from whoseboat.sources import Request
    from whoseboat.tasks import Task, of_task
    from whoseboat.writer import DatasetWriter

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    reading = sources.read("table", Request(data_dir=source, options={"language": "en"}))
    pairs, rows, size, cut = reading.pairs, 0, 0, source.parent / "cut"
    before, started = memory(), time.process_time()
    if kind == "read":
        for _ in pairs:
            rows += 1
    elif kind == "cut":
        shutil.rmtree(cut, ignore_errors=True)
        if reading.by_file is None:
            raise SystemExit("this source cannot be cut by its files")
        cut.mkdir()
        cutting._cut(tasks, reading.by_file.read(frozenset(reading.by_file.files)), cut, 0)
        with (cut / "00000.jsonl").open("rb") as file:
            rows, size = sum(1 for _ in file), file.tell()
    else:
        redactor = Redactor()
        own = of_task(pairs, Task(0, tasks if kind == "task" else 1))
        if kind == "own":
            own = cutting._put_by(cut, 1, 0)
        screened = screen(own, max_characters=32_000, include_unsafe=False, redactor=redactor)
        with tempfile.TemporaryDirectory(dir=source.parent) as directory:
            with DatasetWriter(Path(directory), include_unsafe=False) as writer:
                for item in engines.find("contrast").infer(screened):
                    if isinstance(item, Row):
                        writer.add(redactor.row(item))
                        rows += 1
                    else:
                        writer.drop(redactor.drop(item))
            size = sum(path.stat().st_size for path in Path(directory).rglob("*.parquet"))
    seconds = time.process_time() - started
    print(json.dumps({"rows": rows, "seconds": seconds, "before": before, "peak": memory(), "bytes": size}))


def memory() -> float:
    """Return the peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure all, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--tasks", type=int, default=16)
    parser.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl")
    parser.add_argument("--kinds", choices=KINDS, nargs="+", default=KINDS)
    parser.add_argument("--once", nargs=2, metavar=("KIND", "PATH"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        measure(given.once[0], Path(given.once[1]), given.tasks)
        return
    print(f"{'rows':>10} {'kind':>6} {'kept':>10} {'seconds':>8} {'us a row':>9} {'peak MB':>8} {'bytes a pair':>13}")
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / f"input.{given.format}"
        for rows in given.rows:
            write_input(source, rows)
            print(f"{rows:>10,} {'source':>6} {source.stat().st_size / rows:>58,.0f}")
            for kind in given.kinds:
                command = [sys.executable, __file__, "--once", kind, str(source), "--tasks", str(given.tasks)]
                found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                of_pair = found["bytes"] / found["rows"]
                print(
                    f"{rows:>10,} {kind:>6} {found['rows']:>10,} {found['seconds']:>8.1f}"
                    f" {found['seconds'] / rows * 1e6:>9.1f} {found['peak']:>8.0f} {of_pair:>13,.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
