#!/usr/bin/env python3
"""Sets roost's channels, locks, contexts, timers and sockets beside Go's, in one run.

  bench/micro/compare_go.py [--build-dir build/bench] [--rounds 5] [--only WORD]

Both do the same, in turn, round by round, and check what they compute. Most rows are of one processor (one worker, GOMAXPROCS=1) and show
the process's own processor time per operation, user and system, which holds on a machine that is busy with other work as
elapsed time does not. Rows of two processors show the time that passes. What is printed is the median of the rounds, and the median of
the rounds' ratios with the smallest and the largest. Without a `go` tool Go's side is left out.
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
REPOSITORY = HERE.parents[1]
SECONDS = 0.2  # a measurement
GO_COUNT_MAX = 1_000_000_000


class Pair:
    """roost's benchmark and its program, Go's, and what they do."""

    def __init__(self, program, own, its, what, processors=1):
        self.program = program
        self.own = own
        self.its = its
        self.what = what
        self.processors = processors


PAIRS = [
    Pair("runtime_bench", "yield_switch", "BenchmarkGosched", "two that yield to each other, there and back"),
    Pair("runtime_bench", "spawn_join", "BenchmarkSpawnJoin", "one started and waited for"),
    Pair("runtime_bench", "set_read_deadline_after", "BenchmarkSetReadDeadline", "read deadline of a connection, set"),
    Pair("sync_bench", "chan_round_trip", "BenchmarkChanRoundTrip", "unbuffered channels, round trip"),
    Pair("sync_bench", "chan_round_trip_two_workers", "BenchmarkChanRoundTrip", "the same on two processors", 2),
    Pair("sync_bench", "chan_buffered_element", "BenchmarkChanBufferedElement", "buffered channel, one element in and out"),
    Pair("sync_bench", "chan_pipeline", "BenchmarkChanPipeline", "producer to consumer, one element"),
    Pair("sync_bench", "send_and_select_of_2", "BenchmarkSendAndSelectOf2", "send and select of 2"),
    Pair("sync_bench", "send_and_select_of_8", "BenchmarkSendAndSelectOf8", "send and select of 8"),
    Pair("sync_bench", "select_of_2_that_waits", "BenchmarkSelectOf2ThatWaits", "round trip with a select of 2 that waits"),
    Pair("sync_bench", "try_receive_empty", "BenchmarkTryReceiveEmpty", "receive that finds nothing"),
    Pair("sync_bench", "lock_unlock<roost::Mutex>", "BenchmarkMutex", "mutex, uncontended"),
    Pair("sync_bench", "mutex_contended", "BenchmarkMutexContended", "mutex, four take turns"),
    Pair("sync_bench", "mutex_contended_two_workers", "BenchmarkMutexContended", "mutex, contended on two processors", 2),
    Pair("sync_bench", "mutex_waited_for", "BenchmarkMutexWaitedFor", "mutex, always waited for"),
    Pair("sync_bench", "rw_lock_shared", "BenchmarkRWMutexRead", "read-write lock, read, free"),
    Pair("sync_bench", "wait_group_add_done", "BenchmarkWaitGroupAddDone", "wait group, add and done"),
    Pair("sync_bench", "once_done", "BenchmarkOnceDone", "once, already done"),
    Pair("sync_bench", "context_with_cancel", "BenchmarkContextWithCancel", "context made and canceled"),
    Pair("sync_bench", "context_with_timeout", "BenchmarkContextWithTimeout", "context with time-out made and canceled"),
    Pair("sync_bench", "context_with_timeout_below", "BenchmarkContextWithTimeoutBelow", "the same below another context"),
    Pair("sync_bench", "timer_start_and_stop", "BenchmarkTimerStartAndStop", "timer with a function, started and stopped"),
    Pair("sync_bench", "timer_reset", "BenchmarkTimerReset", "timer reset"),
    Pair("net_bench", "dial_accept_close", "BenchmarkDialAcceptClose", "TCP dial, accept, close at both ends"),
    Pair("net_bench", "udp_round_trip", "BenchmarkUDPRoundTrip", "UDP round trip, 64 bytes"),
    Pair("net_bench", "udp_batch", "BenchmarkUDPBatch", "UDP in batches of 64, one datagram in and out"),
]


def fail(what):
    print(f"compare_go: {what}", file=sys.stderr)
    sys.exit(2)


def roost_ns(build_dir, pair):
    program = build_dir / pair.program
    run = subprocess.run(
        [program, f"--benchmark_filter=^{re.escape(pair.own)}(/.*)?$", f"--benchmark_min_time={SECONDS}", "--benchmark_format=json"],
        capture_output=True, text=True)
    if run.returncode != 0:
        fail(f"{program} failed on {pair.own}: {run.stderr.strip()}")
    found = json.loads(run.stdout)["benchmarks"] if run.stdout else []
    if len(found) != 1:
        fail(f"{program} has no benchmark {pair.own}, or several")
    return found[0]["cpu_time" if pair.processors == 1 else "real_time"]


def go_ns(program, pair, counts):
    def run(count):
        """Processor seconds of the whole process, and elapsed nanoseconds per operation."""
        command = [program, "-test.run", "^$", "-test.bench", f"^{pair.its}$", "-test.benchtime", f"{count}x"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                                   env={**os.environ, "GOMAXPROCS": str(pair.processors)})
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        measured = re.search(rf"^{pair.its}\S*\s+\d+\s+([\d.]+) ns/op", said, re.MULTILINE)
        if status != 0 or not measured:
            fail(f"{' '.join(command)} failed: {said.strip()}")
        return usage.ru_utime + usage.ru_stime, float(measured[1])

    key = (pair.its, pair.processors)
    if key not in counts:
        count = 10_000
        while run(count)[0] < SECONDS / 4 and count < GO_COUNT_MAX:
            count *= 4
        counts[key] = count * 4
    cpu_s, elapsed_ns = run(counts[key])
    # What a start of the program takes is no part of the operation.
    return (cpu_s - run(1)[0]) / counts[key] * 1e9 if pair.processors == 1 else elapsed_ns


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build-dir", type=pathlib.Path, default=REPOSITORY / "build/bench", metavar="DIR",
                        help="where sync_bench and net_bench lie (default build/bench)")
    parser.add_argument("--rounds", type=int, default=5, metavar="R", help="turns each side gets (default 5)")
    parser.add_argument("--only", default="", metavar="WORD", help="only operations whose description holds this")
    options = parser.parse_args()
    options.build_dir = options.build_dir.resolve()
    for program in sorted({pair.program for pair in PAIRS}):
        if not os.access(options.build_dir / program, os.X_OK):
            fail(f"--build-dir {options.build_dir}: holds no {program}; build it: cmake --preset bench && cmake --build --preset bench")
    if options.rounds < 1:
        fail(f"--rounds {options.rounds}: give at least 1")
    options.pairs = [pair for pair in PAIRS if options.only in pair.what]
    if not options.pairs:
        fail(f"--only {options.only!r}: no operation is called so; choose a word of: {', '.join(pair.what for pair in PAIRS)}")
    return options


def form(ns):
    return f"{ns / 1000:.2f} us" if ns >= 1000 else f"{ns:.1f} ns"


def main():
    options = parse_options()
    with tempfile.TemporaryDirectory() as scratch:
        go_program = None
        if shutil.which("go"):
            go_program = f"{scratch}/go_peers"
            built = subprocess.run(["go", "test", "-c", "-o", go_program, "."], cwd=HERE / "go_peers", capture_output=True,
                                   text=True, env={**os.environ, "GOTOOLCHAIN": "local", "GOPROXY": "off"})
            if built.returncode != 0:
                fail(f"go test -c failed: {built.stderr.strip()}")
        else:
            print("no `go` tool found: Go's side is left out", file=sys.stderr)
        counts = {}
        rounds = [[(roost_ns(options.build_dir, pair), go_ns(go_program, pair, counts) if go_program else None)
                   for pair in options.pairs] for _ in range(options.rounds)]

    print("| operation | roost | Go | Go : roost |")
    print("| --- | --- | --- | --- |")
    overall = []
    for i, pair in enumerate(options.pairs):
        own = [one[i][0] for one in rounds]
        line = f"| {pair.what} | {form(statistics.median(own))}"
        if go_program:
            its = [one[i][1] for one in rounds]
            ratios = [b / a for a, b in zip(own, its)]
            overall.append(statistics.median(ratios))
            line += (f" | {form(statistics.median(its))} | {statistics.median(ratios):.2f}"
                     f" ({min(ratios):.2f} to {max(ratios):.2f})")
        else:
            line += " | - | -"
        print(line + " |")
    if overall:
        print(f"\nThe median of the ratios is {statistics.median(overall):.2f}, the smallest {min(overall):.2f}.")


if __name__ == "__main__":
    main()
