"""A vendor of company data for bench/enrich.py: answers after a while, and asks for less when too many ask at once.

python bench/bench_vendor.py PORT LATENCY_MS IN_FLIGHT_MAX      0: everybody is served, as after POST /serve_all
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web

RETRY_AFTER_S = "0.2"


def serve(port: int, latency_s: float, in_flight_max: int) -> None:
    """Until we are ended."""
    running = refused = answered = 0

    async def find(request: web.Request) -> web.Response:
        nonlocal running, refused, answered
        if in_flight_max and running >= in_flight_max:
            refused += 1
            return web.Response(status=429, headers={"Retry-After": RETRY_AFTER_S})
        running += 1
        try:
            await asyncio.sleep(latency_s)
        finally:
            running -= 1
        answered += 1
        company = request.query["company"]
        number = sum(map(ord, company)) % 10_000
        record = {"name": company, "phone": f"(813) 555-{number:04d}", "email": f"office@company{number}.com"}
        return web.json_response({"data": [record]})

    async def counts(request: web.Request) -> web.Response:
        del request
        return web.json_response({"refused": refused, "answered": answered})

    async def serve_all(request: web.Request) -> web.Response:
        nonlocal in_flight_max
        del request
        in_flight_max = 0
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/find", find)
    app.router.add_post("/serve_all", serve_all)
    app.router.add_get("/counts", counts)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=lambda *_: None)


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]) / 1000, int(sys.argv[3]))
