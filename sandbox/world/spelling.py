"""How systems write down names, phones and e-mails: right, in local formats, misspelt, broken, or not at all.

What belongs here: one function for each identifier, from what is true and a style to a text column.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sandbox.world import markets
from sandbox.world.draws import Draws, Ints
from sandbox.world.people import People
from sandbox.world.units import join, pick, text

# styles of a name
AS_IT_IS, SWAPPED, DROPPED, DOUBLED, LOWER, UPPER, SPACED, PLAIN, EMOJI = range(9)
_NAME_STYLES = 9
# styles of a phone
E164, LOCAL, LOCAL_SPACED, NO_PLUS, DOUBLE_ZERO, DASHED, TOO_SHORT, NO_PHONE, NOT_A_PHONE = range(9)
VALID_PHONE_STYLES = 6
# styles of an e-mail
MAIL, MAIL_UPPER, MAIL_SPACED, MAIL_BROKEN, NO_MAIL, MAIL_TYPO = range(6)
VALID_MAIL_STYLES = 3

_DOMAINS = ("example.com", "example.org", "example.net", "mail.example.com", "post.example.org")


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()


def _respelt(name: str, style: int) -> str:
    middle = max(2, len(name) // 2)
    if style == SWAPPED and len(name) > 4:
        return name[:middle] + name[middle + 1 : middle + 2] + name[middle] + name[middle + 2 :]
    if style == DROPPED and len(name) > 4:
        return name[:middle] + name[middle + 1 :]
    if style == DOUBLED:
        return name[:middle] + name[middle - 1] + name[middle:]
    changed = {LOWER: name.lower(), UPPER: name.upper(), SPACED: f" {name} ", PLAIN: _plain(name), EMOJI: f"{name} 🌟"}
    return changed.get(style, name)


@cache
def _spellings(of_surnames: bool) -> tuple[pa.Array, int]:
    """Every name in every style, style by style, and how many names there are."""
    names = (markets.last_names() if of_surnames else markets.first_names()).names
    return pa.array([_respelt(name, style) for style in range(_NAME_STYLES) for name in names]), len(names)


@cache
def _slugs(of_surnames: bool) -> pa.Array:
    names = (markets.last_names() if of_surnames else markets.first_names()).names
    return pa.array(["".join(c for c in _plain(name).lower() if c.isalnum()) for name in names])


def name_styles(draws: Draws, stream: str, odd: float, *keys: Ints) -> Ints:
    """A style for each row: `odd` of them not as it is."""
    drawn = 1 + draws.choice(stream + "/style", (3, 3, 2, 4, 4, 2, 6, 1), *keys)
    return np.where(draws.chance(stream, odd, *keys), drawn, AS_IT_IS)


def first_names(people: People, person: Ints, style: Ints) -> pa.Array:
    """First names of the persons, each in its style."""
    spellings, count = _spellings(False)
    return spellings.take(pa.array(style * count + people.first_name[person]))


def last_names(people: People, person: Ints, style: Ints) -> pa.Array:
    """Surnames of the persons, each in its style."""
    spellings, count = _spellings(True)
    return spellings.take(pa.array(style * count + people.last_name[person]))


def phones(people: People, person: Ints, key: Ints, style: Ints) -> pa.Array:
    """The number with the given key (see `People.phone`), each in its style."""
    market = people.market[person]
    national = markets.national_numbers(market, key)
    code = pa.array(markets.COUNTRY_CODES).take(pa.array(market))
    trunk = pa.array(["0", "0", "", ""]).take(pa.array(market))
    e164 = join("+", code, national)
    local = join(trunk, national)
    tail = pc.utf8_slice_codeunits(local, -7)
    head = pc.utf8_slice_codeunits(local, 0, -7)
    spaced = pc.binary_join_element_wise(
        head, pc.utf8_slice_codeunits(tail, 0, 3), pc.utf8_slice_codeunits(tail, 3), " "
    )
    dashed = join("+", code, "-", pc.utf8_slice_codeunits(national, 0, -7), "-", tail)
    return pick(
        style,
        e164,
        local,
        spaced,
        join(code, national),
        join("00", code, national),
        dashed,
        pc.utf8_slice_codeunits(local, 0, -4),
        None,
        "N/A",
    )


def phone_styles(draws: Draws, stream: str, *keys: Ints) -> Ints:
    """As people type them in: 94 % valid in some format."""
    return draws.choice(stream, (44, 26, 12, 6, 2, 4, 2.5, 2.5, 1), *keys)


def emails(people: People, person: Ints, style: Ints) -> pa.Array:
    """The mailbox of `people.email`, each in its style; null for who has none."""
    box = people.email[person]
    holder = np.maximum(box, 0)
    first = _slugs(False).take(pa.array(people.first_name[holder]))
    last = _slugs(True).take(pa.array(people.last_name[holder]))
    domain = pa.array(_DOMAINS).take(pa.array(holder % len(_DOMAINS)))
    local = join(first, ".", last, text(holder))
    address = join(local, "@", domain)
    styled = pick(
        np.where(box < 0, NO_MAIL, style),
        address,
        pc.utf8_upper(address),
        join(" ", address),
        join(local, ".", domain),
        None,
        join(local, "x@", domain),
    )
    return styled
