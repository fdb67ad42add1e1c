"""Routes that are worked out late: found as before, answered as before, and told apart by nothing."""

from __future__ import annotations

import threading
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Body, FastAPI, Query
from fastapi.exceptions import FastAPIError
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from gristmill.base.routes import LateRoute


def app_of(kind: type[APIRoute]) -> tuple[FastAPI, list[Any]]:
    router = APIRouter(prefix="/api", tags=["Things"], route_class=kind)

    @router.get("/things/{number}", summary="One thing")
    def one(number: int, deep: Annotated[bool, Query(description="All of it")] = False) -> dict[str, Any]:
        """What there is."""
        return {"number": number, "deep": deep}

    @router.post("/things", status_code=201, name="make")
    def make(names: Annotated[list[str], Body(min_length=1)]) -> list[str]:
        return names

    app = FastAPI()
    app.router.routes.extend(router.routes)
    return app, list(router.routes)


def test_a_late_route_is_one_like_any_other() -> None:
    late, routes = app_of(LateRoute)
    plain, _ = app_of(APIRoute)
    asked = [
        ("GET", "/api/things/7?deep=true", None),
        ("GET", "/api/things/x", None),
        ("POST", "/api/things", ["a"]),
        ("POST", "/api/things", []),
        ("PUT", "/api/things", None),
        ("GET", "/api/nothing", None),
    ]
    with TestClient(late) as one, TestClient(plain) as other:
        assert all(route._late is not None for route in routes)
        for method, path, body in asked:
            first, second = one.request(method, path, json=body), other.request(method, path, json=body)
            assert (first.status_code, first.json()) == (second.status_code, second.json())
        assert one.get("/openapi.json").json() == other.get("/openapi.json").json()
    assert all(route._late is None for route in routes)
    assert late.url_path_for("make") == "/api/things"


def test_only_the_route_that_is_asked_for_is_worked_out() -> None:
    app, (one, make) = app_of(LateRoute)
    with TestClient(app) as client:
        assert client.get("/api/things/1").status_code == 200
    assert (one._late, make._late is None) == (None, False)


def test_threads_that_ask_together_work_it_out_once() -> None:
    _, (route, _) = app_of(LateRoute)
    seen: list[Any] = []
    threads = [threading.Thread(target=lambda: seen.append(route.dependant)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert all(item is seen[0] for item in seen)


def test_an_endpoint_that_is_wrong_is_told_each_time_it_is_asked_for() -> None:
    class Odd:
        pass

    def wrong() -> Odd:
        return Odd()

    route = LateRoute("/odd", wrong, response_model=Odd)
    for _ in range(2):
        with pytest.raises(FastAPIError):
            _ = route.dependant
    with pytest.raises(AttributeError):
        _ = app_of(LateRoute)[1][0].no_such_thing
