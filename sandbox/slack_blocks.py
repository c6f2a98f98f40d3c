"""Block Kit's rules, as far as alerts use them: what `invalid_blocks` is said for."""

from __future__ import annotations

from typing import Any

MAX_BLOCKS = 50
SECTION_TEXT, FIELD_TEXT, HEADER_TEXT, BUTTON_TEXT = 3000, 2000, 150, 75
MAX_FIELDS, MAX_ELEMENTS, MAX_CONTEXT, ACTION_ID, BUTTON_VALUE, URL, BLOCK_ID = 10, 25, 10, 255, 2000, 3000, 255


def faults_of(blocks: object) -> list[str]:
    """What is wrong with a message's blocks, one line each; empty when Slack would take them."""
    if not isinstance(blocks, list):
        return ["blocks must be an array"]
    if len(blocks) > MAX_BLOCKS:
        return [f"no more than {MAX_BLOCKS} items allowed [json-pointer:/blocks]"]
    faults = []
    ids = [block.get("block_id") for block in blocks if isinstance(block, dict) and block.get("block_id")]
    if len(ids) != len(set(ids)):
        faults.append("block_id must be unique [json-pointer:/blocks]")
    for number, block in enumerate(blocks):
        faults += [f"{fault} [json-pointer:/blocks/{number}]" for fault in _block_faults(block)]
    return faults


def _block_faults(block: Any) -> list[str]:
    if not isinstance(block, dict):
        return ["must be an object"]
    if len(str(block.get("block_id") or "")) > BLOCK_ID:
        return [f"block_id must be at most {BLOCK_ID} characters"]
    match block.get("type"):
        case "section":
            return _section_faults(block)
        case "header":
            return _text_faults(block.get("text"), HEADER_TEXT, kinds=("plain_text",))
        case "divider":
            return []
        case "context":
            return _elements_faults(block, MAX_CONTEXT, _context_faults)
        case "actions":
            return _elements_faults(block, MAX_ELEMENTS, _element_faults)
        case "image":
            return [] if block.get("image_url") and block.get("alt_text") else ["image needs image_url and alt_text"]
        case "rich_text" | "input" | "file" | "video":
            return []
        case other:
            return [f"unsupported type: {other}"]


def _section_faults(block: dict[str, Any]) -> list[str]:
    faults = []
    if "text" in block:
        faults += _text_faults(block["text"], SECTION_TEXT)
    fields = block.get("fields")
    if fields is None and "text" not in block:
        faults.append("section needs text or fields")
    if fields is not None:
        if not isinstance(fields, list) or not 0 < len(fields) <= MAX_FIELDS:
            return [*faults, f"fields must be 1 to {MAX_FIELDS}"]
        for one in fields:
            faults += _text_faults(one, FIELD_TEXT)
    if "accessory" in block:
        faults += _element_faults(block["accessory"])
    return faults


def _elements_faults(block: dict[str, Any], limit: int, check: Any) -> list[str]:
    elements = block.get("elements")
    if not isinstance(elements, list) or not 0 < len(elements) <= limit:
        return [f"elements must be 1 to {limit}"]
    return [fault for element in elements for fault in check(element)]


def _context_faults(element: Any) -> list[str]:
    if isinstance(element, dict) and element.get("type") == "image":
        return [] if element.get("image_url") and element.get("alt_text") else ["image needs image_url and alt_text"]
    return _text_faults(element, SECTION_TEXT)


def _element_faults(element: Any) -> list[str]:
    if not isinstance(element, dict) or not element.get("type"):
        return ["element needs a type"]
    if element["type"] != "button":
        return []
    faults = _text_faults(element.get("text"), BUTTON_TEXT, kinds=("plain_text",))
    for name, limit in (("action_id", ACTION_ID), ("value", BUTTON_VALUE), ("url", URL)):
        if len(str(element.get(name) or "")) > limit:
            faults.append(f"{name} must be at most {limit} characters")
    if element.get("style") not in (None, "primary", "danger"):
        faults.append("style must be primary or danger")
    return faults


def _text_faults(text: Any, limit: int, kinds: tuple[str, ...] = ("mrkdwn", "plain_text")) -> list[str]:
    if not isinstance(text, dict) or text.get("type") not in kinds or not isinstance(text.get("text"), str):
        return [f"text must be an object of type {' or '.join(kinds)}"]
    if not text["text"]:
        return ["text must be more than 0 characters"]
    return [f"text must be at most {limit} characters"] if len(text["text"]) > limit else []
