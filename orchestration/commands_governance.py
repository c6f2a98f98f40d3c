"""`lendloop dictionary`: search and show terms, and check them. Each command is a call of `governance` and its picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lendloop.errors import PermanentError

if TYPE_CHECKING:
    from governance.dictionary import Dictionary, Match
    from governance.lineage import Graph
    from governance.manifest import Manifest

dictionary_app = typer.Typer(no_args_is_help=True, help="What the company's words mean, and where they stand.")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


@dictionary_app.command()
def search(
    word: Annotated[list[str], typer.Argument(help="A term, a synonym, or something like it.")],
    as_json: Json = False,
) -> None:
    """Find a term by its name, a synonym, a misspelling or its meaning, best first."""
    from governance import dictionary as terms
    from orchestration.screen import show_terms

    dictionary, graph = terms.read_dictionary(_manifest()), _graph()
    wanted = " ".join(word)
    matches = terms.search(dictionary, wanted)
    if not matches:
        raise PermanentError(f"nothing in the dictionary is like {wanted!r}")
    show_terms([describe(match, dictionary, graph) for match in matches], as_json=as_json)


@dictionary_app.command()
def show(name: Annotated[str, typer.Argument(help="A term's name.")], as_json: Json = False) -> None:
    """One term, with everything that is said of it."""
    from governance import dictionary as terms
    from orchestration.screen import show_terms

    dictionary, graph = terms.read_dictionary(_manifest()), _graph()
    term = dictionary.terms.get(name) or dictionary.refused.get(name)
    if term is None:
        like = ", ".join(match.term.name for match in terms.search(dictionary, name))
        raise PermanentError(f"no term is called {name}" + (f"; there is {like}" if like else ""))
    show_terms([describe(terms.Match(term, "the term", 0), dictionary, graph)], as_json=as_json)


@dictionary_app.command()
def check() -> None:
    """Name every column without a term, unused term, refused name, and name that means two things."""
    from governance import dictionary as terms

    typer.echo(summary(terms.read_dictionary(_manifest())))


def summary(dictionary: Dictionary) -> str:
    """One line on a dictionary that is well."""
    named_only = sum(not places for places in dictionary.places.values())
    columns = sum(map(len, dictionary.places.values()))
    return (
        f"{len(dictionary.terms)} terms on {columns} columns, {named_only} of them named only;"
        f" {len(dictionary.refused)} names refused"
    )


def describe(match: Match, dictionary: Dictionary, graph: Graph) -> dict[str, Any]:
    """A match as a record: the term's fields by name, how it was found, where it stands and what it comes from."""
    from governance.lineage import upstream_sources

    term, places = match.term, list(dictionary.places.get(match.term.name, ()))
    record: dict[str, Any] = {"term": term.name, "found": match.why, **term.said()}
    if places:
        record |= {"stands in": places, "comes from": {place: upstream_sources(graph, place) for place in places}}
    return record


def _graph() -> Graph:
    from governance.lineage import load_graph
    from lendloop.settings import load_settings

    return load_graph(load_settings().home)


def _manifest() -> Manifest:
    from governance.manifest import read_manifest
    from lendloop.settings import load_settings

    return read_manifest(load_settings().home)
