"""The door of the HTTP stand-ins: reads a request, lets the vendor answer in a worker thread, performs faults.

What belongs here: bytes on the connection. What does not: which fault is in force (`faults`), and
what a vendor says (its own module).
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import Counter
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox.faults import Fault, FaultBook
from sandbox.wire import Call, Reply, StandIn

_TRANSPORT = "sandbox.transport"
_HTML = b"<!doctype html><title>Bad gateway</title><h1>We will be right back</h1>"
_DRIPS = 20


class SandboxProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with the connection within reach, so that a fault can end it."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_TRANSPORT: {"transport": self.transport}}


class VendorDoor:
    """One vendor as an ASGI application, mounted under its prefix. `calls` counts answers by what was called."""

    def __init__(self, vendor: StandIn, faults: FaultBook) -> None:
        self.vendor = vendor
        self._faults = faults
        self.calls: Counter[tuple[str, str, int]] = Counter()
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        call = await _read_call(scope, receive)
        query = scope.get("query_string", b"").decode()
        fault = self._faults.meet(self.vendor.name, call.method, f"{call.path}?{query}" if query else call.path)
        if fault is None:
            await _send_reply(send, await self._answer(call))
        else:
            await self._misbehave(fault, call, scope, receive, send)

    async def _answer(self, call: Call) -> Reply:
        reply = await run_in_threadpool(self.vendor.answer, call)
        self._count(call, reply.status)
        return reply

    def _count(self, call: Call, status: int) -> None:
        with self._lock:
            self.calls[call.method, call.path, status] += 1

    async def _misbehave(self, fault: Fault, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        match fault.kind:
            case "delay":
                if fault.after_effect:
                    reply = await self._answer(call)
                    await asyncio.sleep(fault.delay_s)
                else:
                    await asyncio.sleep(fault.delay_s)
                    reply = await self._answer(call)
                await _send_reply(send, reply)
            case "partial":
                await _send_reply(send, await self._answer(replace(call, failing_share=fault.share or 0.5)))
            case "slow_drip":
                await _drip(send, await self._answer(call), fault.delay_s)
            case "cut":
                await _send_half(send, await self._answer(call) if fault.after_effect else _stub(call))
                await _hang_up(scope, receive, abruptly=False)
            case "reset":
                if fault.after_effect:
                    await self._answer(call)
                await _hang_up(scope, receive, abruptly=True)
            case "status":
                if fault.after_effect:
                    await self._answer(call)
                self._count(call, fault.status)
                await _send_reply(send, Reply(fault.failure_body(), fault.status, fault.headers))
            case "wrong_type":
                if fault.after_effect:
                    await self._answer(call)
                headers = {"content-type": "text/html", **fault.headers}
                await _send_reply(send, Reply(_HTML, 200 if fault.status == 500 else fault.status, headers))


async def _read_call(scope: Scope, receive: Receive) -> Call:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    prefix = scope.get("root_path", "")
    host = headers.get("host", "127.0.0.1")
    return Call(
        method=scope["method"],
        path=scope["path"].removeprefix(prefix),
        query=parse_qs(scope.get("query_string", b"").decode(), keep_blank_values=True),
        headers=headers,
        body=body,
        base_url=f"{scope.get('scheme', 'http')}://{host}{prefix}",
    )


def _start(reply: Reply, length: int) -> Message:
    headers = {"content-type": "application/json; charset=utf-8", "content-length": str(length), **reply.headers}
    if reply.status == 204:
        headers = dict(reply.headers)
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": reply.status, "headers": pairs}


async def _send_reply(send: Send, reply: Reply) -> None:
    content = reply.content()
    await send(_start(reply, len(content)))
    await send({"type": "http.response.body", "body": content})


async def _drip(send: Send, reply: Reply, total_s: float) -> None:
    content = reply.content()
    await send(_start(reply, len(content)))
    size = max(1, len(content) // _DRIPS)
    for at in range(0, len(content), size):
        await asyncio.sleep(total_s / _DRIPS)
        await send({"type": "http.response.body", "body": content[at : at + size], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _stub(call: Call) -> Reply:
    """An answer to be cut for a call whose work is not done."""
    return Reply(orjson.dumps({"status": "ok", "results": [], "path": call.path}))


async def _send_half(send: Send, reply: Reply) -> None:
    """Promise more than is sent."""
    content = reply.content()
    await send(_start(reply, len(content) + 1))
    await send({"type": "http.response.body", "body": content[: len(content) // 2], "more_body": True})


async def _hang_up(scope: Scope, receive: Receive, *, abruptly: bool) -> None:
    """Close under the client's feet, and wait until it is done; abruptly, the peer sees a reset instead of an end."""
    transport: Any = scope["extensions"][_TRANSPORT]["transport"]
    if abruptly:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass
