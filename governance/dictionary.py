"""The company dictionary: dbt's doc blocks read as terms, judged, and searched.

A block is its meaning in prose, then a list of fields, one a line: `- formula: …`. Which fields a term has follows
from its kind (`FIELDS`). A block of kind `refused` is a name that trusted may not use, with the reason and what to
write instead. What does not belong here: how a number is computed (dbt_project) and how a search is shown.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from governance.faults import Fault, refuse
from governance.manifest import DocBlock, Manifest
from lendloop.errors import ConfigurationError
from lendloop.project import meaning_of

TERMS_FOLDER = "models/dictionary/"


class Kind(StrEnum):
    """What sort of thing a term names; the fields it must have follow from it."""

    AMOUNT = "amount"
    COUNT = "count"
    RATIO = "ratio"
    DURATION = "duration"
    FLAG = "flag"
    DATE = "date"
    INSTANT = "instant"
    ID = "id"
    LABEL = "label"
    REFUSED = "refused"
    """A name that trusted and kpi may not use."""


_NUMBERS = {"formula", "grain", "exclusions", "unit", "owner", "source of truth", "since"}
_COMMON = {"grain", "owner", "source of truth", "since"}
_OPTIONAL = {"kind", "synonyms", "not to be confused with", "status"}
FIELDS: Mapping[Kind, tuple[set[str], set[str]]] = {
    **dict.fromkeys((Kind.AMOUNT, Kind.COUNT, Kind.RATIO, Kind.DURATION), (_NUMBERS, _OPTIONAL)),
    Kind.FLAG: (_COMMON | {"formula", "exclusions"}, _OPTIONAL),
    Kind.DATE: (_COMMON | {"unit"}, _OPTIONAL | {"formula"}),
    Kind.INSTANT: (_COMMON | {"unit"}, _OPTIONAL | {"formula"}),
    Kind.ID: (_COMMON, _OPTIONAL | {"formula"}),
    Kind.LABEL: (_COMMON, _OPTIONAL | {"formula"}),
    Kind.REFUSED: ({"matches", "instead", "owner", "since"}, {"kind", "synonyms"}),
}
"""Fields that a term of each kind must have beside its meaning, and those that it may have."""


def _words(text: object) -> object:
    return [part.strip() for part in text.split(",") if part.strip()] if isinstance(text, str) else text


def _confusions(text: object) -> object:
    """`a (why); b (why)` as a mapping."""
    if not isinstance(text, str):
        return text
    found = {}
    for part in text.split(";"):
        name, _, why = part.strip().partition(" ")
        found[name] = why.strip().removeprefix("(").removesuffix(")")
    return found


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]


class Term(BaseModel):
    """One entry. Fields that its kind does not have are empty."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str
    file: str
    meaning: Annotated[str, Field(min_length=10)]
    kind: Kind
    formula: str | None = None
    grain: str | None = None
    """One value a what."""
    exclusions: str | None = None
    unit: str | None = None
    owner: str
    source_of_truth: Annotated[str | None, Field(alias="source of truth")] = None
    synonyms: Words = ()
    confused_with: Annotated[
        dict[str, str], BeforeValidator(_confusions), Field(alias="not to be confused with", default_factory=dict)
    ]
    since: date
    """The day from which the definition holds."""
    status: Literal["in use", "named only"] = "in use"
    """`named only`: agreed, and computed nowhere yet."""
    matches: Literal["name", "word"] | None = None
    """Of a refused name: whether only the whole name is meant, or each word of it between underscores."""
    instead: Words = ()
    """Of a refused name: the terms to write."""

    def said(self) -> dict[str, Any]:
        """Its meaning and fields as they are written, in their order; those it does not have are left out."""
        said = self.model_dump(mode="json", by_alias=True, exclude={"name", "file"})
        return {name: value for name, value in said.items() if value and value != "in use"}

    def refuses(self, name: str) -> bool:
        """Whether this entry forbids a column, term or table to be called `name`."""
        if self.matches == "word":
            return self.name in re.split(r"_|(?<=[a-z])(?=\d)", name.lower())
        return self.matches == "name" and self.name == name.lower()


@dataclass(frozen=True)
class Match:
    """A term that a search found. `why` says how; `distance` orders them: 0 is the word itself."""

    term: Term
    why: str
    distance: float


@dataclass(frozen=True)
class Dictionary:
    """Every term by name, those refused apart; `places` are the columns where a term stands, `schema.table.column`."""

    terms: Mapping[str, Term]
    refused: Mapping[str, Term]
    places: Mapping[str, tuple[str, ...]]


