#!/usr/bin/env python3
"""Measures what a waiting connection costs `roost echo` in user-space memory, with a fiber each and on demand.

Starts the server, opens the connections by `roost load`, has one line echoed on each, waits until nothing moves any more, and
prints the growth of the server's resident set (Rss of smaps_rollup, summed over its processes) by connection, and beside it
its private memory alone (Private_Dirty), which leaves out pages of the program that were touched for the first time.
Both ends spread over as many processes as the descriptor limit demands. Memory of the kernel for a socket is not in it.

Exit status: 0 measured, and no goal missed; 1 a connection failed, or --goal was missed; 2 usage or set-up error.
"""

import json
import re
import sys
import tempfile
import time
from pathlib import Path

from compare import Parser, REPOSITORY, RunFailed, SetupError, end, launch, machine, main, spread, tail

HANDLERS = ("fiber", "on-demand")
GOAL_BYTES_DEFAULT = 600     # a connection, on demand
OPEN_SECONDS_MAX = 120       # for the connections to stand
HOLD_SECONDS = 8             # they stand idle for so long; memory is read in the middle
QUIET_SECONDS = 3            # after the last echo
START_SECONDS_MAX = 10


def children(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(word) for word in task.read_text().split()]
        except OSError:
            continue
    return found


def process_tree(pid):
    tree = [pid]
    for one in tree:
        tree += children(one)
    return tree


def memory_bytes(pids):
    """Sums of what smaps_rollup says."""
    sums = {"Rss": 0, "Private_Dirty": 0}
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in sums:
                sums[name] += int(rest.split()[0]) * 1024
    return sums


def wait_for(file, pattern, process, name, seconds):
    """The first match in what a program has written."""
    limit = time.monotonic() + seconds
    while True:
        file.seek(0)
        if match := re.search(pattern, file.read().decode(errors="replace"), re.MULTILINE):
            return match
        if process.poll() is not None:
            raise RunFailed(f"{name} ended with status {process.returncode}: {tail(file) or 'it said nothing'}")
        if time.monotonic() > limit:
            raise RunFailed(f"{name} took longer than {seconds} s: {tail(file) or 'it said nothing'}")
        time.sleep(0.05)


def measure(handler, options):
    with tempfile.TemporaryFile() as server_log, tempfile.TemporaryFile() as load_log:
        server = launch([str(options.roost), "echo", "--listen", "127.0.0.1:0", "--processes", "auto", "--max-connections",
                         str(options.connections), "--report-interval", "0", "--handler", handler],
                        None, server_log, server_log)
        load = None
        try:
            address = wait_for(server_log, r"^listening on (\S+)", server, "roost echo", START_SECONDS_MAX)[1]
            time.sleep(0.5)  # its start-up work is over before memory is read
            before = memory_bytes(process_tree(server.pid))
            load = launch([str(options.roost), "load", "--target", address, "--connections", str(options.connections),
                           "--rate", str(options.rate), "--interval", "1h", "--duration", f"{HOLD_SECONDS}s",
                           "--dial-timeout", "60s", "--io-timeout", "60s"], None, load_log, load_log)
            wait_for(load_log, r"^running ", load, "roost load", OPEN_SECONDS_MAX)
            time.sleep(QUIET_SECONDS)
            pids = process_tree(server.pid)
            after = memory_bytes(pids)
            if load.poll() is not None:
                raise RunFailed(f"roost load was gone before memory was read: {tail(load_log)}")
            load.wait(OPEN_SECONDS_MAX)
            if load.returncode != 0:
                raise RunFailed(f"roost load ended with status {load.returncode}: {tail(load_log)}")
            if server.poll() is not None:
                raise RunFailed(f"roost echo died with status {server.returncode}: {tail(server_log)}")
            return {"processes": len(pids),
                    "rss_bytes_per_connection": (after["Rss"] - before["Rss"]) / options.connections,
                    "private_bytes_per_connection": (after["Private_Dirty"] - before["Private_Dirty"]) / options.connections}
        finally:
            if load is not None:
                end(load)
            end(server)


def parse_options(arguments):
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--roost", type=Path, default=REPOSITORY / "build/bench/roost", metavar="PATH",
                        help="the program (default build/bench/roost)")
    parser.add_argument("--connections", type=int, default=100_000, metavar="N", help="to hold (default 100000)")
    parser.add_argument("--rate", type=int, default=20_000, metavar="R", help="to open a second (default 20000)")
    parser.add_argument("--rounds", type=int, default=2, metavar="R", help="turns each handler gets (default 2)")
    parser.add_argument("--goal", type=int, default=GOAL_BYTES_DEFAULT, metavar="BYTES",
                        help=f"that an on-demand connection may cost at most (default {GOAL_BYTES_DEFAULT}; 0: none)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args(arguments)
    for name, value, least, most in (("--connections", options.connections, 100, 2_000_000), ("--rate", options.rate, 1, 10_000_000),
                                     ("--rounds", options.rounds, 1, 100), ("--goal", options.goal, 0, 1_000_000)):
        if not least <= value <= most:
            raise SetupError(f"{name} {value}: give {least} to {most}")
    if not options.roost.is_file():
        raise SetupError(f"--roost {options.roost}: is not there; scripts/bench builds it")
    if options.json and not options.json.absolute().parent.is_dir():
        raise SetupError(f"--json {options.json}: its folder does not exist; create it")
    return options


def run(options):
    print(f"memory of {options.connections:,} waiting connections; median (min..max)", flush=True)
    turns = {handler: [] for handler in HANDLERS}
    for number in range(1, options.rounds + 1):
        for handler in HANDLERS:
            result = measure(handler, options)
            turns[handler].append(result)
            print(f"  round {number}/{options.rounds}, {handler}: {result['rss_bytes_per_connection']:,.0f} B/connection",
                  file=sys.stderr, flush=True)
    report = {"schema": 1, "machine": machine(), "connections": options.connections, "handlers": {}}
    for handler, results in turns.items():
        report["handlers"][handler] = {key: spread([result[key] for result in results])
                                       for key in ("rss_bytes_per_connection", "private_bytes_per_connection")}
        rss, private = report["handlers"][handler].values()
        print(f"  --handler {handler:<10} Rss {rss['median']:>6,.0f} B a connection ({rss['min']:,.0f}..{rss['max']:,.0f}), "
              f"private {private['median']:,.0f} B, {results[0]['processes']} processes")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    worst = report["handlers"]["on-demand"]["rss_bytes_per_connection"]["median"]
    if options.goal and worst > options.goal:
        raise RunFailed(f"an on-demand connection costs {worst:,.0f} B; the goal is {options.goal} B")


if __name__ == "__main__":
    sys.exit(main("idle_memory.py", run, parse_options))
