"""The door of the HTTP stand-ins: reads a request, lets the vendor answer in a worker thread, performs faults.

What belongs here: bytes on the connection. What does not: which fault is in force (`faults`), and
what a vendor says (its own module).
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox.faults import Fault, FaultBook
from sandbox.paging import asks_for_more, leading_past, next_call
from sandbox.refusals import refusal
from sandbox.skew import clock_off_by, off_by_s
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
        self._last: dict[tuple[str, str], Reply] = {}
        """The last reply by method and path, for a page that is to be repeated."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        call = await _read_call(scope, receive)
        query = scope.get("query_string", b"").decode()
        fault = self._faults.meet(self.vendor.name, call.method, f"{call.path}?{query}" if query else call.path)
        if fault is None:
            await _send_reply(send, self._keep(call, await self._answer(call)))
        else:
            await self._misbehave(fault, call, scope, receive, send)

    async def _answer(self, call: Call) -> Reply:
        reply = await run_in_threadpool(self.vendor.answer, call)
        self._count(call, reply.status)
        return reply

    def _keep(self, call: Call, reply: Reply) -> Reply:
        self._last[call.method, call.path] = reply
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
                await _drip(scope, send, await self._answer(call), fault.delay_s)
            case "silence":
                if fault.after_effect:
                    await self._answer(call)
                await _until_gone(receive)
            case "cut":
                reply = await self._answer(call) if fault.after_effect else _stub(call)
                await _send_half(scope, send, reply, fault.inside)
                if fault.inside != "gzip":
                    await _hang_up(scope, receive, abruptly=False)
            case "reset":
                if fault.after_effect:
                    await self._answer(call)
                await _hang_up(scope, receive, abruptly=True)
            case "status" | "rate_limit" | "expired":
                if fault.after_effect:
                    await self._answer(call)
                reply = refusal(fault, call)
                self._count(call, reply.status)
                await _send_reply(send, reply)
            case "wrong_type":
                if fault.after_effect:
                    await self._answer(call)
                headers = {"content-type": "text/html", **fault.headers}
                await _send_reply(send, Reply(_HTML, 200 if fault.status == 500 else fault.status, headers))
            case "page_repeated":
                before = self._last.get((call.method, call.path)) if asks_for_more(call) else None
                await _send_reply(send, before or self._keep(call, await self._answer(call)))
            case "page_missing":
                await _send_reply(send, await self._skipping(call))
            case "skew":
                with clock_off_by(fault.skew_s):
                    await _send_reply(send, await self._answer(call))

    async def _skipping(self, call: Call) -> Reply:
        """A page whose cursor leads past the next one; the last page is as it is."""
        page = await self._answer(call)
        following = next_call(call, page)
        if following is None:
            return page
        return leading_past(page, await run_in_threadpool(self.vendor.answer, following))


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
    headers["date"] = format_datetime(datetime.now(UTC) + timedelta(seconds=off_by_s()), usegmt=True)
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": reply.status, "headers": pairs}


async def _send_reply(send: Send, reply: Reply) -> None:
    content = reply.content()
    await send(_start(reply, len(content)))
    await send({"type": "http.response.body", "body": content})


async def _drip(scope: Scope, send: Send, reply: Reply, total_s: float) -> None:
    """Send the answer in small parts, for as long as somebody listens."""
    content = reply.content()
    await send(_start(reply, len(content)))
    size = max(1, len(content) // _DRIPS)
    for at in range(0, len(content), size):
        await asyncio.sleep(total_s / _DRIPS)
        if _transport(scope).is_closing():
            return
        await send({"type": "http.response.body", "body": content[at : at + size], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _stub(call: Call) -> Reply:
    """An answer to be cut for a call whose work is not done."""
    return Reply(orjson.dumps({"status": "ok", "results": [], "path": call.path}))


async def _send_half(scope: Scope, send: Send, reply: Reply, inside: str) -> None:
    """Promise more than is sent: of the body, of a chunk, or of what is packed in a body that is whole by its length."""
    content = reply.content()
    if inside == "gzip":
        packed = gzip.compress(content)
        half = packed[: len(packed) // 2]
        await _send_reply(send, Reply(half, reply.status, {**reply.headers, "content-encoding": "gzip"}))
    elif inside == "chunk":
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        _transport(scope).write(head + f"{len(content):x}\r\n".encode() + content[: len(content) // 2])
    else:
        await send(_start(reply, len(content) + 1))
        await send({"type": "http.response.body", "body": content[: len(content) // 2], "more_body": True})


def _transport(scope: Scope) -> Any:
    return scope["extensions"][_TRANSPORT]["transport"]


async def _hang_up(scope: Scope, receive: Receive, *, abruptly: bool) -> None:
    """Close under the client's feet, and wait until it is done; abruptly, the peer sees a reset instead of an end."""
    transport = _transport(scope)
    if abruptly:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
    await _until_gone(receive)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