def read_dictionary(manifest: Manifest) -> Dictionary:
    """The dictionary. Raises ConfigurationError with one line a fault."""
    dictionary, faults = judge_dictionary(manifest)
    refuse(faults)
    return dictionary


def judge_dictionary(manifest: Manifest) -> tuple[Dictionary, list[Fault]]:
    """The entries that could be read, and everything that is wrong with entries, or with columns' use of them."""
    faults: list[Fault] = []
    entries: list[Term] = []
    for block in manifest.docs.values():
        if block.file.startswith(TERMS_FOLDER):
            try:
                entries.append(parse_term(block))
            except ConfigurationError as error:
                faults += [Fault(block.file, block.name, *line.split("; ", 1)) for line in str(error).split("\n")]
    terms = {entry.name: entry for entry in entries if entry.kind is not Kind.REFUSED}
    places: dict[str, list[str]] = {name: [] for name in terms}
    for model in manifest.governed:
        for column in model.columns.values():
            places.setdefault(str(column.meta.get("term")), []).append(f"{model.key}.{column.name}")
    dictionary = Dictionary(
        terms=terms,
        refused={entry.name: entry for entry in entries if entry.kind is Kind.REFUSED},
        places={name: tuple(found) for name, found in places.items() if name in terms},
    )
    faults += _judge_entries(dictionary, manifest)
    faults += _judge_columns(dictionary, manifest)
    return dictionary, sorted(set(faults))


def parse_term(block: DocBlock) -> Term:
    """A doc block as a term. Raises ConfigurationError, one line `what; advice` a fault."""
    meaning = meaning_of(block.text)
    fields: dict[str, str] = {}
    faults: list[str] = []
    for line in block.text[len(meaning) :].strip().split("\n"):
        name, colon, value = line.removeprefix("- ").partition(":")
        if not line.startswith("- ") or not colon or not value.strip():
            if line:
                faults.append(
                    f"the line {line!r} is no field; write `- name: value`, below the meaning and a blank line"
                )
            continue
        if name in fields:
            faults.append(f"says {name} twice; keep one line of it")
        fields[name] = value.strip()
    kinds = ", ".join(kind.value for kind in Kind)
    if fields.get("kind") not in list(Kind):
        faults.append(f"is of no known kind; write `- kind:` and one of {kinds}")
        raise ConfigurationError("\n".join(faults))
    kind = Kind(fields["kind"])
    needed, allowed = FIELDS[kind]
    faults += [f"has no {name}; every {kind.value} has one" for name in sorted(needed - set(fields))]
    faults += [
        f"has a field {name}; remove it, of kind {kind.value} it has only {', '.join(sorted(needed | allowed))}"
        for name in sorted(set(fields) - needed - allowed)
    ]
    if not faults:
        try:
            return Term.model_validate({"name": block.name, "file": block.file, "meaning": meaning, **fields})
        except ValidationError as error:
            for one in error.errors(include_url=False):
                field = ".".join(str(part) for part in one["loc"])
                faults.append(f"{field} is {one['input']!r}; {one['msg'].lower()}")
    raise ConfigurationError("\n".join(faults))


def _judge_entries(dictionary: Dictionary, manifest: Manifest) -> list[Fault]:
    """Terms that are unused, unowned, called by a refused name, or that share a name with another."""
    faults = []
    claimed: dict[str, list[Term]] = {}
    for term in (*dictionary.terms.values(), *dictionary.refused.values()):
        if term.owner not in manifest.teams:
            advice = f"name one of {', '.join(sorted(manifest.teams))}"
            faults.append(Fault(term.file, term.name, f"owner {term.owner} is no team", advice))
        faults += [
            Fault(term.file, term.name, f"points to {other}, which is no term", "write the term, or correct the name")
            for other in (*term.confused_with, *term.instead)
            if other not in dictionary.terms
        ]
    for term in dictionary.terms.values():
        for name in dict.fromkeys(normalise(name) for name in (term.name, *term.synonyms)):
            claimed.setdefault(name, []).append(term)
        faults += _refusals(dictionary, term.name, term.file, term.name)
        used, only_named = bool(dictionary.places[term.name]), term.status == "named only"
        if not used and not only_named:
            advice = "use it, remove it, or say `- status: named only`"
            faults.append(Fault(term.file, term.name, "stands on no column", advice))
        if used and only_named:
            faults.append(Fault(term.file, term.name, "is named only, and stands on a column", "remove its status"))
    known = {normalise(name) for entry in dictionary.refused.values() for name in (entry.name, *entry.synonyms)}
    for name, terms in claimed.items():
        if len(terms) > 1 and name not in known:
            both = " and ".join(sorted(term.name for term in terms))
            advice = "drop the name from all but one, or refuse it with an entry that says what to write instead"
            faults += [Fault(term.file, term.name, f"the name {name!r} means {both}", advice) for term in terms[:1]]
    return faults


