"""Writes docs/interfaces.md from the definitions themselves, and docs/faults.md; tests fail when they are not up to date.

Run with `make docs`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from activation.audiences import json_schema as audience_schema
from activation.rules import rule_schema
from lendloop.project import load_manifest, meaning_of
from lendloop.settings import load_settings

HERE = Path(__file__).resolve().parent
TARGET = HERE / "interfaces.md"
FIXED = HERE / "interfaces.fixed.md"


def render() -> str:
    """The whole document."""
    manifest = load_manifest(load_settings().home)
    models = sorted(
        (
            node
            for node in manifest["nodes"].values()
            if node["resource_type"] == "model" and node["schema"] in ("trusted", "kpi", "contacts")
        ),
        key=lambda node: (("trusted", "kpi", "contacts").index(node["schema"]), node["alias"]),
    )
    parts = [FIXED.read_text().rstrip(), "## Tables\n\n" + "\n\n".join(_model(node) for node in models)]
    parts.append("## An audience's file\n\n" + _schema(json.loads(audience_schema())))
    parts.append("## A rule's file\n\n" + _schema(rule_schema()))
    return "\n\n".join(parts) + "\n"


def _model(node: dict[str, Any]) -> str:
    meta = node["config"]["meta"]
    lines = [f"### {node['schema']}.{node['alias']}", "", " ".join(node["description"].split()), ""]
    lines += [f"One row: {', '.join(meta['key'])}. Group `{node['group']}`, owner {meta['owner']}.", ""]
    lines += ["| column | type | meaning |", "|---|---|---|"]
    lines += [
        f"| {name} | {column.get('data_type') or ''} | {' '.join(meaning_of(column['description']).split()).replace('|', '/')} |"
        for name, column in node["columns"].items()
    ]
    return "\n".join(lines)


def _schema(schema: dict[str, Any]) -> str:
    return (
        _fields(schema)
        + "\n\n"
        + "\n\n".join(
            f"**{name}**\n\n{_fields(part)}"
            for name, part in sorted(schema.get("$defs", {}).items())
            if part.get("properties")
        )
    )


def _fields(schema: dict[str, Any]) -> str:
    required = set(schema.get("required", []))
    lines = ["| field | type | needed | meaning |", "|---|---|---|---|"]
    for name, field in schema.get("properties", {}).items():
        default = (
            ""
            if name in required
            else f"default `{json.dumps(field['default'])}`"
            if "default" in field
            else "optional"
        )
        text = " ".join(field.get("description", "").split()).replace("|", "/")
        lines.append(f"| {name} | {_type(field)} | {'yes' if name in required else default} | {text} |")
    return "\n".join(lines)


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return str(field["$ref"].rsplit("/", 1)[1])
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    options = field.get("anyOf") or field.get("oneOf")
    if options:
        return " or ".join(dict.fromkeys(_type(option) for option in options))
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    return str(field.get("type", "any"))


if __name__ == "__main__":
    import faults

    TARGET.write_text(render())
    faults.TARGET.write_text(faults.render())
