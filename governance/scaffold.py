"""New files for a model, an audience, a rule or a source: everything that is required of it as a blank, read from what requires it.

What belongs here: a JSON Schema as YAML with blanks, and which files a new thing is made of. What does not: the
schemas (`registry`, and those of activation, which are handed in), and what is wrong with a filled file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from governance.blanks import blank
from governance.registry import ColumnParameters, DatasetParameters, SourceParameters
from lendloop.errors import ConfigurationError

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - SQL and YAML for people's own checkout, no page
)
_NAME = re.compile(r"[a-z][a-z0-9_]{1,60}")
Schema = Mapping[str, Any]
Files = dict[Path, str]
"""Content by path, relative to what the function says."""


def model_files(name: str, group: str, project: Path, *, promises: bool) -> Files:
    """A draft in gray, of a consistency group, as SQL and YAML below the dbt project.

    With `promises` it declares all that trusted asks for, so that `promote` finds it complete once it is filled in.
    `project` is read as files, since with a blank in it dbt parses nothing. Raises ConfigurationError for a name that is
    taken or no name, and for a group that is not there.
    """
    _check_name(name)
    if taken := next((path for path in project.rglob(f"{name}.*") if path.suffix in (".sql", ".py", ".csv")), None):
        raise ConfigurationError(f"there is a model {name} already: {taken.relative_to(project)}")
    _check_group(group, project)
    folder = Path("models/gray") / group
    declared = required_yaml(DatasetParameters.model_json_schema()) if promises else ""
    column = required_yaml(ColumnParameters.model_json_schema())
    return {
        folder / f"{name}.sql": _TEMPLATES.get_template("model.sql.j2").render(),
        folder / f"_{name}.yml": _TEMPLATES.get_template("model.yml.j2").render(
            name=name, group=group, promises=declared, column=column
        ),
    }


def definition_file(kind: str, name: str, schema: Schema, known: Mapping[str, Any]) -> str:
    """An audience or a rule as its schema wants it. `known`: values by field that need no person."""
    _check_name(name)
    return _TEMPLATES.get_template("definition.yaml.j2").render(
        kind=kind, needed=required_yaml(schema, {kind: name, **known}), optional=optional_yaml(schema, known)
    )


def source_files(name: str, table: str, about: str, group: str, project: Path) -> Files:
    """A source's reader, declaration in dbt and first staging model; paths below the checkout.

    Raises ConfigurationError for no name, and for a group that is not there.
    """
    _check_name(name)
    _check_name(table)
    _check_group(group, project)
    shown = "As the source said it; a deleted row stays with `_deleted_at` set. Shape: ingestion/tables.py."
    said = {
        "name": name,
        "described": json.dumps(f"{about.rstrip('.')}. {shown}"),
        "table": table,
        "about": about.rstrip(".") + ".",
        "group": group,
        "reader": f"{name.title().replace('_', '')}Reader",
        "declared": required_yaml(SourceParameters.model_json_schema()),
    }
    staging = Path("dbt_project/models/gray/staging") / name
    return {
        Path(f"ingestion/{name}.py"): _TEMPLATES.get_template("source.py.j2").render(said),
        staging / f"_{name}.yml": _TEMPLATES.get_template("source.yml.j2").render(said),
        staging / f"stg_{name}__{table}.sql": _TEMPLATES.get_template("source.sql.j2").render(said),
    }


def source_edits(checkout: Path, name: str, table: str, about: str) -> Files:
    """The files that name every source, with this one among them: settings, raw tables, loading, assets.

    Raises ConfigurationError when it is there already, or a file is not as this expects it.
    """
    constant, reader = name.upper(), f"{name.title().replace('_', '')}Reader"
    column, kind = blank("a column"), blank("its type; one of text, bigint, money, date, timestamp, bool, json")
    declared = (
        f"{constant}: tuple[RawTable, ...] = (\n"
        f'    RawTable(\n        "{name}",\n        "{table}",\n        ("{blank("the columns that name a row")}",),\n'
        f'        {{\n            "{column}": "{kind}",\n        }},\n    ),\n)\n\n'
    )
    edits: dict[str, list[tuple[str, str]]] = {
        "lendloop/settings.py": [
            (r"^(SourceName = Literal\[.*)\]$", rf'\1, "{name}"]'),
            (r"^(SOURCES: tuple\[SourceName, \.\.\.\] = \(.*)\)$", rf'\1, "{name}")'),
            (r"^(?=    lag_minutes: int)", f"    {name}_url: str | None = None\n\n"),
        ],
        "ingestion/tables.py": [
            (r"^(Source = Literal\[.*)\]$", rf'\1, "{name}"]'),
            (r"^(?=TABLES: dict\[)", declared),
            (r"^(TABLES: [^\n]*\n(?:    .*\n)*)(?=\}$)", rf'\1    "{name}": {constant},\n'),
        ],
        "ingestion/load.py": [
            (
                r"^(?=    from ingestion\.support import SupportReader$)",
                f'    if source == "{name}":\n        from ingestion.{name} import {reader}\n\n'
                f"        return {reader}.open(settings)\n",
            )
        ],
        "ingestion/pipeline.py": [
            (
                r"^(?=    function = \{)",
                f'    def {name}() -> Any:\n        """{about.rstrip(".")}."""\n'
                "        return _resources(dlt, deliveries, moments)\n\n",
            ),
            (r"^(    function = \{.*)\}\[source\]$", rf'\1, "{name}": {name}}}[source]'),
        ],
        "orchestration/sources.py": [
            (r"^(SYSTEMS: [^\n]*\n(?:    .*\n)*)(?=\}$)", rf'\1    "{name}": ("{name}", {json.dumps(about)}),\n')
        ],
    }
    edited: Files = {}
    for path, changes in edits.items():
        text = (checkout / path).read_text(encoding="utf-8")
        if re.search(rf'"{name}"|^{constant}\b', text, re.MULTILINE):
            raise ConfigurationError(f"{path} names {name} already: nothing was written")
        for pattern, replacement in changes:
            text, found = re.subn(pattern, replacement, text, count=1, flags=re.MULTILINE)
            if not found:
                raise ConfigurationError(f"{path} has no line like {pattern}: nothing was written")
        edited[Path(path)] = text
    return edited


def write_new(root: Path, files: Files) -> list[Path]:
    """Write files that are not there yet, all or none. Raises ConfigurationError that names one that is."""
    paths = [root / path for path in files]
    if there := next((path for path in paths if path.exists()), None):
        raise ConfigurationError(f"{there} is there already: nothing was written")
    for path, text in zip(paths, files.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    return paths


def required_yaml(schema: Schema, known: Mapping[str, Any] | None = None) -> str:
    """Every required field of an object, each with a blank or its known value, as YAML."""
    return "\n".join(_fields(schema, schema, known or {}))


def optional_yaml(schema: Schema, known: Mapping[str, Any]) -> str:
    """Every other field as a comment, with its default and what it is for."""
    lines = []
    for name, field in schema["properties"].items():
        if name in schema.get("required", ()) or name in known:
            continue
        default = json.dumps(field.get("default"))
        about = field.get("description") or _resolve(field, schema).get("description") or ""
        lines.append(f"# {name}: {default}" + (f"  ({' '.join(about.split())})" if about else ""))
    return "\n".join(lines)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} is no name: small letters, digits and _, a letter first")


def _check_group(group: str, project: Path) -> None:
    declared = yaml.safe_load((project / "models" / "groups.yml").read_text(encoding="utf-8"))
    groups = [str(one["name"]) for one in declared["groups"]]
    if group not in groups:
        raise ConfigurationError(f"no consistency group {group}: one of {', '.join(groups)}")


def _fields(schema: Schema, root: Schema, known: Mapping[str, Any]) -> Iterator[str]:
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        if name in known:
            yield f"{name}: {_scalar(known[name])}"
        elif name in required:
            yield from _field(name, field, root)


def _scalar(value: Any) -> str:
    """A value as YAML writes it, in quotes only where it needs them."""
    return str(yaml.safe_dump(value, default_flow_style=True, width=1000)).removesuffix("...\n").strip()


def _field(name: str, field: Schema, root: Schema) -> Iterator[str]:
    resolved = _resolve(field, root)
    if "const" in resolved:
        yield f"{name}: {resolved['const']}"
    elif resolved.get("required"):
        yield f"{name}:"
        for line in _fields(resolved, root, {}):
            yield f"  {line}"
    elif name == "sql":
        yield f"{name}: |"
        yield f"  {blank(_wish(name, field, root))}"
    elif resolved.get("type") == "array":
        yield f"{name}: [{blank(_wish(name, field, root))}]"
    else:
        yield f"{name}: {blank(_wish(name, field, root))}"


def _resolve(field: Schema, root: Schema) -> Schema:
    """The schema itself behind a reference, or the one that is not null of two."""
    if reference := field.get("$ref"):
        found: Schema = root["$defs"][reference.rpartition("/")[2]]
        return found
    options = [one for one in field.get("anyOf", ()) if one.get("type") != "null"]
    return _resolve(options[0], root) if len(options) == 1 else field


def _wish(name: str, field: Schema, root: Schema) -> str:
    """What goes into a field, in its own words where it has any."""
    resolved = _resolve(field, root)
    about = field.get("description") or resolved.get("description") or name.replace("_", " ")
    return f"{' '.join(about.split()).rstrip('.')}; {_shape(resolved, root)}"


def _shape(schema: Schema, root: Schema) -> str:
    schema = _resolve(schema, root)
    if options := schema.get("enum"):
        return f"one of {', '.join(map(str, options))}"
    kind = schema.get("type")
    if kind == "array":
        return f"one or more, each {_shape(schema.get('items', {}), root)}"
    if kind == "object" and "properties" in schema:
        parts = [f"{name} {_inner(part, root)}".strip() for name, part in schema["properties"].items()]
        return "a mapping of " + " and/or ".join(parts)
    if kind == "object":
        keys = schema.get("propertyNames", {})
        named = f"one of {', '.join(keys['enum'])}" if "enum" in keys else "a name"
        none = "" if schema.get("minProperties") else ", or {} for none"
        return f"a mapping of {named} to {_shape(schema.get('additionalProperties', {}), root)}{none}"
    if several := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(_shape(one, root) for one in several)
    bounds = [
        f"{word} {schema[key]}"
        for key, word in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
            ("pattern", "like"),
        )
        if key in schema
    ]
    words = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}
    letters = [f"of at least {schema['minLength']} letters"] if schema.get("minLength", 1) > 1 else []
    return " ".join([words.get(str(kind), "a value"), *letters, *bounds])


def _inner(part: Schema, root: Schema) -> str:
    names = list(_resolve(part, root).get("properties", {}))
    return "{" + ", ".join(names) + "}" if names else ""
