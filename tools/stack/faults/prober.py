"""A user of the node under test: sends by REST ten times a second, and asks whether it is ready."""

import http.client
import json
import threading
import time
import uuid

EVERY = 0.1
SEND_WITHIN = 5
READY_WITHIN = 3
AGAIN_AFTER = 0.2
# A message without an answer is given up after so long; the replay's users have as much patience.
GIVE_UP_AFTER = 60
# Sends under way at once; beyond, a moment is left out.
UNDER_WAY_MAX = 200


def message_of(answer):
    """What an error's JSON says to people."""
    try:
        return json.loads(answer)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return answer[:100]


class Prober:
    """Everything is noted by time.monotonic()."""

    def __init__(self, address):
        self.address = address
        self.lock = threading.Lock()
        self.attempts = []  # (begin, end, what came: "" or why not)
        self.readiness = []  # (begin, end, whether it was ready)
        self.acked = {}  # nonce: the message's id
        self.unanswered = 0
        self.stopping = threading.Event()
        self.threads = []
        name = "prober" + uuid.uuid4().hex[:12]
        made = self.call("POST", "/v1/auth/register", {"username": name, "password": uuid.uuid4().hex})
        self.token = made["tokens"]["accessToken"]
        server = self.call("POST", "/v1/servers", {"name": "Probes"})
        self.channel = int(server["generalChannelId"])

    def call(self, method, path, body=None, within=20):
        status, answer = self.ask(method, path, body, within)
        if status != 200:
            raise RuntimeError(f"{method} {path}: {status} {answer[:200]}")
        return json.loads(answer)

    def ask(self, method, path, body=None, within=20):
        host, port = self.address.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=within)
        headers = {"content-type": "application/json"}
        if getattr(self, "token", None):
            headers["authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def start(self):
        for work in (self.send_on, self.look_on):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            self.threads.append(thread)

    def send_on(self):
        due, sends = time.monotonic(), []
        while not self.stopping.is_set():
            sends = [thread for thread in sends if thread.is_alive()]
            if len(sends) < UNDER_WAY_MAX:
                sends.append(threading.Thread(target=self.send, daemon=True))
                sends[-1].start()
            due = max(due + EVERY, time.monotonic() - 1)
            time.sleep(max(0, due - time.monotonic()))
        for thread in sends:
            thread.join()

    def send(self):
        nonce, begun, attempt = str(uuid.uuid4()), time.monotonic(), 0
        path = f"/v1/channels/{self.channel}/messages"
        while time.monotonic() - begun < GIVE_UP_AFTER:
            body = {"content": f"probe {nonce}", "nonce": nonce, "attempt": attempt}
            began, why, answer = time.monotonic(), "", ""
            try:
                status, answer = self.ask("POST", path, body, SEND_WITHIN)
                if status != 200:
                    why = f"{status} {message_of(answer)}"
            except (OSError, http.client.HTTPException) as error:
                why = f"{type(error).__name__}: {error}"
            with self.lock:
                self.attempts.append((began, time.monotonic(), why))
                if not why:
                    self.acked[nonce] = int(json.loads(answer)["message"]["id"])
                    return
            attempt += 1
            time.sleep(AGAIN_AFTER)
        with self.lock:
            self.unanswered += 1

    def look_on(self):
        while not self.stopping.is_set():
            began = time.monotonic()
            try:
                is_ready = self.ask("GET", "/readyz", within=READY_WITHIN)[0] == 200
            except (OSError, http.client.HTTPException):
                is_ready = False
            with self.lock:
                self.readiness.append((began, time.monotonic(), is_ready))
            time.sleep(max(0, EVERY - (time.monotonic() - began)))

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def sent_by_node(self):
        """Messages that the node made durable since its start."""
        text = self.ask("GET", "/metrics")[1]
        counts = [line.split()[1] for line in text.splitlines() if line.startswith("chirm_messages_sent_total")]
        return sum(float(count) for count in counts)

    def differences(self):
        """What history has of the acknowledged messages other than once under their nonce."""
        stored, after = {}, 0
        while True:
            page = self.call("GET", f"/v1/channels/{self.channel}/messages?after={after}&limit=100")
            for message in page.get("messages", []):
                stored.setdefault(message.get("nonce"), []).append(int(message["id"]))
                after = max(after, int(message["id"]))
            if not page.get("hasNewer"):
                break
        found = []
        for nonce, message in self.acked.items():
            if stored.get(nonce) != [message]:
                found.append(f"probe {nonce} was acknowledged as {message}; history has {stored.get(nonce)}")
        found += [f"probe {nonce} is in history {len(ids)} times" for nonce, ids in stored.items()
                  if len(ids) > 1 and nonce not in self.acked]
        return found

    def figures(self, began, ended):
        """By a fault's begin and end: how long what failed, in seconds; None: never well again."""
        with self.lock:
            attempts, readiness = list(self.attempts), list(self.readiness)
        acks = sorted(end for _, end, why in attempts if not why)
        failed = [attempt for attempt in attempts if attempt[2] and attempt[1] >= began]
        first_ack = next((at - ended for at in acks if at >= ended), None)
        around = [at for at in acks if at >= began - 2]
        silences = [later - earlier for earlier, later in zip(around, around[1:])]
        unready = [end for begin, end, is_ready in readiness if not is_ready and end >= began]
        last_unready = max(unready, default=0)
        ready = [end for begin, end, is_ready in readiness if is_ready and begin >= max(ended, last_unready)]
        is_well = last_unready < ended
        return {
            "failed_for": max(a[1] for a in failed) - min(a[0] for a in failed) if failed else 0.0,
            "failed": len(failed),
            "silence": max(silences, default=None),
            "first_ack": first_ack,
            "ready": 0.0 if is_well else (ready[0] - ended if ready else None),
            "unready": bool(unready),
            "reasons": sorted({attempt[2][:100] for attempt in failed})[:6],
        }
