"""The stack's servers as things to break: started, ended, killed, frozen, cut off."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import wire

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
STACK_SH = ROOT / "tools" / "stack.sh"
UP_WITHIN = 180


def runs(pid):
    """Whether a process is there, and not only its exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Stack:
    def __init__(self):
        self.folder = Path(os.environ.get("CHIRM_STACK") or ROOT / ".stack").resolve()
        self.environment = {}

    def call(self, *words, within=UP_WITHIN):
        done = subprocess.run([STACK_SH, *words], timeout=within, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"tools/stack.sh {' '.join(words)}: {done.stderr.strip()[-400:]}")
        return done.stdout

    def up(self, *parts):
        self.call("up", *parts)
        for line in self.call("env").splitlines():
            name, value = line.removeprefix("export ").split("=", 1)
            self.environment[name] = shlex.split(value)[0]

    def up_until_it_answers(self, part):
        """Starts a part; returns when it does what it is asked."""
        starting = subprocess.Popen([STACK_SH, "up", part], stdout=subprocess.DEVNULL,
                                    stderr=subprocess.PIPE, text=True)
        try:
            end = time.monotonic() + UP_WITHIN
            while not wire.answers(part, self.environment):
                if starting.poll() or time.monotonic() > end:
                    raise RuntimeError(f"{part} doesn't come back")
                time.sleep(0.05)
            return time.monotonic()
        finally:
            _, said = starting.communicate(timeout=UP_WITHIN)
            if starting.returncode != 0:
                raise RuntimeError(f"{part} doesn't come back: {said.strip()[-400:]}")

    def pid(self, name):
        return int((self.folder / "run" / name).read_text().split()[0])

    def pids(self, name):
        """A server's process with those that it started."""
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                except OSError:
                    continue
                parents.setdefault(int(stat[1]), []).append(int(entry.name))
        found = [self.pid(name)]
        for pid in found:
            found += parents.get(pid, [])
        return found

    def signal(self, name, number):
        for pid in self.pids(name):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def freeze(self, name, seconds):
        self.signal(name, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            self.signal(name, signal.SIGCONT)

    def kill(self, name):
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        # Postgres takes one whose exit status nobody read yet for one that runs.
        end = time.monotonic() + 30
        while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
            time.sleep(0.02)

    def address(self, part):
        """host:port of a part that is one server."""
        value = self.environment["CHIRM_TEST_" + part.upper()]
        return value.rsplit("@", 1)[-1].split("/")[0]


class Link:
    """A network between the node and one part, by link.py."""

    def __init__(self, stack, part):
        self.upstream = stack.address(part)
        self.process = subprocess.Popen([sys.executable, HERE / "link.py", self.upstream, part], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.address = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def through(self, value):
        """The setting with this address in the place of the server's own."""
        return value.replace(self.upstream, self.address)

    def do(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def close(self):
        self.process.kill()
        self.process.communicate()
