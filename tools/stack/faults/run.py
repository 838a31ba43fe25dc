"""One fault: a replay on the real servers, a prober beside it, the fault in its middle, the verdict."""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import servers
import wire
from prober import Prober

SAMPLE = servers.ROOT / "bench" / "data" / "ubuntu-irc-sample.jsonl"
SUPERVISED = servers.HERE / "supervised.sh"
TYPESCRIPT = servers.ROOT / "clients" / "ts"
# Events a second; the replay's sample then takes some 40 s.
RATE = 75
# The fault comes after so many messages, and the prober's first seconds.
MESSAGES_BEFORE = 150
PROBES_BEFORE = 3
STARTS_WITHIN = 120
REPLAY_WITHIN = 400
# How long the prober goes on after the fault, should the replay end before.
PROBES_AFTER = 15


class Failed(Exception):
    """The fault could not be tried."""


class Run:
    def __init__(self, name, kind, stack, programs):
        self.name, self.kind, self.stack, self.programs = name, kind, stack, programs
        self.namespace = "f_" + uuid.uuid4().hex[:12]
        self.folder = stack.folder / "faults" / name
        self.began = self.ended = None
        self.notes = []
        self.link = self.prober = self.replay = None
        self.node_pid = self.node_address = None

    def begin(self):
        self.began = time.monotonic()

    def end(self, at=None):
        self.ended = at or time.monotonic()

    def note(self, text):
        self.notes.append(text)

    def check(self, holds, why):
        if not holds:
            raise Failed(why)

    def cluster_names(self):
        return [path.name for path in (self.stack.folder / "run").glob("redis-cluster-*")]

    def settings(self):
        """What makes a node run on the servers, as tools/stack-tests.sh has it."""
        have = self.stack.environment
        settings = {
            "CHIRM__NAMESPACE": self.namespace,
            "CHIRM__POSTGRES__URL": have["CHIRM_TEST_POSTGRES"],
            "CHIRM__CQL__NODES": have["CHIRM_TEST_CQL"],
            "CHIRM__REDIS__URLS": have["CHIRM_TEST_REDIS"],
            "CHIRM__REDIS__CLUSTER": "false",
        }
        if self.kind.on == "redis-cluster":
            settings["CHIRM__REDIS__URLS"] = have["CHIRM_TEST_REDIS_CLUSTER"]
            settings["CHIRM__REDIS__CLUSTER"] = "true"
        elif self.kind.on == "nats":
            settings["CHIRM__NATS__URLS"] = have["CHIRM_TEST_NATS"]
        if self.link:
            settings = {name: self.link.through(value) for name, value in settings.items()}
        return settings

    def start_replay(self, scratch):
        command = [self.programs / "chirm", "replay", SAMPLE, "--verify", "--via-bridge",
                   "--bridge-kills", "0", "--kills", str(self.kind.kills), "--rate", str(RATE),
                   "--history", self.folder / "history.jsonl"]
        if (TYPESCRIPT / "dist" / "index.js").exists():
            command += ["--ts-client", TYPESCRIPT]
        if self.kind.node or self.kind.has_clock:
            command += ["--program", SUPERVISED]
        environment = {**os.environ, **self.settings(), **self.kind.node, "TMPDIR": scratch,
                       "NODE_PROGRAM": self.programs / "chirm", "NODE_DEATHS": self.folder / "deaths.txt"}
        if self.kind.has_clock:
            self.set_clock(0)
            environment["NODE_CLOCK"] = self.folder / "clock.txt"
        self.replay = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True,
            stdout=open(self.folder / "replay.out", "w"), stderr=open(self.folder / "replay.err", "w"))

    def set_clock(self, seconds):
        """How far the node's wall clock is off from now on; a new file in one step, as it is read all the time."""
        new = self.folder / "clock.new"
        new.write_text(f"{seconds:+d}\n")
        new.rename(self.folder / "clock.txt")

    def deaths(self):
        """How often the node died by itself."""
        path = self.folder / "deaths.txt"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def node(self):
        """The process of the replay's node and its address; None: there is none."""
        children = Path(f"/proc/{self.replay.pid}/task")
        for path in children.glob("*/children"):
            try:
                pids = path.read_text().split()
                for pid in pids:
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                    if "serve" in words:
                        return int(pid), words[words.index("--listen") + 1]
            except OSError:
                continue
        return None

    def node_answers(self):
        """Waits until the node's port takes connections. Gives when."""
        end = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < end:
            self.check(self.replay.poll() is None, "the replay ended: " + self.said())
            node = self.node()
            if node:
                try:
                    probe = Prober.__new__(Prober)
                    probe.address = node[1]
                    probe.ask("GET", "/healthz", within=2)
                    self.node_pid, self.node_address = node
                    return time.monotonic()
                except OSError:
                    pass
            time.sleep(0.02)
        raise Failed("the node doesn't start")

    def said(self):
        return (self.folder / "replay.err").read_text()[-300:].strip()

    def play(self):
        """Gives what the fault did."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in self.folder.glob("*.*"):
            old.unlink()
        parts = ["postgres", "cql", "redis-cluster" if self.kind.on == "redis-cluster" else "redis"]
        self.stack.up(*parts, *(["nats"] if self.kind.on == "nats" else []))
        if self.kind.link:
            self.link = servers.Link(self.stack, self.kind.link)
        try:
            with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
                self.start_replay(scratch)
                try:
                    return self.around_the_fault(scratch)
                finally:
                    self.end_replay()
        finally:
            if self.link:
                self.link.close()
            self.forget()

    def around_the_fault(self, scratch):
        self.node_answers()
        # The node's log outlives the folder that the replay deletes.
        for log in Path(scratch).glob("*/bench.log"):
            os.link(log, self.folder / "node.log")
        self.prober = Prober(self.node_address)
        deadline = time.monotonic() + STARTS_WITHIN
        while self.prober.sent_by_node() < MESSAGES_BEFORE:
            self.check(self.replay.poll() is None, "the replay ended: " + self.said())
            self.check(time.monotonic() < deadline, "the replay doesn't begin")
            time.sleep(0.1)
        self.prober.start()
        time.sleep(PROBES_BEFORE)
        self.kind.act(self)
        self.check(self.replay.poll() is None, "the replay ended within the fault: " + self.said())
        # The node goes with the replay, so what it acknowledged to the prober is read before.
        time.sleep(PROBES_AFTER)
        self.check(self.replay.poll() is None, "the replay ended too soon after the fault: " + self.said())
        self.prober.stopping.set()
        self.prober.stop()
        found = {"probes": self.prober.differences(), "acked": len(self.prober.acked),
                 "unanswered": self.prober.unanswered}
        found |= self.prober.figures(self.began, self.ended)
        found["took"] = self.ended - self.began
        try:
            self.replay.wait(REPLAY_WITHIN)
        except subprocess.TimeoutExpired:
            raise Failed(f"the replay doesn't end within {REPLAY_WITHIN} s") from None
        return found | self.verdict()

    def verdict(self):
        lines = (self.folder / "replay.out").read_text().splitlines()
        summary = next((json.loads(line) for line in reversed(lines) if line.startswith("{")), None)
        self.check(summary is not None, "the replay gave no verdict: " + self.said())
        broken = [line for line in lines if re.match(r"(I\d+|history): ", line)]
        if summary["differences"] == 0:
            (self.folder / "history.jsonl").unlink()
        return {"replayed": summary["acked"], "events_s": summary["seconds"],
                "differences": summary["differences"], "broken": broken}

    def end_replay(self):
        """Its node and bridge are in its process group."""
        if self.prober:
            self.prober.stopping.set()
        try:
            os.killpg(self.replay.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.replay.wait()

    def forget(self):
        """Drops what the namespace had; Redis's keys expire, or are small."""
        try:
            wire.psql(self.stack.environment["CHIRM_TEST_POSTGRES"],
                      f"DROP SCHEMA IF EXISTS {self.namespace} CASCADE")
            cql = wire.Cql(self.stack.environment["CHIRM_TEST_CQL"])
            cql.run(f"DROP KEYSPACE IF EXISTS {self.namespace}")
            cql.close()
        except (OSError, wire.Refused, subprocess.SubprocessError) as error:
            self.note(f"its schema and keyspace {self.namespace} stay: {type(error).__name__}")
