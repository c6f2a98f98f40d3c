"""Markets, products and names of the pretend lender: constants, and phone numbers by market."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from importlib import import_module

import numpy as np
import pyarrow as pa

from sandbox.world.draws import Ints
from sandbox.world.units import join, text

MARKETS = ("NG", "GH", "BR", "CI")
MARKET_NAMES = ("Nigeria", "Ghana", "Brazil", "Côte d'Ivoire")
CURRENCIES = ("NGN", "GHS", "BRL", "XOF")
LANGUAGES = ("en", "en", "pt", "fr")
MARKET_WEIGHTS = (0.4, 0.2, 0.25, 0.15)
UTC_OFFSET_HOURS: Ints = np.array([1, 0, -3, 0], dtype=np.int64)
"""None of the four has daylight saving time."""

MINOR_UNIT: Ints = np.array([10_000, 10_000, 10_000, 1_000_000], dtype=np.int64)
"""The smallest amount, in millionths: a cent, and one franc in XOF, which has no minor unit."""
BASE_AMOUNT: Ints = np.array([12_000, 180, 250, 20_000], dtype=np.int64)
AMOUNT_STEP: Ints = np.array([500, 10, 10, 500], dtype=np.int64)

COUNTRY_CODES = ("234", "233", "55", "225")
_MOBILE_PREFIXES = (
    ("803", "806", "703", "813", "816", "903", "906", "810"),
    ("24", "54", "55", "20", "50", "26", "27", "53"),
    ("1198", "2199", "3197", "7198", "8199", "8598", "4199", "6198"),
    ("070", "074", "075", "050", "054", "055", "010", "014"),
)
PREFIXES_A_MARKET = 8
_SUFFIXES = 10**7


@dataclass(frozen=True)
class Product:
    """A loan product. The rate is flat, for the whole term; the fee is due with the first instalment."""

    short_name: str
    name: str
    instalments: int
    days_each: int
    rate: float
    fee_rate: float
    amount_factor: float


PRODUCTS = (
    Product("D14", "14-day loan", 1, 14, 0.10, 0.0, 1.0),
    Product("D30", "30-day loan", 1, 30, 0.16, 0.0, 1.3),
    Product("M3", "3-instalment loan", 3, 30, 0.30, 0.02, 2.5),
    Product("M4", "4-instalment loan", 4, 30, 0.38, 0.02, 3.0),
    Product("M6", "6-instalment loan", 6, 30, 0.54, 0.02, 4.0),
)
MAX_INSTALMENTS = 6


def product_id(market: Ints, product: Ints) -> Ints:
    """The ledger's product id: one product a market."""
    return market * len(PRODUCTS) + product + 1


_IVORIAN_SURNAMES = [
    "Kouassi",
    "Koné",
    "Traoré",
    "Ouattara",
    "Yao",
    "Coulibaly",
    "Kouamé",
    "Bamba",
    "Diallo",
    "N'Guessan",
    "Touré",
    "Konan",
    "Koffi",
    "Diomandé",
    "Soro",
    "Aka",
    "Kacou",
    "Tanoh",
    "Assi",
    "Brou",
    "Zadi",
    "Dago",
    "Lago",
    "Ehui",
    "Amani",
    "Aké",
    "Fofana",
    "Cissé",
    "Doumbia",
    "Sangaré",
    "N'Dri",
    "Kouadio",
    "Gnahoré",
    "Tapé",
    "Séri",
]


@dataclass(frozen=True)
class NamePool:
    """All names in one list; market m and sex s draw from `start[m][s]` on, `size[m][s]` names."""

    names: tuple[str, ...]
    start: Ints
    size: Ints
    unlike: Ints
    """For each name another of its kind that nobody could take for a way of spelling it."""


def _pool(groups: list[list[list[str]]]) -> NamePool:
    names: list[str] = []
    unlike: list[int] = []
    start = np.zeros((len(groups), len(groups[0])), dtype=np.int64)
    size = np.zeros_like(start)
    for m, kinds in enumerate(groups):
        for s, kind in enumerate(kinds):
            start[m, s], size[m, s] = len(names), len(kind)
            for i, name in enumerate(kind):
                others = (j % len(kind) for j in range(i + len(kind) // 2, i + len(kind) // 2 + len(kind)))
                far = next(
                    j
                    for j in others
                    if kind[j][0].lower() != name[0].lower() and SequenceMatcher(None, kind[j], name).ratio() < 0.35
                )
                unlike.append(len(names) + far)
            names.extend(kind)
    return NamePool(tuple(names), start, size, np.array(unlike, dtype=np.int64))


def _faker_names(attribute: str, *locales: str) -> list[str]:
    found: set[str] = set()
    for locale in locales:
        provider = import_module(f"faker.providers.person.{locale}").Provider
        found.update(str(name) for name in getattr(provider, attribute))
    return sorted(found)


@cache
def first_names() -> NamePool:
    """First names by market and sex (0 female, 1 male)."""
    locales = (("yo_NG", "ig_NG", "ha_NG", "en_NG"), ("tw_GH",), ("pt_BR",), ("fr_FR",))
    return _pool([[_faker_names(f"first_names_{sex}", *group) for sex in ("female", "male")] for group in locales])


@cache
def last_names() -> NamePool:
    """Surnames by market."""
    return _pool(
        [
            [_faker_names("last_names", "yo_NG", "ig_NG", "ha_NG", "en_NG")],
            [_faker_names("last_names", "tw_GH")],
            [_faker_names("last_names", "pt_BR")],
            [sorted(_IVORIAN_SURNAMES)],
        ]
    )


@cache
def _prefix_column() -> pa.Array:
    return pa.array([prefix for market in _MOBILE_PREFIXES for prefix in market])


def national_numbers(market: Ints, owner: Ints) -> pa.Array:
    """A valid national mobile number for each owner, unlike everybody else's (up to ten million owners)."""
    suffix = (owner * 7_368_787 + 1_234_567) % _SUFFIXES
    prefix = market * PREFIXES_A_MARKET + (owner // 3) % PREFIXES_A_MARKET
    return join(_prefix_column().take(pa.array(prefix)), text(suffix, 7))
