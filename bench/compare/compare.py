#!/usr/bin/env python3
"""Measures line echo servers side by side: CPU a message and resident memory a connection.

Absolute numbers move by 20 % from run to run on a shared machine, so only numbers of one run compare, and
servers take turns (A B C, A B C, ...): a round's ratio sets a server against its neighbour in time. The
server is pinned to one core and the client to another; each run starts a fresh server.

Exit status: 0 every echo came back right; 1 a server died, an error or a mismatch (nothing is averaged away);
2 usage or set-up error. Every process started here ends with it, on Ctrl-C too.
"""

import argparse
import ctypes
import json
import os
import platform
import resource
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
POINTS_DEFAULT = "100,2000,15000:1000"
START_SECONDS_MAX = 10       # for a server to listen
STOP_SECONDS_MAX = 3         # between SIGTERM and SIGKILL
CLIENT_SECONDS_EXTRA = 60    # above the measured time: opening, settling, draining
SYSCALL_SECONDS = 0.3
SPARE_DESCRIPTORS = 64
BUSY_LEAST = 0.85            # of its core, for the busier end of an undisturbed closed loop
REFERENCES = ("epoll_loop", "go_echo")  # whom the ratios are taken against
PR_SET_PDEATHSIG = 1


class SetupError(Exception):
    """What cannot be started as asked: exit status 2."""


class RunFailed(Exception):
    """A server or an echo failed: exit status 1."""


class Stopped(Exception):
    """SIGTERM."""


# --- processes ---------------------------------------------------------------------------------------

_libc = ctypes.CDLL(None)


def launch(command, cpu, stdout, stderr, environment=None):
    """Starts a command on one core, in a session of its own; it dies with this program."""

    def before_exec():
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})

    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True,
                            preexec_fn=before_exec, env={**os.environ, **(environment or {})})


def end(process):
    """Ends a process started by launch(), and what it left in its session."""
    for how, seconds in ((signal.SIGTERM, STOP_SECONDS_MAX), (signal.SIGKILL, STOP_SECONDS_MAX)):
        if process.poll() is not None:
            break
        process.send_signal(how)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    try:
        os.killpg(process.pid, signal.SIGKILL)  # the group is ours: launch() opened it
    except ProcessLookupError:
        pass


