"""Phones and e-mails in one spelling: distinct texts in, E.164 and canonical e-mail out.

A text that may be several numbers has a row for each, none of which is valid: it names nobody, and a no counts for all.
An e-mail with a tag (`ama+news@`) has such a row of the mailbox behind it.
Incremental: only texts not seen before, or hashed under another key, are worked on.
"""

import hashlib
import hmac
import os
import re
import unicodedata

import phonenumbers
import pyarrow as pa

EMAIL = re.compile(r"[^@\s\"(),:;<>\[\\\]]{1,64}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
NOT_DIALLED = re.compile(r"[^0-9+A-Za-z]")


def dialled(text):
    """What somebody dials: letters, and signs and digits of any script in ASCII, with nothing between."""
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(one, one)) for one in unicodedata.normalize("NFKC", text))
    return NOT_DIALLED.sub("", text)


def phone_values(text, market, regions):
    """What it is in E.164: one number, none, or, of a record of no known market, one for each market's plan that fits.

    A leading 00 is tried as + too: people write it so where their own network dials otherwise. A sheet that takes a
    number for one drops the zero in front, which some plans need: it is tried where the market is known.
    """
    found = set()
    for region in [regions[market]] if market in regions else sorted(regions.values()):
        more = (
            ["+" + text[2:]] if text.startswith("00") else ["0" + text] if market in regions and text.isdigit() else []
        )
        for spelling in [text, *more]:
            try:
                number = phonenumbers.parse(spelling, region)
            except phonenumbers.NumberParseException:
                continue
            if phonenumbers.is_valid_number(number):
                found.add(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
                break
    return sorted(found)


def email_values(text):
    """The address in NFC and lower case, without signs that nobody sees; none when it can't be one."""
    value = (
        "".join(one for one in unicodedata.normalize("NFC", text) if unicodedata.category(one) != "Cf").strip().lower()
    )
    local = value.partition("@")[0]
    if not EMAIL.fullmatch(value) or ".." in local or local.startswith(".") or local.endswith("."):
        return []
    return [value]


def mailbox(value):
    """The address without its tag; none where it has none."""
    local, _, domain = value.partition("@")
    name = local.partition("+")[0]
    return [f"{name}@{domain}"] if name and name != local else []


def points(kind, text, market, regions):
    """The values of a text, and whether each is surely what the text says."""
    if kind == "email":
        surely = email_values(text)
        return [(value, True) for value in surely] + [(value, False) for one in surely for value in mailbox(one)]
    found = phone_values(text, market, regions)
    return [(value, len(found) == 1) for value in found]


def model(dbt, session):
    dbt.config(
        materialized="incremental",
        unique_key=["kind", "raw_text", "market"],
        incremental_strategy="delete+insert",
    )
    key = os.environ["LENDLOOP_HASH_KEY"].encode()
    key_check = hmac.new(key, b"lendloop", hashlib.sha256).hexdigest()[:16]
    wanted = dbt.ref("int_contact_input")
    regions = dict(dbt.ref("markets").project("market, phone_region").fetchall())
    if dbt.is_incremental:
        built = session.table(str(dbt.this)).filter(f"key_check = '{key_check}'").project("kind, raw_text, market")
        wanted = wanted.except_(built)
    kinds, texts, markets, values, valid = [], [], [], [], []
    spelt = {}
    for kind, text, market in wanted.order("kind, raw_text, market").fetchall():
        probe = (dialled(text) if kind == "phone" else text, market if kind == "phone" else None)
        if probe not in spelt:
            spelt[probe] = points(kind, probe[0], market, regions)
        for value, is_sure in spelt[probe] or [(None, False)]:
            kinds.append(kind)
            texts.append(text)
            markets.append(market)
            values.append(value)
            valid.append(is_sure)
    hashes = [value and hmac.new(key, value.encode(), hashlib.sha256).hexdigest() for value in values]
    columns = {
        "kind": kinds,
        "raw_text": texts,
        "market": markets,
        "value": values,
        "value_hash": hashes,
        "key_check": [key_check] * len(kinds),
    }
    return pa.table({name: pa.array(column, pa.string()) for name, column in columns.items()}).append_column(
        "is_valid", pa.array(valid, pa.bool_())
    )
