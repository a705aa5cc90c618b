"""Runs gdb in batch mode on test/gdb/subject.cc and on a core file of it. Exit status 77: there is no gdb, or it may not trace."""

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile

script, subject = map(os.path.abspath, sys.argv[1:])
if shutil.which("gdb") is None:
    print("there is no gdb here")
    sys.exit(77)


def gdb(*arguments):
    # Nobody is to look for debug information on the network, and no file of the user's is to be read.
    environment = {**os.environ, "DEBUGINFOD_URLS": ""}
    command = ["gdb", "-nx", "-batch", "-ex", "set debuginfod enabled off", "-ex", "set pagination off", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment, stdin=subprocess.DEVNULL)
    return run.stdout + run.stderr


failures = 0


def expect(text, pattern, what):
    global failures
    if re.search(pattern, text) is None:
        failures += 1
        print("%s: nothing like `%s` in:\n%s" % (what, pattern, text))


def look(text, what):
    for state in (r" (\d+)  bear +parked: sleep, \d+\.\d+ s", r"porter +parked: read on descriptor \d+", r"main +running on thread \d+"):
        expect(text, state, what)
    expect(text, r"3 fibers \(bear\), parked: sleep", what)
    expect(text, r"\n    hibernate\(\)", what)
    expect(text, r"\n    listen_at_the_door\(int\)", what)
    expect(text, r"there is no fiber 424242", what)


# gdb's own `gcore` gives up at guard pages, so the core file is the kernel's: the signal at which the subject stops for a
# debugger ends it when there is none.
def kernel_core(folder):
    """Its path, or None where the kernel hands core files to some other program."""
    with open("/proc/sys/kernel/core_pattern") as file:
        if "/" in file.read() or resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
            return None
    subprocess.run([subject], cwd=folder, timeout=60, preexec_fn=lambda: resource.setrlimit(
        resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2))
    return next((os.path.join(folder, name) for name in os.listdir(folder) if name.startswith("core")), None)


LOOK = ["-ex", "source " + script, "-ex", "info fibers", "-ex", "fibers bt", "-ex", "fiber 424242"]
live = gdb("-ex", "source " + script, "-ex", "run", *LOOK[2:], subject)
if "SIGTRAP" not in live:
    print("gdb may not trace a process here:\n" + live)
    sys.exit(77)
look(live, "live")
with tempfile.TemporaryDirectory() as folder:
    core = kernel_core(folder)
    if core is None:
        print("no core file is written here; the rest was looked at on the live process")
    else:
        dead = gdb(*LOOK, subject, core)
        look(dead, "core")
        bear = re.search(r"(\d+)  bear ", dead)
        if bear:
            one = gdb("-ex", "source " + script, "-ex", "fiber %s bt" % bear.group(1), subject, core)
            expect(one, r"fiber %s \(bear\), parked: sleep" % bear.group(1), "one fiber")
            expect(one, r"#\d+ +hibernate\(\)", "one fiber")
sys.exit(1 if failures else 0)
