"""The least that can answer Blueshift's calls, so that the client is measured: `python -m benchmarks.endpoint`.

Prints its port, then takes every profile and every member, and keeps nothing.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvloop

ANSWERS = {
    b"POST /api/v1/customers": b'{"customers":[],"errors":[]}',
    b"POST /api/v1/custom_us": b'{"id":1}',
    b"PUT /api/v1/custom_use": b'{"status":"ok"}',
}
_LENGTH = b"content-length:"


class Endpoint(asyncio.Protocol):
    """One connection: requests with a content-length, answered in order."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end])
            lower = head.lower()
            at = lower.find(_LENGTH)
            length = int(lower[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            del self._buffer[: end + 4 + length]
            body = next((answer for start, answer in ANSWERS.items() if head.startswith(start)), b"{}")
            self._transport.write(  # type: ignore[attr-defined]
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            )


@contextmanager
def endpoint() -> Iterator[str]:
    """The endpoint in a process of its own; gives its base URL."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.endpoint"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Endpoint, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
