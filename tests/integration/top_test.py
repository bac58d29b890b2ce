"""`cyxwiz top` on a real terminal (a pty): what it shows, its keys, another size, and a plain table in a pipe."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from services import binary  # noqa: E402
from worker import jobs, world  # noqa: E402, F401

ESCAPE = re.compile(rb"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>])")


class Terminal:
    def __init__(self, command, lines, columns):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            # With an environment of its own: pytest's readline has put a size into this process's, which ncurses heeds.
            environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8"}
            os.execve(command[0], [str(word) for word in command], environment)
        self.resize(lines, columns)
        self.raw = b""

    def resize(self, lines, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys):
        """With Ctrl-L behind, so that the whole screen is written, and not what changed on it."""
        self.raw = b""
        os.write(self.fd, keys.encode() + b"\x0c")

    def read(self, seconds) -> bool:
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        try:
            self.raw += (more := os.read(self.fd, 65536))
        except OSError:  # the other side is gone
            return False
        return bool(more)

    def expect(self, words, seconds=15):
        """Until these words have been written, escape sequences aside."""
        end = time.monotonic() + seconds
        while words not in ESCAPE.sub(b"", self.raw).decode(errors="replace"):
            assert time.monotonic() < end, self.raw[-3000:]
            self.read(0.2)

    def end(self) -> int:
        while self.read(10):
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_top__shows_sorts_resizes_and_quits(world, jobs):
    world.start_worker(NODE_NAME="Büro")
    job_id = jobs.submit(name="watched", epochs=1000)
    jobs.stepping(job_id)
    waiting = jobs.submit(name="too large", resources={"host_memory_bytes": 1 << 49})
    command = [binary("cyxwiz"), "top", "--url", world.url, "--token", jobs.key, "--interval", "1"]
    terminal = Terminal(command, 24, 80)
    terminal.expect("nodes: 1 online, 1 in all   jobs: 1 running, 1 waiting")
    terminal.expect("Büro")
    terminal.expect("watched")
    terminal.expect("main memory")  # why the other one waits
    assert b"\x1b[32m" in terminal.raw  # in colour
    terminal.press("s")
    terminal.expect("STATUSv")
    terminal.press("r")
    terminal.expect("STATUS^")
    terminal.press("\t" + "s")
    terminal.expect("PROGRESSv")
    terminal.resize(40, 120)
    terminal.expect("SANDBOX")  # there is room now
    terminal.press("q")
    assert terminal.end() == 0
    assert b"\x1b[?1049l" in terminal.raw  # the screen is as it was before

    once = world.cyxwiz("top", token=jobs.key)
    assert "\x1b" not in once and "Büro" in once and "watched" in once and "bubblewrap" in once or "landlock" in once
    for ending in (waiting, job_id):
        assert jobs.client.call("POST", f"/api/v1/jobs/{ending}/cancel").status == 200
        jobs.end(ending)


def test_top__says_that_the_gateway_went_away_and_goes_on(world, jobs):
    terminal = Terminal([binary("cyxwiz"), "top", "--url", world.url, "--token", jobs.key, "--interval", "1"], 24, 80)
    terminal.expect("nodes: ")
    world.running["gateway"].send_signal(signal.SIGSTOP)
    terminal.press("q")
    assert terminal.end() == 0  # it does not wait for an answer
    world.running["gateway"].send_signal(signal.SIGCONT)
    away = Terminal([binary("cyxwiz"), "top", "--url", "http://127.0.0.1:1", "--token", "cyx_x"], 24, 80)
    away.expect("cannot reach")
    assert away.end() == 5
