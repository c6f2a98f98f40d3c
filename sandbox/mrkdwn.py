"""Slack's mrkdwn as safe HTML, the way a client draws it: emphasis, links, mentions, lists, code, emoji."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import UTC, datetime

from markupsafe import Markup

EMOJI = {
    "rotating_light": "🚨", "warning": "⚠️", "white_check_mark": "✅", "heavy_check_mark": "✔️", "x": "❌",
    "bell": "🔔", "no_bell": "🔕", "mute": "🔇", "information_source": "ℹ️", "fire": "🔥", "eyes": "👀",
    "red_circle": "🔴", "large_orange_circle": "🟠", "large_yellow_circle": "🟡", "large_green_circle": "🟢",
    "large_blue_circle": "🔵", "large_purple_circle": "🟣", "white_circle": "⚪", "black_circle": "⚫",
    "large_red_square": "🟥", "large_orange_square": "🟧", "large_yellow_square": "🟨", "large_green_square": "🟩",
    "large_orange_diamond": "🔶", "large_blue_diamond": "🔷", "small_red_triangle": "🔺",
    "small_red_triangle_down": "🔻", "chart_with_upwards_trend": "📈", "chart_with_downwards_trend": "📉",
    "bar_chart": "📊", "moneybag": "💰", "money_with_wings": "💸", "credit_card": "💳", "bank": "🏦",
    "hourglass": "⌛", "hourglass_flowing_sand": "⏳", "stopwatch": "⏱️", "alarm_clock": "⏰", "clock3": "🕒",
    "calendar": "📆", "date": "📅", "zzz": "💤", "ticket": "🎫", "envelope": "✉️", "email": "📧",
    "inbox_tray": "📥", "outbox_tray": "📤", "incoming_envelope": "📨", "package": "📦", "link": "🔗",
    "mag": "🔍", "wrench": "🔧", "hammer_and_wrench": "🛠️", "gear": "⚙️", "electric_plug": "🔌", "plug": "🔌",
    "satellite": "📡", "arrow_up": "⬆️", "arrow_down": "⬇️", "arrow_right": "➡️", "arrow_left": "⬅️",
    "arrows_counterclockwise": "🔄", "repeat": "🔁", "leftwards_arrow_with_hook": "↩️", "new": "🆕", "ok": "🆗",
    "sos": "🆘", "no_entry": "⛔", "no_entry_sign": "🚫", "octagonal_sign": "🛑", "construction": "🚧",
    "lock": "🔒", "key": "🔑", "shield": "🛡️", "bust_in_silhouette": "👤", "busts_in_silhouette": "👥",
    "wave": "👋", "tada": "🎉", "thumbsup": "👍", "+1": "👍", "thumbsdown": "👎", "-1": "👎", "star": "⭐",
    "bulb": "💡", "pushpin": "📌", "label": "🏷️", "memo": "📝", "clipboard": "📋", "books": "📚",
    "triangular_flag_on_post": "🚩", "dart": "🎯", "bug": "🐛", "robot_face": "🤖", "house": "🏠", "speech_balloon": "💬",
}  # fmt: skip
"""The shortcodes that messages of a data hub use; others are shown as they were written."""

_CODE = re.compile(r"```(.+?)```|`([^`\n]+)`", re.DOTALL)
_ANGLE = re.compile(r"<([^<>\n]+)>")
_EMPHASIS = (
    (re.compile(r"(?<![\w*])\*(?=\S)([^*\n]+?)(?<=\S)\*(?![\w*])"), r"<strong>\1</strong>"),
    (re.compile(r"(?<![\w_])_(?=\S)([^_\n]+?)(?<=\S)_(?![\w_])"), r"<em>\1</em>"),
    (re.compile(r"(?<![\w~])~(?=\S)([^~\n]+?)(?<=\S)~(?![\w~])"), r"<del>\1</del>"),
)
_SHORTCODE = re.compile(r":([a-z0-9_+\-]+):")
_QUOTE = re.compile(r"(?:^&gt; ?[^\n]*(?:\n|\Z))+", re.MULTILINE)


def render_emoji(text: str) -> str:
    """Known `:shortcodes:` as emoji."""
    return _SHORTCODE.sub(lambda found: EMOJI.get(found[1], found[0]), text)


def render_plain(text: str) -> Markup:
    """A `plain_text` object: emoji, nothing else."""
    return Markup(_breaks(html.escape(render_emoji(_sent(text)))))  # noqa: S704


def render_mrkdwn(text: str) -> Markup:
    """A `mrkdwn` text as HTML. Whatever is not Slack's own markup is escaped."""
    kept: list[str] = []

    def keep(markup: str) -> str:
        kept.append(markup)
        return f"\x00{len(kept) - 1}\x00"

    text = text.replace("\x00", "")
    text = _CODE.sub(lambda found: keep(_code(found)), text)
    text = _ANGLE.sub(lambda found: keep(_angle(found[1])), text)
    text = html.escape(_sent(text), quote=False)
    for pattern, markup in _EMPHASIS:
        text = pattern.sub(markup, text)
    text = render_emoji(text)
    text = _QUOTE.sub(_quote(keep), text)
    text = _breaks(text)
    while "\x00" in text:
        text = re.sub("\x00(\\d+)\x00", lambda found: kept[int(found[1])], text)
    return Markup(text)  # noqa: S704


def _sent(text: str) -> str:
    """Undo the three escapes that senders must make."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _breaks(text: str) -> str:
    return text.replace("\n", "<br>")


def _code(found: re.Match[str]) -> str:
    if found[1] is not None:
        return f"<pre>{html.escape(_sent(found[1].strip(chr(10))), quote=False)}</pre>"
    return f"<code>{html.escape(_sent(found[2]), quote=False)}</code>"


def _quote(keep: Callable[[str], str]) -> Callable[[re.Match[str]], str]:
    def quote(found: re.Match[str]) -> str:
        lines = [line.removeprefix("&gt;").strip() for line in found[0].rstrip("\n").split("\n")]
        return keep(f"<blockquote>{'<br>'.join(lines)}</blockquote>")

    return quote


def _angle(inner: str) -> str:
    """`<...>`: a link, a mention, a channel, a date."""
    target, _, label = inner.partition("|")
    shown = html.escape(_sent(label), quote=False)
    if target.startswith("!date^"):
        return _date(target, shown)
    if target.startswith(("@", "#", "!")):
        sign = "@" if target[0] in "@!" else "#"
        return f'<span class="mention">{sign}{shown or html.escape(target[1:].split("^")[0])}</span>'
    if target.startswith(("http://", "https://", "mailto:")):
        address = html.escape(_sent(target))
        label_markup = render_emoji(shown) or html.escape(_sent(target.removeprefix("mailto:")), quote=False)
        return f'<a href="{address}" rel="noreferrer">{label_markup}</a>'
    return html.escape(f"<{inner}>", quote=False)


def _date(target: str, fallback: str) -> str:
    try:
        moment = datetime.fromtimestamp(int(target.split("^")[1]), UTC)
    except (ValueError, IndexError, OverflowError, OSError):
        return fallback
    return moment.strftime("%-d %b %Y, %H:%M UTC")
