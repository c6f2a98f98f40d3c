"""How systems write down names, phones and e-mails: right, in local formats, misspelt, broken, or not at all.

What belongs here: one function for each identifier, from what is true and a style to a text column.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sandbox.world import markets
from sandbox.world.draws import Draws, Ints
from sandbox.world.people import People
from sandbox.world.units import by_style, join, text

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

    def spelt(style: int, rows: Ints) -> pa.Array:
        national = markets.national_numbers(market[rows], key[rows])
        code = pa.array(markets.COUNTRY_CODES).take(pa.array(market[rows]))
        local = join(pa.array(["0", "0", "", ""]).take(pa.array(market[rows])), national)
        return _PHONES[style](code, national, local)

    return by_style(style, len(_PHONES), spelt)


def _spaced(number: pa.Array) -> pa.Array:
    tail = pc.utf8_slice_codeunits(number, -7)
    parts = (
        pc.utf8_slice_codeunits(number, 0, -7),
        pc.utf8_slice_codeunits(tail, 0, 3),
        pc.utf8_slice_codeunits(tail, 3),
    )
    return pc.binary_join_element_wise(*parts, " ")


_PHONES: tuple[Callable[[pa.Array, pa.Array, pa.Array], pa.Array], ...] = (
    lambda code, national, _: join("+", code, national),
    lambda _, __, local: local,
    lambda _, __, local: _spaced(local),
    lambda code, national, _: join(code, national),
    lambda code, national, _: join("00", code, national),
    lambda code, national, local: join(
        "+", code, "-", pc.utf8_slice_codeunits(national, 0, -7), "-", pc.utf8_slice_codeunits(local, -7)
    ),
    lambda _, __, local: pc.utf8_slice_codeunits(local, 0, -4),
    lambda _, __, local: pa.nulls(len(local), pa.string()),
    lambda _, __, local: pa.repeat("N/A", len(local)),
)
"""How each style writes a number: from country code, national number, and the number as it is dialled at home."""


def phone_styles(draws: Draws, stream: str, *keys: Ints) -> Ints:
    """As people type them in: 94 % valid in some format."""
    return draws.choice(stream, (44, 26, 12, 6, 2, 4, 2.5, 2.5, 1), *keys)


def emails(people: People, person: Ints, style: Ints) -> pa.Array:
    """The mailbox of `people.email`, each in its style; null for who has none."""
    box = people.email[person]

    def spelt(style: int, rows: Ints) -> pa.Array:
        holder = box[rows]
        first = _slugs(False).take(pa.array(people.first_name[holder]))
        last = _slugs(True).take(pa.array(people.last_name[holder]))
        domain = pa.array(_DOMAINS).take(pa.array(holder % len(_DOMAINS)))
        return _MAILS[style](join(first, ".", last, text(holder)), domain)

    return by_style(np.where(box < 0, NO_MAIL, style), len(_MAILS), spelt)


_MAILS: tuple[Callable[[pa.Array, pa.Array], pa.Array], ...] = (
    lambda local, domain: join(local, "@", domain),
    lambda local, domain: pc.utf8_upper(join(local, "@", domain)),
    lambda local, domain: join(" ", local, "@", domain),
    lambda local, domain: join(local, ".", domain),
    lambda local, _: pa.nulls(len(local), pa.string()),
    lambda local, domain: join(local, "x@", domain),
)
"""How each style writes an address."""