def listening_sockets(port):
    """Inodes of the sockets that listen on a TCP port of this machine."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def process_listens(pid, port):
    """Whether the process holds the listener: the kernel is asked, since a probing connection would cost memory."""
    wanted = {f"socket:[{inode}]" for inode in listening_sockets(port)}
    if not wanted:
        return False
    try:
        for descriptor in os.scandir(f"/proc/{pid}/fd"):
            try:
                if os.readlink(descriptor.path) in wanted:
                    return True
            except OSError:
                continue
    except OSError:
        pass
    return False


def has_children(pid):
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            if task.read_text().strip():
                return True
        except OSError:
            continue
    return False


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def tail(file, lines=5):
    file.seek(0)
    text = file.read().decode(errors="replace").strip()
    return " | ".join(text.splitlines()[-lines:])


# --- servers -----------------------------------------------------------------------------------------

class Server:
    def __init__(self, name, command, environment=None):
        self.name = name
        self.command = command  # {address} stands for HOST:PORT
        self.environment = environment or {}

    def start(self, cpu, log):
        port = free_port()
        address = f"127.0.0.1:{port}"
        command = [word.replace("{address}", address) for word in self.command]
        process = launch(command, cpu, log, log, self.environment)
        try:
            limit = time.monotonic() + START_SECONDS_MAX
            while not process_listens(process.pid, port):
                if process.poll() is not None:
                    raise RunFailed(f"{self.name} ended with status {process.returncode} "
                                    f"before it listened: {tail(log)}")
                if time.monotonic() > limit:
                    raise RunFailed(f"{self.name} did not listen on {address} "
                                    f"within {START_SECONDS_MAX} s: {tail(log)}")
                time.sleep(0.02)
            time.sleep(0.1)  # its start-up work is over before memory is read
        except BaseException:
            end(process)
            raise
        return process, address


def choose_servers(options):
    """The servers to measure, and a line for each that is left out."""
    roost = [str(options.roost), "echo", "--listen", "{address}", "--workers", "1", "--report-interval", "0"]
    roost += shlex.split(options.roost_options)
    known = {
        "epoll_loop": Server("epoll_loop", [str(options.build_dir / "epoll_loop"), "--listen", "{address}"]),
        "go_echo": Server("go_echo", [str(options.build_dir / "go_echo"), "-listen", "{address}"], {"GOMAXPROCS": "1"}),
        "roost": Server("roost", roost),
        "roost-on-demand": Server("roost-on-demand", roost + ["--handler", "on-demand"]),
    }
    for text in options.server:
        name, equals, command = text.partition("=")
        if not name or not equals or "{address}" not in command or name in known:
            raise SetupError(f"--server {text!r}: give NEWNAME=COMMAND with {{address}} where HOST:PORT belongs")
        known[name] = Server(name, shlex.split(command))
    if options.servers:
        names = options.servers.split(",")
        for name in names:
            if name not in known:
                raise SetupError(f"--servers {name!r}: no such server; choose from {', '.join(known)}")
        if len(set(names)) != len(names):
            raise SetupError(f"--servers {options.servers!r}: a server is named twice; name each once")
    else:
        names = [name for name in known if name != "roost-on-demand" or options.on_demand]
    chosen, skipped = [], {}
    for name in names:
        server = known[name]
        program = shutil.which(server.command[0])
        if program:
            server.command[0] = program
            chosen.append(server)
        elif name == "go_echo" and not shutil.which("go"):
            skipped[name] = "no `go` tool found; install golang-go and run scripts/bench"
        else:
            skipped[name] = f"{server.command[0]} is not there; scripts/bench builds it"
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}", file=sys.stderr)
    if not chosen:
        raise SetupError("no server to measure: none of the programs is built; run scripts/bench")
    return chosen, skipped


# --- one run -----------------------------------------------------------------------------------------

class Point:
    def __init__(self, connections, active):
        self.connections = connections
        self.active = active

    def __str__(self):
        activity = "all active" if self.active == self.connections else f"{self.active:,} active"
        return f"{self.connections:,} connections, {activity}"


def parse_points(text):
    points = []
    for part in text.split(","):
        connections, _, active = part.partition(":")
        try:
            point = Point(int(connections), int(active or connections))
        except ValueError:
            raise SetupError(f"--points {part!r}: give CONNECTIONS or CONNECTIONS:ACTIVE, "
                             f"as in {POINTS_DEFAULT}") from None
        if not 1 <= point.active <= point.connections:
            raise SetupError(f"--points {part!r}: active connections must be 1 to {point.connections}")
        points.append(point)
    return points


def measure(server, point, options, server_cpu, client_cpu):
    """Starts the server, runs the client against it, ends both; returns the client's report."""
    with tempfile.TemporaryFile() as server_log, tempfile.TemporaryFile() as report, tempfile.TemporaryFile() as log:
        process, address = server.start(server_cpu, server_log)
        client = None
        try:
            client = launch([str(options.build_dir / "echo_client"), "--target", address,
                             "--server-pid", str(process.pid),
                             "--connections", str(point.connections), "--active", str(point.active),
                             "--size", str(options.size), "--seconds", str(options.seconds),
                             "--count-syscalls", str(SYSCALL_SECONDS)], client_cpu, report, log)
            limit = time.monotonic() + options.seconds + CLIENT_SECONDS_EXTRA
            running = True
            while running:
                running = client.poll() is None
                if process.poll() is not None:
                    raise RunFailed(f"{server.name} died with status {process.returncode} at {point}: "
                                    f"{tail(server_log) or 'it said nothing'}")
                if has_children(process.pid):
                    raise RunFailed(f"{server.name} has child processes, whose cost would be missed; keep it to one")
                if time.monotonic() > limit:
                    raise RunFailed(f"{server.name} at {point}: the client did not end in time")
                time.sleep(0.05)
            report.seek(0)
            text = report.read().decode()
            try:
                result = json.loads(text)
            except json.JSONDecodeError:
                raise RunFailed(f"{server.name} at {point}: client status {client.returncode}: {tail(log)}") from None
            if client.returncode != 0 or result["errors"] or result["mismatches"] or result["timeouts"]:
                raise RunFailed(f"{server.name} at {point}: {result['errors']} errors, "
                                f"{result['mismatches']} mismatches, {result['timeouts']} time-outs; "
                                f"first: {result['first_failure']}; server says: {tail(server_log) or 'nothing'}")
            return result
        finally:
            if client is not None:
                end(client)
            end(process)


