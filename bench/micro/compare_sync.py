#!/usr/bin/env python3
"""Sets roost's channels, locks, contexts and timers beside Go's, in one run.

  bench/micro/compare_sync.py [--bench build/bench/sync_bench] [--rounds 5]

Both do the same on one processor (one worker, GOMAXPROCS=1), in turn, round by round. What is printed is processor time per
operation, user and system, which holds on a machine that is busy with other work as elapsed time does not: the median of the rounds,
and the median of the rounds' ratios with the smallest and the largest. Without a `go` tool Go's side is left out.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SECONDS = 0.2  # a measurement

# roost's benchmark, Go's, and what they do.
PAIRS = [
    ("chan_round_trip", "BenchmarkChanRoundTrip", "unbuffered channels, round trip"),
    ("chan_buffered_element", "BenchmarkChanBufferedElement", "buffered channel, one element in and out"),
    ("chan_pipeline", "BenchmarkChanPipeline", "producer to consumer, one element"),
    ("send_and_select_of_2", "BenchmarkSendAndSelectOf2", "send and select of 2"),
    ("send_and_select_of_8", "BenchmarkSendAndSelectOf8", "send and select of 8"),
    ("select_of_2_that_waits", "BenchmarkSelectOf2ThatWaits", "round trip with a select of 2 that waits"),
    ("try_receive_empty", "BenchmarkTryReceiveEmpty", "receive that finds nothing"),
    ("lock_unlock<roost::Mutex>", "BenchmarkMutex", "mutex, free"),
    ("mutex_waited_for", "BenchmarkMutexWaitedFor", "mutex, always waited for"),
    ("rw_lock_shared", "BenchmarkRWMutexRead", "read-write lock, read, free"),
    ("wait_group_add_done", "BenchmarkWaitGroupAddDone", "wait group, add and done"),
    ("once_done", "BenchmarkOnceDone", "once, already done"),
    ("context_with_cancel", "BenchmarkContextWithCancel", "context made and canceled"),
    ("context_with_timeout", "BenchmarkContextWithTimeout", "context with time-out made and canceled"),
    ("context_with_timeout_below", "BenchmarkContextWithTimeoutBelow", "the same below another context"),
    ("timer_start_and_stop", "BenchmarkTimerStartAndStop", "timer with a function, started and stopped"),
    ("timer_reset", "BenchmarkTimerReset", "timer reset"),
]


def fail(what):
    print(f"compare_sync: {what}", file=sys.stderr)
    sys.exit(2)


def roost_ns(bench, name):
    run = subprocess.run(
        [bench, f"--benchmark_filter=^{re.escape(name)}$", f"--benchmark_min_time={SECONDS}", "--benchmark_format=json"],
        capture_output=True, text=True)
    if run.returncode != 0:
        fail(f"{bench} failed on {name}: {run.stderr.strip()}")
    found = json.loads(run.stdout)["benchmarks"]
    if not found:
        fail(f"{bench} has no benchmark {name}")
    return found[0]["cpu_time"]


def cpu_seconds(command):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "GOMAXPROCS": "1"})
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        fail(f"{' '.join(command)} failed")
    return usage.ru_utime + usage.ru_stime


def go_ns(bench, name, counts):
    def run(count):
        return cpu_seconds([bench, "-test.run", "^$", "-test.bench", f"^{name}$", "-test.benchtime", f"{count}x"])

    if name not in counts:
        count = 10_000
        while run(count) < SECONDS / 4 and count < 1_000_000_000:
            count *= 4
        counts[name] = count * 4
    # What a start of the program takes is no part of the operation.
    return (run(counts[name]) - run(1)) / counts[name] * 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", default="build/bench/sync_bench", help="roost's benchmark program")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if not os.access(arguments.bench, os.X_OK):
        fail(f"{arguments.bench} is not there; build it: cmake --preset bench && cmake --build --preset bench --target sync_bench")
    if arguments.rounds < 1:
        fail(f"--rounds {arguments.rounds}: give at least 1")
    bench = str(pathlib.Path(arguments.bench).resolve())

    with tempfile.TemporaryDirectory() as scratch:
        go_bench = None
        if shutil.which("go"):
            go_bench = f"{scratch}/go_sync"
            built = subprocess.run(["go", "test", "-c", "-o", go_bench, "."], cwd=HERE / "go_sync", capture_output=True, text=True)
            if built.returncode != 0:
                fail(f"go test -c failed: {built.stderr.strip()}")
        else:
            print("no `go` tool found: Go's side is left out", file=sys.stderr)
        counts = {}
        rounds = []
        for _ in range(arguments.rounds):
            rounds.append([(roost_ns(bench, own), go_ns(go_bench, its, counts) if go_bench else None) for own, its, _ in PAIRS])

    print("| operation | roost | Go | Go : roost |")
    print("| --- | --- | --- | --- |")
    overall = []
    for i, (_, _, what) in enumerate(PAIRS):
        own = [one[i][0] for one in rounds]
        line = f"| {what} | {statistics.median(own):.1f} ns"
        if go_bench:
            its = [one[i][1] for one in rounds]
            ratios = [b / a for a, b in zip(own, its)]
            overall.append(statistics.median(ratios))
            line += (f" | {statistics.median(its):.1f} ns | {statistics.median(ratios):.1f}"
                     f" ({min(ratios):.1f} to {max(ratios):.1f})")
        else:
            line += " | - | -"
        print(line + " |")
    if overall:
        print(f"\nThe median of the ratios is {statistics.median(overall):.1f}, the smallest {min(overall):.1f}.")


if __name__ == "__main__":
    main()
