"""How each vendor refuses a call that a fault meets: status, headers and body in its own words.

Sources: the vendors' API references. HubSpot names the limit in `policyName` and tells what is left in headers that
its search lacks; Zendesk and Slack send Retry-After in seconds, Blueshift sends none.
"""

from __future__ import annotations

from typing import Any

from sandbox.faults import Fault
from sandbox.wire import Call, Reply, request_id


def refusal(fault: Fault, call: Call) -> Reply:
    """The reply of a `status`, `rate_limit` or `expired`; what the fault gives itself goes first."""
    if fault.kind == "rate_limit":
        reply = _rate_limit(fault, call)
    elif fault.kind == "expired":
        reply = _expired(fault)
    else:
        reply = Reply(_failure(fault), fault.status)
    body = reply.body if fault.body is None else fault.body
    return Reply(body, reply.status, {**reply.headers, **fault.headers})


def _failure(fault: Fault) -> Any:
    text = f"sandbox fault: {fault.status}"
    if fault.system == "slack":
        return {"ok": False, "error": "ratelimited" if fault.status == 429 else "internal_error"}
    if fault.system == "hubspot":
        category = "RATE_LIMITS" if fault.status == 429 else "INTERNAL_ERROR"
        return {"status": "error", "message": text, "category": category}
    return {"error": "InternalError", "description": text} if fault.system == "zendesk" else {"message": text}


def _rate_limit(fault: Fault, call: Call) -> Reply:
    wait = {"Retry-After": fault.retry_after}
    if fault.system == "hubspot":
        return _hubspot_limit(fault, is_search=call.path.rstrip("/").endswith("/search"))
    if fault.system == "zendesk":
        text = "Number of allowed API requests per minute exceeded"
        return Reply({"error": "APIRateLimitExceeded", "description": text}, 429, wait)
    if fault.system == "slack":
        body = {"ok": False, "error": "ratelimited"}
        return Reply(body, 200) if fault.policy == "in_body" else Reply(body, 429, wait)
    return Reply({"message": "Rate limit exceeded - Too many requests"}, 429)


def _hubspot_limit(fault: Fault, *, is_search: bool) -> Reply:
    if fault.policy == "daily":
        policy, words = "DAILY", "daily"
    else:
        policy, words = ("SECONDLY", "secondly") if is_search else ("TEN_SECONDLY_ROLLING", "ten_secondly_rolling")
    body = {"status": "error", "message": f"You have reached your {words} limit.", "errorType": "RATE_LIMIT"}
    body |= {"correlationId": request_id(), "policyName": policy, "requestId": request_id()}
    if is_search:
        return Reply(body, 429)
    left = {"X-HubSpot-RateLimit-Interval-Milliseconds": "10000", "X-HubSpot-RateLimit-Remaining": "0"}
    return Reply(body, 429, {**left, "X-HubSpot-RateLimit-Daily-Remaining": "0" if policy == "DAILY" else "1000"})


def _expired(fault: Fault) -> Reply:
    if fault.system == "slack":
        return Reply({"ok": False, "error": "token_expired"})
    if fault.system == "hubspot":
        message = "The OAuth token used to make this call expired 5 second(s) ago."
        return Reply({"status": "error", "message": message, "category": "EXPIRED_AUTHENTICATION"}, 401)
    if fault.system == "zendesk":
        return Reply({"error": "invalid_token", "error_description": "The access token provided is expired"}, 401)
    return Reply({"message": "Not authorized"}, 401)