# --- report ------------------------------------------------------------------------------------------

def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": values}


def summarise(point, runs):
    """`runs` maps a server's name to its reports, one a round."""

    def of_server(reports, key):
        return spread([run["server"][key] for run in reports])

    cpu = {name: [run["server"]["cpu_us_per_message"] for run in reports] for name, reports in runs.items()}
    servers = {}
    for name, reports in runs.items():
        calls = [run["server"]["syscalls_per_message"] for run in reports]
        servers[name] = {
            "cpu_us_per_message": spread(cpu[name]),
            # Pair by pair within a round: what slows the machine for a while slows both.
            "cpu_ratio_to": {other: spread([a / b for a, b in zip(cpu[name], cpu[other])])
                             for other in REFERENCES if other in cpu and other != name},
            "rss_bytes_per_connection": of_server(reports, "rss_bytes_per_connection"),
            "anonymous_bytes_per_connection": of_server(reports, "anonymous_bytes_per_connection"),
            "messages_per_s": spread([run["messages_per_s"] for run in reports]),
            "server_busy": of_server(reports, "busy"),
            "client_busy": spread([run["client"]["busy"] for run in reports]),
            "voluntary_switches_per_message": of_server(reports, "voluntary_switches_per_message"),
            "syscalls_per_message": None if None in calls else spread(calls),
            "runs": reports,
        }
    return {"connections": point.connections, "active": point.active, "servers": servers}


def cell(values, form):
    if values is None:
        return "-"
    median = form.format(values["median"])
    if len(values["rounds"]) == 1:
        return median
    return f"{median} ({form.format(values['min'])}..{form.format(values['max'])})"


