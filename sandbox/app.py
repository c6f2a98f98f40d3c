"""The sandbox's own routes beside the vendors': clock, tick, faults, arrivals, truth, limits, the page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from sandbox.arrivals import Arrivals
from sandbox.faults import Fault, FaultBook
from sandbox.lender import Lender
from sandbox.limits import RateLimiter
from sandbox.misbehave import VendorDoor
from sandbox.page import render_page
from sandbox.wire import StandIn

MAX_TICK_DAYS = 3660


class SandboxApp:
    """The ASGI application over a lender, its vendors and what arrived."""

    def __init__(
        self, lender: Lender, arrivals: Arrivals, faults: FaultBook, limiter: RateLimiter, vendors: list[StandIn]
    ) -> None:
        self._lender, self._arrivals, self._faults, self._limiter = lender, arrivals, faults, limiter
        self.doors = {vendor.name: VendorDoor(vendor, faults) for vendor in vendors}
        self.asgi = Starlette(
            routes=[
                Route("/", self._page),
                Route("/clock", self._clock),
                Route("/tick", self._tick, methods=["POST"]),
                Route("/limits", self._limits),
                Route("/arrivals.json", self._arrived),
                Route("/truth.json", self._truth),
                Route("/truth/{name}.json", self._truth),
                Route("/faults", self._fault, methods=["GET", "POST", "DELETE"]),
                *(Mount(f"/{name}", app=door) for name, door in self.doors.items()),
            ]
        )

    def calls(self) -> dict[str, dict[str, int]]:
        """Calls answered since the server started, for each vendor: by method and path, and by status."""
        result = {}
        for name, door in self.doors.items():
            counted: Counter[str] = Counter()
            for (method, path, status), number in list(door.calls.items()):
                counted[f"{method} {path}"] += number
                counted[f"status {status}"] += number
                counted["total"] += number
            result[name] = dict(sorted(counted.items()))
        return result

    async def _clock(self, request: Request) -> Response:
        return _json({"as_of": self._lender.as_of.isoformat()})

    async def _tick(self, request: Request) -> Response:
        try:
            days = int((await request.json())["days"])
        except (ValueError, KeyError, TypeError):
            return _json({"error": 'send {"days": N}'}, 400)
        if not 1 <= days <= MAX_TICK_DAYS:
            return _json({"error": f"days must be between 1 and {MAX_TICK_DAYS}"}, 400)
        told = await run_in_threadpool(self._lender.tick, days)
        return _json({**told, "as_of": self._lender.as_of.isoformat()})

    async def _limits(self, request: Request) -> Response:
        limits = self._limiter.limits.items()
        return _json({name: {"calls": limit.calls, "seconds": limit.seconds} for name, limit in limits})

    async def _arrived(self, request: Request) -> Response:
        found = await run_in_threadpool(self._arrivals.everything)
        return _json({**found, "calls": self.calls()})

    async def _truth(self, request: Request) -> Response:
        """All tables, or the one in the path; `limit` and `offset` page through the rows."""
        name = request.path_params.get("name")
        try:
            limit, offset = int(request.query_params.get("limit", -1)), int(request.query_params.get("offset", 0))
        except ValueError:
            return _json({"error": "limit and offset are numbers"}, 400)
        truth = await run_in_threadpool(self._lender.truth)
        if name is not None and name not in truth:
            return _json({"error": f"no truth named {name!r}; there are: {', '.join(sorted(truth))}"}, 404)
        chosen = truth if name is None else {name: truth[name]}
        return _json(await run_in_threadpool(_rows_of, chosen, offset, None if limit < 0 else limit))

    async def _fault(self, request: Request) -> Response:
        if request.method == "DELETE":
            self._faults.clear()
        elif request.method == "POST":
            try:
                asked = await request.json()
                for one in [Fault.model_validate(fault) for fault in (asked if isinstance(asked, list) else [asked])]:
                    self._faults.add(one)
            except ValidationError as error:
                return _json({"error": "no such fault", "details": json.loads(error.json(include_url=False))}, 400)
            except ValueError:
                return _json({"error": "the body is no JSON"}, 400)
        return _json({"faults": self._faults.listing()})

    async def _page(self, request: Request) -> Response:
        html = await run_in_threadpool(
            render_page, self._arrivals, self.calls(), self._lender.as_of, self._faults.listing()
        )
        return Response(html, media_type="text/html; charset=utf-8")


def _rows_of(tables: Mapping[str, Any], offset: int, limit: int | None) -> dict[str, Any]:
    return {
        name: table.slice(offset, limit).to_pylist() if isinstance(table, pa.Table) else table
        for name, table in tables.items()
    }


def _json(body: object, status: int = 200) -> Response:
    content = orjson.dumps(body, default=_plain, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, status, media_type="application/json")


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON")
