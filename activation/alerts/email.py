"""E-mail through SMTP: one message a row, with an id that a repeated sending keeps and threads that hold."""

from __future__ import annotations

import smtplib
import ssl
from contextlib import suppress
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

from activation.alerts.bounded import within
from activation.alerts.channels import Message, Sent
from lendloop.errors import ConfigurationError
from lendloop.settings import Settings

TIMEOUT_S = 20
"""From connecting to the server's last word."""
DOMAIN = "lendloop.invalid"
"""Of Message-IDs: it must stay the same for good, whatever the machine is called."""


class Email:
    """The server of LENDLOOP_SMTP_URL: `smtp://[user:password@]host:port` or `smtps://...`."""

    def __init__(self, settings: Settings) -> None:
        url = urlsplit(settings.smtp_url or "")
        if url.scheme not in ("smtp", "smtps") or not url.hostname:
            raise ConfigurationError("LENDLOOP_SMTP_URL must be smtp://[user:password@]host:port or smtps://...")
        self._tls = url.scheme == "smtps"
        self._host, self._port = url.hostname, url.port or (465 if self._tls else 25)
        self._user = unquote(url.username) if url.username else None
        self._password = unquote(url.password) if url.password else None

    def send(self, message: Message) -> Sent:
        mail = self._mail(message)
        try:
            within(TIMEOUT_S, lambda: self._hand_over(mail))
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            return Sent("failed" if all(code >= 500 for code in codes) else "retry", "the recipient was refused")
        except smtplib.SMTPNotSupportedError as error:
            return Sent("failed", f"the mail server lacks what is needed: {error}")
        except smtplib.SMTPResponseException as error:
            text = (
                error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
            )
            return Sent("failed" if error.smtp_code >= 500 else "retry", f"{error.smtp_code} {text}"[:200])
        except (smtplib.SMTPException, OSError) as error:
            return Sent("retry", f"no answer from the mail server: {error}"[:200])
        return Sent("sent", external_id=str(mail["Message-ID"]))

    def find(self, message: Message) -> Sent:
        return Sent("retry", "mail can't be looked up; a repeat carries the same Message-ID")

    def _hand_over(self, mail: EmailMessage) -> None:
        """Once the server has taken the mail it is sent, however the parting goes."""
        server = self.connect()
        try:
            server.send_message(mail)
        finally:
            with suppress(smtplib.SMTPException, OSError):
                server.quit()
            server.close()

    def connect(self, timeout_s: float = TIMEOUT_S) -> smtplib.SMTP:
        """A connection that may send: TLS, and signed in where there is a user. Raises OSError, SMTPException."""
        if self._tls:
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                self._host, self._port, timeout=timeout_s, context=ssl.create_default_context()
            )
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=timeout_s)
        if self._user:
            if not self._tls:
                server.starttls(context=ssl.create_default_context())
            server.login(self._user, self._password or "")
        return server

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = message.payload["subject"]
        mail["From"] = self._user if self._user and "@" in self._user else f"lendloop@{DOMAIN}"
        mail["To"] = message.target
        mail["Message-ID"] = f"<{message.uid}@{DOMAIN}>"
        if message.thread_key:
            mail["In-Reply-To"] = mail["References"] = f"<{message.thread_key}@{DOMAIN}>"
        mail.set_content(message.payload["body"])
        return mail