def print_table(point, summary):
    servers = summary["servers"]
    references = [name for name in REFERENCES if name in servers]
    head = ["server", "CPU us/message", *[f"vs {name}" for name in references], "RSS B/connection", "calls/message",
            "messages/s", "busy server/client"]
    rows = [head]
    for name, values in servers.items():
        ratios = ["1" if name == other else cell(values["cpu_ratio_to"][other], "{:.2f}") for other in references]
        calls = values["syscalls_per_message"]
        rows.append([name, cell(values["cpu_us_per_message"], "{:.2f}"), *ratios,
                     cell(values["rss_bytes_per_connection"], "{:,.0f}"),
                     "-" if calls is None else f"{calls['median']:.2f}", f"{values['messages_per_s']['median']:,.0f}",
                     f"{values['server_busy']['median']:.0%} / {values['client_busy']['median']:.0%}"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    print(f"\n{point}")
    for index, row in enumerate(rows):
        print("  " + "  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
        if index == 0:
            print("  " + "  ".join("-" * width for width in widths))
    # A closed loop keeps at least one end at work all the time, so two idle ends mean a stolen core.
    disturbed = sum(max(run["server"]["busy"], run["client"]["busy"]) < BUSY_LEAST
                    for values in servers.values() for run in values["runs"])
    if disturbed:
        turns = sum(len(values["runs"]) for values in servers.values())
        print(f"  disturbed: in {disturbed} of {turns} turns neither end had {BUSY_LEAST:.0%} of its core; "
              "other work ran on the machine, so repeat this on a quiet one")


def machine():
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {"kernel": platform.release(), "cpu": model, "cpus": os.cpu_count(), "load_average": os.getloadavg()}


# --- command line ------------------------------------------------------------------------------------

class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise SetupError(f"{message}; see --help")  # one line, not the whole usage


def parse_options(arguments):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--build-dir", type=Path, default=REPOSITORY / "build/bench", metavar="DIR",
                        help="where epoll_loop, go_echo and echo_client lie (default build/bench)")
    parser.add_argument("--roost", type=Path, metavar="PATH", help="the program roost (default DIR/roost)")
    parser.add_argument("--roost-options", default="", metavar="WORDS", help="further options for `roost echo`")
    parser.add_argument("--on-demand", action="store_true", help="measure `roost echo --handler on-demand` as well")
    parser.add_argument("--servers", metavar="A,B,...", help="only these, in this order: epoll_loop, go_echo, roost, "
                        "roost-on-demand, and names given by --server")
    parser.add_argument("--server", action="append", default=[], metavar="NAME=COMMAND",
                        help="a further server; {address} in COMMAND becomes HOST:PORT")
    parser.add_argument("--points", default=POINTS_DEFAULT, metavar="N[:ACTIVE],...",
                        help=f"connections, and how many of them send (default {POINTS_DEFAULT})")
    parser.add_argument("--rounds", type=int, metavar="R", help="turns each server gets (default 5)")
    parser.add_argument("--seconds", type=float, metavar="S", help="measured seconds a turn (default 4)")
    parser.add_argument("--size", type=int, default=64, metavar="BYTES", help="of a line with its newline (default 64)")
    parser.add_argument("--quick", action="store_true", help="1 round of 1 s: shows that all works, measures little")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--quiet", action="store_true", help="no progress lines")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds if options.rounds is not None else (1 if options.quick else 5)
    options.seconds = options.seconds if options.seconds is not None else (1.0 if options.quick else 4.0)
    options.roost = options.roost or options.build_dir / "roost"
    for name, value, least, most in (("--rounds", options.rounds, 1, 1000), ("--seconds", options.seconds, 0.1, 600),
                                     ("--size", options.size, 32, 16384)):
        if not least <= value <= most:
            raise SetupError(f"{name} {value}: give {least} to {most}")
    if not (options.build_dir / "echo_client").is_file():
        raise SetupError(f"--build-dir {options.build_dir}: holds no echo_client; run scripts/bench, which builds it")
    if options.json and not options.json.absolute().parent.is_dir():
        raise SetupError(f"--json {options.json}: its folder does not exist; create it")
    return options


def run(options):
    points = parse_points(options.points)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(point.connections for point in points)
    if hard != resource.RLIM_INFINITY and most + SPARE_DESCRIPTORS > hard:
        raise SetupError(f"--points {most}: a process may open {hard} descriptors; "
                         "lower it or raise the hard limit (ulimit -Hn)")
    servers, skipped = choose_servers(options)
    cpus = sorted(os.sched_getaffinity(0))
    server_cpu, client_cpu = (cpus[0], cpus[1]) if len(cpus) > 1 else (None, None)
    if server_cpu is None:
        print("one core only: server and client share it, so the figures say little", file=sys.stderr)
    report = {"schema": 1, "machine": machine(), "rounds": options.rounds, "seconds": options.seconds,
              "size": options.size, "server_cpu": server_cpu, "client_cpu": client_cpu,
              "commands": {server.name: server.command for server in servers}, "skipped": skipped, "points": []}
    print(f"{options.rounds} round{'s' if options.rounds > 1 else ''} of {options.seconds:g} s a server, "
          f"{options.size}-byte lines, server on core {server_cpu}, client on core {client_cpu}; median (min..max)",
          flush=True)
    for point in points:
        runs = {server.name: [] for server in servers}
        for number in range(1, options.rounds + 1):
            for server in servers:
                result = measure(server, point, options, server_cpu, client_cpu)
                runs[server.name].append(result)
                if not options.quiet:
                    print(f"  {point}, round {number}/{options.rounds}, {server.name}: "
                          f"{result['server']['cpu_us_per_message']:.2f} us/message, "
                          f"{result['server']['rss_bytes_per_connection']:,.0f} B/connection",
                          file=sys.stderr, flush=True)
        summary = summarise(point, runs)
        report["points"].append(summary)
        print_table(point, summary)
        sys.stdout.flush()
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
        print(f"\nall figures: {options.json}")


def main(program, run, parse_options):
    """Runs a benchmark, and returns its exit status; what goes wrong is one line."""
    def on_terminate(*_):
        raise Stopped

    signal.signal(signal.SIGTERM, on_terminate)
    try:
        run(parse_options(sys.argv[1:]))
    except SetupError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except RunFailed as error:
        print(f"{program}: FAILED: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, Stopped):
        print(f"{program}: stopped; its servers and clients are ended", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main("compare.py", run, parse_options))