def _judge_columns(dictionary: Dictionary, manifest: Manifest) -> list[Fault]:
    """Columns without a term, described by another one, with a refused name or a name that has two meanings."""
    faults = []
    meanings: dict[str, dict[str, str]] = {}
    for model in manifest.governed:
        faults += _refusals(dictionary, model.name, model.yaml, model.name)
        for column in model.columns.values():
            subject, term = f"{model.name}.{column.name}", str(column.meta.get("term") or "")
            faults += _refusals(dictionary, column.name, model.yaml, subject)
            if term not in dictionary.terms:
                what = f"points to {term}, which is no term" if term else "points to no term"
                advice = f"write the term in {TERMS_FOLDER} and `term:` in the column's meta"
                faults.append(Fault(model.yaml, subject, what, advice))
                continue
            if column.doc_blocks != (term,):
                advice = f"""write `description: '{{{{ doc("{term}") }}}}'`"""
                faults.append(Fault(model.yaml, subject, f"is not described by its term {term}", advice))
            meanings.setdefault(column.name, {}).setdefault(term, f"{model.yaml}\n{subject}")
    for name, uses in meanings.items():
        if len(uses) > 1:
            for term, place in uses.items():
                file, subject = place.split("\n")
                others = ", ".join(sorted(other for other in uses if other != term))
                what = f"the name {name} means {term} here and {others} elsewhere"
                faults.append(Fault(file, subject, what, "give the columns names of their own"))
    return faults


def _refusals(dictionary: Dictionary, name: str, file: str, subject: str) -> list[Fault]:
    """The entries that forbid something to be called `name`."""
    return [
        Fault(
            file,
            subject,
            f"is called by a refused name: {entry.meaning}",
            f"write {' or '.join(entry.instead)} instead",
        )
        for entry in dictionary.refused.values()
        if entry.refuses(name)
    ]


def normalise(text: str) -> str:
    """A name as it is compared: lower case, words apart, letters apart from digits (`PAR-30`, `par30`: `par 30`)."""
    return re.sub(r"(?<=[a-z])(?=\d)", " ", re.sub(r"[^a-z0-9]+", " ", text.lower())).strip()


LIKENESS = 0.75
"""Share of two words' letters that agree (difflib) from which one may be a misspelling of the other."""


def search(dictionary: Dictionary, word: str, *, limit: int = 5) -> list[Match]:
    """Entries for a word, best first: by name, by synonym, in part, by a likely misspelling, then by meaning.

    A refused name answers with the entry that refuses it and the terms to use instead. What is only alike or only
    mentions the word is left out when a name or synonym has it. Returns no more than `limit`, none for a word that
    nothing is like.
    """
    wanted = normalise(word)
    if not wanted:
        return []
    found = {term.name: match for term in dictionary.terms.values() if (match := _match(term, wanted))}
    for entry in dictionary.refused.values():
        if wanted in {normalise(name) for name in (entry.name, *entry.synonyms)}:
            instead = {name: Match(dictionary.terms[name], f"instead of {entry.name}", 1) for name in entry.instead}
            found = {entry.name: Match(entry, "refused as a name", 0), **found, **instead}
            limit = max(limit, 1 + len(entry.instead))
    named = [match for match in found.values() if match.distance <= 2]
    return sorted(named or found.values(), key=lambda match: (match.distance, match.term.name))[:limit]


def _match(term: Term, wanted: str) -> Match | None:
    names = {normalise(name): name for name in (*reversed(term.synonyms), term.name)}
    if wanted == normalise(term.name):
        return Match(term, "the term", 0)
    if wanted in names:
        return Match(term, f"synonym {names[wanted]}", 1)
    words = set(wanted.split())
    for candidate, name in names.items():
        if words <= set(candidate.split()):
            return Match(term, f"part of {name}", 2)
    likeness, candidate = max((_likeness(wanted, candidate), candidate) for candidate in names)
    if likeness >= LIKENESS:
        return Match(term, f"like {names[candidate]}", 4 - likeness)
    return Match(term, "its meaning says so", 5) if words <= set(normalise(term.meaning).split()) else None


def _likeness(wanted: str, candidate: str) -> float:
    """How alike two names are, 0 to 1: as a whole, or a little less when each wanted word is like one of its words."""

    def ratio(one: str, other: str) -> float:
        return difflib.SequenceMatcher(None, one, other).ratio()

    by_word = min(max(ratio(word, other) for other in candidate.split()) for word in wanted.split())
    return max(ratio(wanted, candidate), 0.95 * by_word)
