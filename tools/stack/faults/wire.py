"""Just enough of the servers' protocols to break them, and to see when they answer again."""

import binascii
import socket
import struct
import subprocess
import urllib.parse


class Refused(Exception):
    """The server's answer is an error."""


class Redis:
    """A connection to one Redis, as the user of its address."""

    def __init__(self, url, within=5):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        self.user, self.password = parts.username, parts.password
        self.socket = socket.create_connection((self.host, self.port), timeout=within)
        self.file = self.socket.makefile("rb")
        self.do("AUTH", self.user, self.password)

    def do(self, *words):
        """Gives the answer: bytes, a number, None, or a list of such."""
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        command = b"*%d\r\n" % len(words)
        self.socket.sendall(command + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        return self._answer()

    def _answer(self):
        line = self.file.readline()
        if not line:
            raise ConnectionError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise Refused(rest.decode())
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self._answer() for _ in range(int(rest))]
        raise ValueError(f"Redis answers {line!r}")

    def info(self, section):
        lines = self.do("INFO", section).decode().split("\r\n")
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def close(self):
        self.file.close()
        self.socket.close()


class Cql:
    """A connection to a CQL server, version 4 of the protocol."""

    def __init__(self, address, within=20):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=within)
        option = b"".join(struct.pack(">H", len(text)) + text for text in (b"CQL_VERSION", b"3.0.0"))
        self._ask(1, b"\x00\x01" + option)

    def _ask(self, opcode, body):
        self.socket.sendall(struct.pack(">BBhBI", 4, 0, 0, opcode, len(body)) + body)
        _, _, _, opcode, length = struct.unpack(">BBhBI", self._read(9))
        body = self._read(length)
        if opcode == 0:
            raise Refused(body[6:].decode(errors="replace"))

    def _read(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise ConnectionError("the CQL server closed the connection")
            data += more
        return data

    def run(self, statement):
        text = statement.encode()
        self._ask(7, struct.pack(">I", len(text)) + text + b"\x00\x01\x00")

    def close(self):
        self.socket.close()


def psql(url, statement):
    """Runs a statement; passwords go by the environment, as arguments can be read by all."""
    parts = urllib.parse.urlsplit(url)
    address = f"{parts.scheme}://{parts.hostname}:{parts.port}{parts.path}"
    environment = {"PGUSER": parts.username, "PGPASSWORD": parts.password, "PGCONNECT_TIMEOUT": "5",
                   "PATH": "/usr/bin:/bin"}
    subprocess.run(["psql", "-Xqtw", "-d", address, "-c", statement], env=environment, timeout=30,
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def answers(part, environment):
    """Whether a server of the stack does what it is asked, in its own protocol."""
    try:
        if part == "postgres":
            psql(environment["CHIRM_TEST_POSTGRES"], "SELECT 1")
        elif part == "cql":
            connection = Cql(environment["CHIRM_TEST_CQL"], within=5)
            connection.run("SELECT key FROM system.local")
            connection.close()
        elif part == "nats":
            parts = urllib.parse.urlsplit(environment["CHIRM_TEST_NATS"])
            with socket.create_connection((parts.hostname, parts.port), timeout=5) as connection:
                return connection.recv(5) == b"INFO "
        else:
            for url in redis_urls(part, environment):
                connection = Redis(url)
                connection.do("PING")
                connection.close()
        return True
    except (OSError, Refused, subprocess.SubprocessError):
        return False


def redis_urls(part, environment):
    """The addresses of one Redis or of a cluster's, as who may do all."""
    name = "CHIRM_TEST_" + part.upper().replace("-", "_") + "_OPERATOR"
    return environment[name].split(",")


def topic_slot(channel):
    """A channel's slot on a cluster, by its group (server/src/bus/redis/keys.rs)."""
    group = ((channel * 0x9E3779B97F4A7C15) & (2**64 - 1)) >> 56
    return binascii.crc_hqx(str(group).encode(), 0) % 16384
