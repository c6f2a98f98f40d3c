"""The vendors' descriptions, and where they are amended because the vendor says otherwise elsewhere.

They lie beside the checkout, as data do. An amendment names its reason; it widens what is described, and what it
leaves is still checked.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from lendloop.home import CHECKOUT

FOLDER = CHECKOUT.parent / "shared" / "specs"
ABSENT_IN_A_TICKET = (
    "assignee_id",
    "external_id",
    "group_id",
    "organization_id",
    "priority",
    "satisfaction_rating",
    "type",
)

Description = dict[str, Any]


def described(vendor: str) -> Description:
    """A vendor's description as the stand-in and our client must keep it."""
    description: Description = json.loads((FOLDER / f"{vendor}.slim.json").read_text())
    {"zendesk": _zendesk, "slack": _slack}[vendor](description)
    return description


def _zendesk(description: Description) -> None:
    # the description's own example of an answer continues at `.../cursor.json`: every path has that form too
    description["paths"] |= {f"{path}.json": operations for path, operations in description["paths"].items()}
    # a ticket without a requester's organisation, a type or a priority has null there; the description knows only
    # that of `due_at`
    ticket = description["components"]["schemas"]["TicketObject"]["properties"]
    for name in ABSENT_IN_A_TICKET:
        ticket[name]["nullable"] = True
    ticket["custom_fields"]["items"]["properties"]["value"]["nullable"] = True
    # the guide to the incremental export: a deleted ticket is exported, with this status
    ticket["status"]["enum"].append("deleted")
    # a user may have a phone and no e-mail; the description knows only of users without a phone
    description["components"]["schemas"]["UserForAdmin"]["properties"]["email"]["nullable"] = True
    # search is not among the operations described here: this and its export are as the reference has them
    counted = {"type": "object", "required": ["count"], "properties": {"count": {"type": "integer"}}}
    description["paths"]["/api/v2/search/count.json"] = {
        "get": {
            "parameters": [{"name": "query", "in": "query", "required": True, "schema": {"type": "string"}}],
            "responses": {"200": {"description": "ok", "content": {"application/json": {"schema": counted}}}},
        }
    }
    cursor = {"type": "string", "nullable": True}
    exported = {
        "type": "object",
        "required": ["results", "meta", "links"],
        "properties": {
            "results": {"type": "array", "items": {"type": "object", "required": ["id", "result_type"]}},
            "meta": {
                "type": "object",
                "required": ["has_more"],
                "properties": {"has_more": {"type": "boolean"}, "after_cursor": cursor},
            },
            "links": {"type": "object", "properties": {"next": cursor, "prev": cursor}},
        },
    }
    parameters = (
        ("query", True, {"type": "string"}),
        ("filter[type]", False, {"type": "string", "enum": ["ticket", "user", "organization", "group"]}),
        ("page[size]", False, {"type": "integer", "minimum": 1, "maximum": 1000}),
        ("page[after]", False, {"type": "string"}),
    )
    description["paths"]["/api/v2/search/export.json"] = {
        "get": {
            "parameters": [
                {"name": name, "in": "query", "required": required, "schema": schema}
                for name, required, schema in parameters
            ],
            "responses": {"200": {"description": "ok", "content": {"application/json": {"schema": exported}}}},
        }
    }


def _slack(description: Description) -> None:
    # the method reference takes GET and POST for each method; Slack's own client posts a form
    for operations in description["paths"].values():
        if "get" in operations and "post" not in operations:
            operation = copy.deepcopy(operations["get"])
            properties = {one["name"]: one["schema"] for one in operation.pop("parameters", [])}
            form = {"schema": {"type": "object", "properties": properties}}
            operation["operationId"] = f"{operation.get('operationId', '')}_by_post"
            operation["requestBody"] = {"content": {"application/x-www-form-urlencoded": form}}
            operations["post"] = operation
    # an edited message's blocks are an array, as they are in its request and in every other message
    edited = description["paths"]["/chat.update"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    edited["properties"]["message"]["properties"]["blocks"] = {"$ref": "#/components/schemas/blocks"}
    # a refusal is a 200 too, as each method's reference shows it among its errors
    refusal = {
        "type": "object",
        "required": ["ok", "error"],
        "properties": {"ok": {"type": "boolean", "enum": [False]}, "error": {"type": "string"}},
    }
    for operations in description["paths"].values():
        for operation in operations.values():
            content = operation["responses"]["200"]["content"]["application/json"]
            content["schema"] = {"anyOf": [content["schema"], refusal]}
