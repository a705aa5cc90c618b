"""Opens the page of `roost echo --metrics` in headless Chromium and looks at what became of it, at two widths, light and dark; and
when the server is gone.

    top_page.py ROOST SCREENSHOTS

Pictures go into the folder SCREENSHOTS, for people. Exit status 77: there is no Chromium here.
"""

import os
import re
import socket
import subprocess
import sys
import threading

import browser

roost, screenshots = sys.argv[1:]
if browser.find() is None:
    print("there is no Chromium here")
    sys.exit(77)
os.makedirs(screenshots, exist_ok=True)

echo = subprocess.Popen([roost, "echo", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--processes", "2", "--report-interval", "0",
                         "--max-connections", "600"],
                        stdout=subprocess.PIPE, text=True)
failures = []
stop = threading.Event()


def talk(clients):
    """Some life for the charts."""
    while not stop.wait(0.02):
        for client in clients[:40]:
            client.sendall(b"hello\n")
            client.recv(16)


def expect(holds, what):
    if not holds:
        failures.append(what)


# Of each page: an expression, and what it means.
CONDITIONS = [
    ("document.documentElement.dataset.charts === '6'", "six charts are drawn"),
    ("document.documentElement.dataset.error === undefined", "no script fails"),
    ("document.documentElement.scrollWidth <= document.documentElement.clientWidth", "the page is as wide as the window"),
    ("document.getElementById('cards').textContent.includes('150connections')", "the connections are told"),
    ("document.getElementById('waits').textContent.includes('listening on 127.0.0.1:')", "the fibers that wait longest are listed"),
    ("document.getElementById('groups').textContent.includes('roost::echo::Server::serve')", "stacks are listed"),
    ("document.getElementById('workers').textContent.includes('1.0')", "each process's workers are listed"),
    ("document.getElementById('limits').textContent.includes('descriptors')", "limits are listed"),
    ("document.getElementById('limits').textContent.includes('connections150600 25 %')", "and how near the limit of connections is"),
    ("document.getElementById('trouble').hidden", "no trouble is told"),
]

try:
    listening = echo.stdout.readline()
    served = echo.stdout.readline()
    port = int(re.search(r"listening on 127\.0\.0\.1:(\d+)", listening).group(1))
    url = re.search(r"(http://\S+)/metrics", served).group(1) + "/"
    clients = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(150)]
    talker = threading.Thread(target=talk, args=(clients,))
    talker.start()
    with browser.Browser() as chromium:
        for width in (400, 1600):
            for dark in (False, True):
                name = "%d px, %s" % (width, "dark" if dark else "light")
                page = chromium.open(url, width, 1000, dark)
                expect(page.wait_for("Number(document.documentElement.dataset.looks ?? 0) >= 3"), "it asks again and again: " + name)
                # A rate wants two looks at figures that the processes tell once a second.
                expect(page.wait_for(r"/[1-9]\d*\/smessages/.test(document.getElementById('cards').textContent)"), "the rate of messages is told: " + name)
                for condition, meaning in CONDITIONS:
                    expect(page.evaluate(condition) is True, meaning + ": " + name)
                picture = os.path.join(screenshots, "top-%d-%s.png" % (width, "dark" if dark else "light"))
                page.screenshot(picture)
                expect(os.path.getsize(picture) > 10_000, "a picture is taken: " + name)
                if (width, dark) != (1600, True):
                    page.close()
        stop.set()
        talker.join()
        echo.terminate()
        echo.wait(timeout=30)
        expect(page.wait_for("!document.getElementById('trouble').hidden"), "a server that is gone is said to be")
        page.screenshot(os.path.join(screenshots, "top-1600-gone.png"))
finally:
    stop.set()
    echo.kill()
    echo.wait()

for failure in failures:
    print("not true: " + failure)
sys.exit(1 if failures else 0)
