"""The SMTP sink: takes every message, keeps it, and misbehaves like the other stand-ins.

It offers AUTH and takes any credentials; nothing is relayed.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import random
import struct
from email.message import EmailMessage
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from sandbox.arrivals import Arrivals, dump
from sandbox.faults import Fault, FaultBook

_LOOK_S = 0.05
"""How often a silent server looks whether its client has gone."""


class MailSink:
    """Keeps each message once for every time it was accepted: a Message-ID seen twice stays visible."""

    def __init__(self, arrivals: Arrivals, faults: FaultBook, seed: int = 0) -> None:
        self._arrivals, self._faults = arrivals, faults
        self._random = random.Random(seed)
        self.received = 0

    async def start(self, host: str, port: int) -> asyncio.Server:
        """Listen on the running loop."""
        loop = asyncio.get_running_loop()

        def protocol() -> Any:
            return SMTP(self, auth_require_tls=False, authenticator=_anybody, ident="sandbox", hostname="sandbox.local")

        return await loop.create_server(protocol, host, port)

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        fault = self._faults.meet("smtp", "RCPT", address) if self._has("partial") else None
        if fault is not None and self._random.random() < (fault.share or 0.5):
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802
        fault = None if self._has("partial") else self._faults.meet("smtp", "DATA", ",".join(envelope.rcpt_tos))
        if fault is None:
            self._keep(envelope)
            return "250 2.0.0 OK"
        return await self._misbehave(fault, server, envelope)

    def _has(self, kind: str) -> bool:
        return any(
            one["system"] == "smtp" and one["kind"] == kind and one["left"] != 0 for one in self._faults.listing()
        )

    async def _misbehave(self, fault: Fault, server: Any, envelope: Envelope) -> str:
        if fault.after_effect:
            self._keep(envelope)
        if fault.kind == "delay":
            await asyncio.sleep(fault.delay_s)
            if not fault.after_effect:
                self._keep(envelope)
            return "250 2.0.0 OK"
        if fault.kind in ("cut", "reset"):
            connection = server.transport.get_extra_info("socket")
            if fault.kind == "reset" and connection is not None:
                connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            server.transport.abort()
            return ""
        if fault.kind == "silence":
            while not server.transport.is_closing():
                await asyncio.sleep(_LOOK_S)
            return ""
        if fault.kind == "rate_limit":
            return "451 4.7.1 too many messages, try again later"
        if fault.kind == "expired":
            return "530 5.7.0 authentication required"
        return f"{fault.status} sandbox fault"

    def _keep(self, envelope: Envelope) -> None:
        content = envelope.original_content or b""
        kept = {"mail_from": envelope.mail_from, "rcpt_to": list(envelope.rcpt_tos), **parse_mail(content)}
        self.received += 1
        self._arrivals.write("insert into mail (as_of, body) values (?, ?)", [(self._arrivals.now(), dump(kept))])
        self._arrivals.add_event("smtp", "message", kept)


def parse_mail(content: bytes) -> dict[str, Any]:
    """A raw message as sender, recipients, subject, thread headers and its text and HTML parts."""
    message = email.message_from_bytes(content, _class=EmailMessage, policy=email.policy.default)
    texts: dict[str, str | None] = {}
    for kind in ("plain", "html"):
        part = message.get_body((kind,))
        texts[kind] = part.get_content() if part is not None else None
    found = {name: _header(message, name) for name in ("From", "To", "Cc", "Subject", "Date", "Message-ID")}
    found |= {name: _header(message, name) for name in ("In-Reply-To", "References")}
    return {
        **{name.lower().replace("-", "_"): value for name, value in found.items()},
        "text": texts["plain"],
        "html": texts["html"],
        "size": len(content),
    }


def _header(message: EmailMessage, name: str) -> str | None:
    value = message[name]
    return None if value is None else str(value)


def _anybody(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=True)
