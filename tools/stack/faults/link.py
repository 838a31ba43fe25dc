"""A network between a node and a server: passes bytes on, at once, late, or not at all.

Run as a program: `link.py HOST:PORT [cql]`. It prints its own port, and then does what each line of its
standard input says: `pass`, `slow` (each way takes so much longer), `cut` (all connections are reset,
new ones refused), `lie` (every second write that a CQL server confirms is answered as one that took too
long; for such a server alone). It ends with its input.
"""

import asyncio
import socket
import struct
import sys

SLOWER = 0.2
READ = 65536
# Bytes under way in one direction, in reads: beyond, the sender waits as on a full line.
UNDER_WAY_MAX = 256


class Frames:
    """The frames of a CQL server's answers (version 4 of the protocol), with a lie among them when asked."""

    HEADER = struct.Struct(">BBhBI")
    ERROR, RESULT, VOID = 0x00, 0x08, struct.pack(">I", 1)

    def __init__(self):
        self.data = b""
        self.confirmed = 0

    def feed(self, data, lying):
        """The whole frames that are there, as they are to go on."""
        self.data += data
        out = []
        while len(self.data) >= self.HEADER.size:
            version, flags, stream, opcode, length = self.HEADER.unpack_from(self.data)
            end = self.HEADER.size + length
            if len(self.data) < end:
                break
            frame, self.data = self.data[:end], self.data[end:]
            # What changes something and has no condition is answered by no rows.
            if lying and opcode == self.RESULT and frame[self.HEADER.size:] == self.VOID:
                self.confirmed += 1
                if self.confirmed % 2:
                    frame = self.timed_out(version, flags, stream)
            out.append(frame)
        return b"".join(out)

    def timed_out(self, version, flags, stream):
        text, kind = b"Operation timed out", b"SIMPLE"
        body = struct.pack(f">IH{len(text)}sHIIH{len(kind)}s", 0x1100, len(text), text, 1, 0, 1, len(kind), kind)
        return self.HEADER.pack(version, flags, stream, self.ERROR, len(body)) + body


class Link:
    def __init__(self, host, port, is_cql):
        self.upstream = (host, port)
        self.is_cql, self.lying = is_cql, False
        self.delay = 0.0
        self.open = set()
        self.server = None
        self.port = 0

    async def listen(self):
        self.server = await asyncio.start_server(self.pair, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def pair(self, reader, writer):
        try:
            there = await asyncio.open_connection(*self.upstream)
        except OSError:
            reset(writer)
            return
        pairs = ((reader, there[1], None), (there[0], writer, Frames() if self.is_cql else None))
        for end in (writer, there[1]):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open.add(end)
        await asyncio.gather(*(self.one_way(*pair) for pair in pairs))
        self.open.discard(writer)
        self.open.discard(there[1])

    async def one_way(self, reader, writer, frames):
        queue = asyncio.Queue(UNDER_WAY_MAX)
        sending = asyncio.create_task(self.send(queue, writer))
        data = True
        while data:
            try:
                data = await reader.read(READ)
            except OSError:
                data = b""
            passed = frames.feed(data, self.lying) if frames and data else data
            if passed or not data:
                await queue.put((asyncio.get_running_loop().time() + self.delay, passed))
        await sending

    async def send(self, queue, writer):
        while True:
            due, data = await queue.get()
            wait = due - asyncio.get_running_loop().time()
            if wait > 0:
                await asyncio.sleep(wait)
            try:
                if not data:
                    writer.close()
                    return
                writer.write(data)
                await writer.drain()
            except OSError:
                # The other side is read to its end all the same, so that its task ends.
                if not data:
                    return

    async def cut(self):
        if self.server is not None:
            self.server.close()
            self.server = None
        for writer in list(self.open):
            reset(writer)
        self.open.clear()

    async def do(self, word):
        if word == "cut":
            await self.cut()
            return
        self.delay = SLOWER if word == "slow" else 0.0
        self.lying = word == "lie"
        if self.server is None:
            await self.listen()


def reset(writer):
    """Ends a connection as a broken line does, without a goodbye."""
    linger = struct.pack("ii", 1, 0)
    try:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    except OSError:
        pass
    writer.transport.abort()


async def main():
    host, port = sys.argv[1].rsplit(":", 1)
    link = Link(host, int(port), sys.argv[2:] == ["cql"])
    await link.listen()
    print(link.port, flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        await link.do(line.strip())
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
