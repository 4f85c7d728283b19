"""What a build in tasks costs, and what further workers bring.

    python scripts/bench_scale.py [--rows 100000] [--pairs 2000] [--files 8] [--latency 1] [--runs 3]

Three tables:

- the offline engine, pairs per second of a plain build and of tasks by the local executor, one or two at once, and how
  much longer than the plain build the tasks of one worker take;
- the same for a language model: a loopback server that takes `--latency` seconds for an answer, and 64 requests at once
  of each worker;
- what is spent on a row for being cut: to read it and to put it by for its task, once; where the source cannot be cut,
  each task reads each row, and leaves most of them to others.

Input is that of `bench_build.py`, in `--files` files, which tasks cut among them. Every build is a process of its own;
the plain build and each worker have one core each, as far as there are any. The figures are medians of the runs, which
take turns, so that a machine that is busy for a while is so for all. The load of the machine before each table is told;
where it is more than the cores, seconds of processor time say more than those of the clock: of all processes of a build
together, and, for the efficiency of two workers on cores that are free, of the launcher and the busier worker.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from itertools import islice, pairwise
from pathlib import Path

import bench_build

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

# Tasks and workers; none of either is a plain build.
PLAIN = (0, 0)


def build_once(source: Path, tasks: int, workers: int, endpoint: str, concurrency: int) -> None:
    """Build in this process and those it starts, and print the seconds it took."""
    import whoseboat

    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[: max(1, workers)])
    with tempfile.TemporaryDirectory(dir=source.parent) as directory:
        out = Path(directory) / "set"
        model = None
        if endpoint:
            model = whoseboat.LanguageModel(
                "toy-model", endpoint, cache_dir=Path(directory) / "cache", concurrency=concurrency * max(1, workers)
            )
        started = time.perf_counter()
        if tasks:
            options = {"language": "en"}
            whoseboat.build_in_tasks(
                "table", out, tasks=tasks, workers=workers, engine=model, data_dir=source, options=options
            )
        else:
            whoseboat.build("table", out, engine=model, data_dir=source, options={"language": "en"})
        print(json.dumps(time.perf_counter() - started))


def seconds_of(
    source: Path, cut: tuple[int, int], endpoint: str = "", concurrency: int = 64
) -> tuple[float, float, float]:
    """Build in a new process, and return the seconds it took.

    By the clock; of processor time, of all its processes; and of the launcher with the busiest of the others: what the
    clock would tell on cores that are free.
    """
    command = [sys.executable, __file__, "--once", str(source), "--tasks", str(cut[0]), "--workers", str(cut[1])]
    command += ["--endpoint", endpoint, "--concurrency", str(concurrency)]
    spent: dict[int, float] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        while process.poll() is None:
            spent |= processor_seconds(process.pid)
            time.sleep(0.1)
        clock = float(json.loads(process.communicate()[0]))
    launcher = spent.pop(process.pid)
    return clock, launcher + sum(spent.values()), launcher + max(spent.values(), default=0.0)


def processor_seconds(session: int) -> dict[int, float]:
    """Return the seconds of processor time so far of each process of a session (Linux)."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
            if int(fields[3]) == session:
                found[int(path.parent.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def table(title: str, pairs: int, source: Path, cuts: list[tuple[int, int]], runs: int, endpoint: str = "") -> None:
    """Print pairs per second of builds that are cut in these ways."""
    print(f"\n{title}; load before: {' '.join(f'{load:.1f}' for load in os.getloadavg())}")
    found: dict[tuple[int, int], list[tuple[float, float, float]]] = {cut: [] for cut in cuts}
    for _ in range(runs):
        for cut in cuts:
            found[cut].append(seconds_of(source, cut, endpoint))
    medians = {cut: [statistics.median(kind) for kind in zip(*of, strict=True)] for cut, of in found.items()}
    print("plain | tasks x workers: seconds, pairs/s, processor seconds; then to plain, or efficiency; all runs")
    for cut, (clock, processor, free) in medians.items():
        said = ""
        if cut != PLAIN and cut[1] == 1:
            plain = medians[PLAIN]
            said = f"to plain {clock / plain[0] - 1:+.1%}, of processor time {processor / plain[1] - 1:+.1%}"
        elif alone := medians.get((cut[0], 1)):
            said = f"efficiency {alone[0] / clock / cut[1]:.2f}"
            if not endpoint:  # against a model tasks wait, so that their processor time says nothing
                said += f", on free cores {alone[2] / free / cut[1]:.2f}"
        name = f"{cut[0]} x {cut[1]}" if cut != PLAIN else "plain"
        clocks = " ".join(f"{one[0]:.1f}" for one in found[cut])
        print(f"{name:>6} {clock:>8.1f} {pairs / clock:>8,.0f} {processor:>8.1f}   {said:<55} {clocks}", flush=True)


def write_source(folder: Path, pairs: int, files: int) -> None:
    """Write so many pairs into so many files."""
    folder.mkdir(exist_ok=True)
    whole = folder.with_suffix(".jsonl")
    bench_build.write_input(whole, pairs)
    with whole.open("rb") as lines:
        for number in range(files):
            rows = islice(lines, pairs * (number + 1) // files - pairs * number // files)
            (folder / f"part-{number:03d}.jsonl").write_bytes(b"".join(rows))
    whole.unlink()


def microseconds_of_a_row(source: Path) -> dict[str, float]:
    """Return the microseconds of processor time of reading a row, putting it by, and finding that another keeps it."""
    from whoseboat import sources
    from whoseboat.spool import to_line
    from whoseboat.tasks import task_of

    request = sources.Request(data_dir=source, options={"language": "en"})
    marks = [time.process_time()]
    pairs = list(islice(sources.read("table", request).pairs, 20_000))
    marks.append(time.process_time())
    for pair in pairs:
        task_of(pair, 2)
    marks.append(time.process_time())
    for pair in pairs:
        to_line(pair)
    marks.append(time.process_time())
    of_a_row = [(end - start) / len(pairs) * 1e6 for start, end in pairwise(marks)]
    return dict(zip(("read", "whose", "put by"), of_a_row, strict=True))


def main() -> None:
    """Run the builds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=2_000)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--latency", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=["offline", "model"], help="only this table")
    for name, kind in (("--once", Path), ("--tasks", int), ("--workers", int), ("--concurrency", int)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    parser.add_argument("--endpoint", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        build_once(given.once, given.tasks, given.workers, given.endpoint, given.concurrency)
        return
    from llm_server import LlmServer

    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "input"
        if given.only != "model":
            write_source(source, given.rows, given.files)
            found = microseconds_of_a_row(source)
            print("a row: " + ", ".join(f"{what} {spent:.1f} µs" for what, spent in found.items()))
            cuts = [PLAIN, (1, 1), (2, 1), (2, 2), (4, 1), (4, 2)]
            table(f"offline engine, {given.rows:,} pairs", given.rows, source, cuts, given.runs)
        if given.only != "offline":
            write_source(source, given.pairs, given.files)
            with LlmServer(latency=given.latency) as server:
                os.environ.update(server.environment())
                title = f"a language model of {given.latency} s, {given.pairs:,} pairs"
                table(title, given.pairs, source, [PLAIN, (2, 1), (2, 2)], given.runs, server.base_url)


if __name__ == "__main__":
    main()
