#!/usr/bin/env python3
"""Pages of history on real servers (docs/performance.md): of a channel of a million messages, and of one with a message a
month, how long a page of 50 takes at its newest, middle and oldest end, and how many reads of CQL it makes.

Both channels come by `chirm export` and `chirm import`, so that their ids can be of any time. For tools/stack-bench.sh,
which sets what a node needs: stack-pages.py CHIRM [MESSAGES]
"""

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

PAGE = 50
TIMES = 60
# As many as there were since the first time that an id can tell: a server refuses ids of the future.
MONTHS = 22
EPOCH_MS = 1735689600000


class Server:
    """`chirm serve`, on one file in a folder or on the servers that the environment names."""

    def __init__(self, chirm, folder, environment):
        self.log = open(Path(folder) / "log", "a+b")
        command = [chirm, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data", folder]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, env=environment, text=True)
        for line in self.process.stdout:
            if line.startswith("chirm ready on "):
                self.url = line.split()[-1]
                return
        self.log.seek(0)
        raise SystemExit("the server didn't start:\n" + self.log.read().decode()[-2000:])

    def get(self, path, token=None, body=None):
        headers = {"authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            headers["content-type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=30) as answer:
            return answer.read()

    def call(self, path, token, body=None):
        return json.loads(self.get(path, token, body))

    def reads(self):
        name = 'chirm_cql_request_seconds_count{kind="read"}'
        lines = self.get("/metrics").decode().splitlines()
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith(name))

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)


def channels(chirm, folder, environment):
    """A deployment with two channels of one message each, exported: its lines, a key, and the channels."""
    server = Server(chirm, folder, environment)
    key = subprocess.run([chirm, "key", "create", "--data", folder, "--name", "pages", "--json"],
                         capture_output=True, check=True, text=True, env=environment)
    token = json.loads(key.stdout)["token"]
    made = []
    for name in ("busy", "quiet"):
        channel = server.call("/v1/servers", token, {"name": name})["generalChannelId"]
        server.call(f"/v1/channels/{channel}/messages", token, {"content": "word " * 20})
        made.append(int(channel))
    server.stop()
    exported = Path(folder) / "small.export"
    subprocess.run([chirm, "export", "--data", folder, exported], check=True, env=environment,
                   stdout=subprocess.DEVNULL)
    return exported.read_bytes().splitlines(keepends=True), token, made


def grown(lines, rows):
    """The export with these messages in place of its own: ids by channel, ascending."""
    total, sums, section = 0, [], None
    template = {}
    for line in lines:
        head = json.loads(line)
        if isinstance(head, list):
            if section == "messages":
                template[head[0]] = head
            else:
                if head[0] == "highest_id":
                    line = json.dumps([head[0], max(head[1], *map(max, rows.values()))], separators=(",", ":")).encode() + b"\n"
                hashed.update(line)
                count += 1
                yield line
        elif "section" in head:
            section, hashed, count = head["section"], hashlib.sha256(), 0
            yield line
        elif "end" in head:
            if section == "messages":
                for channel in sorted(rows):
                    row = template[channel]
                    for number in rows[channel]:
                        row[1] = number
                        text = json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
                        hashed.update(text)
                        count += 1
                        yield text
            total += count
            sums.append(hashed.hexdigest())
            end = {"end": section, "rows": count, "sha256": sums[-1]}
            yield json.dumps(end, separators=(",", ":")).encode() + b"\n"
        elif "done" in head:
            whole = hashlib.sha256("".join(sums).encode()).hexdigest()
            done = {"done": True, "rows": total, "sha256": whole}
            yield json.dumps(done, separators=(",", ":")).encode() + b"\n"
        else:
            yield line


def at(ms):
    return (int(ms) - EPOCH_MS) << 22


def measure(server, token, channel, ids):
    places = (("newest", ""), ("middle", f"&before={ids[len(ids) // 2]}"),
              ("oldest", f"&before={ids[min(PAGE, len(ids) - 1)]}"))
    path = f"/v1/channels/{channel}/messages?limit={PAGE}"
    first = None
    for name, anchor in places:
        took, before = [], server.reads()
        for _ in range(TIMES):
            begun = time.perf_counter()
            page = server.call(path + anchor, token)
            took.append(time.perf_counter() - begun)
        reads = (server.reads() - before) / TIMES
        median = statistics.median(took) * 1000
        first = first or median
        print(f"  {name}: {len(page['messages'])} messages, median {median:.2f} ms ({median / first:.2f} of the newest's), "
              f"{reads:.1f} reads of CQL")


def main():
    chirm, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    alone = {name: value for name, value in os.environ.items() if not name.startswith("CHIRM__")}
    with tempfile.TemporaryDirectory() as folder:
        lines, token, (busy, quiet) = channels(chirm, folder, alone)
        now = time.time() * 1000
        # A year of them, evenly; and one a month, from the first time on that ids can tell.
        rows = {busy: [at(now - 365 * 86400e3 * (count - n) / count) for n in range(count)],
                quiet: [at(EPOCH_MS + (30 * n + 1) * 86400e3) for n in range(MONTHS)]}
        file = Path(folder) / "large.export"
        with open(file, "wb") as out:
            out.writelines(grown(lines, rows))
        begun = time.monotonic()
        subprocess.run([chirm, "import", file], check=True, stdout=subprocess.DEVNULL)
        print(f"imported {count + MONTHS} messages in {time.monotonic() - begun:.0f} s")
        server = Server(chirm, folder, os.environ)
        try:
            for name, channel in (("a busy channel", busy), ("a channel with a message a month", quiet)):
                print(f"{name} ({len(rows[channel])} messages):")
                measure(server, token, channel, rows[channel])
        finally:
            server.stop()


if __name__ == "__main__":
    main()
