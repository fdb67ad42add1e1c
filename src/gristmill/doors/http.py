"""The HTTP app: every room's routes, health, metrics, OpenAPI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gristmill import __version__, engine, ledger
from gristmill.agents.api import router as agents_router
from gristmill.base.config import Settings
from gristmill.base.db import Database
from gristmill.base.errors import Error
from gristmill.base.http import CallContext, Shared, install_errors, problem_schemas, shared
from gristmill.base.objects import ObjectStore
from gristmill.batches.api import router as batches_router
from gristmill.batches.making.api import router as making_router
from gristmill.connectors.api import router as connectors_router
from gristmill.connectors.inbound.api import router as inbound_router
from gristmill.datasets.api import router as datasets_router
from gristmill.doors.metrics import database_metrics
from gristmill.doors.pages import router as pages_router
from gristmill.enrich.api import router as enrich_router
from gristmill.enrich.uploading.api import router as uploading_router
from gristmill.events.api import router as events_router
from gristmill.events.people.api import router as people_router
from gristmill.identity.api import router as identity_router
from gristmill.inventory.api import router as inventory_router
from gristmill.ledger.api import router as ledger_router
from gristmill.mapping.api import router as mapping_router
from gristmill.sources.api import router as sources_router
from gristmill.sources.inspection.api import router as inspection_router
from gristmill.vault.api import router as vault_router

THREADS = 64
OK = "ok"
STORE_S_MAX = 3.0
"""How long the object store may take to answer before the service counts as not ready."""
SECURITY = {
    "key": {"type": "http", "scheme": "bearer", "bearerFormat": "gm_live_..."},
    "upload_token": {
        "type": "http",
        "scheme": "batch",
        "description": "The `upload_token` of an enrichment upload without a key, until somebody links it.",
    },
}
"""Ways to prove who calls."""
DESCRIPTION = (
    "Rows in, an agent over every row, results out. Send `Authorization: Bearer gm_live_...`. "
    "Errors are RFC 9457 problem documents with a stable `code`."
)


def create_app(database: Database, settings: Settings) -> FastAPI:
    """The app over a database that has been migrated."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        del app
        # The default pool has a handful of threads; calls that wait for a foreign server must not queue behind others.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="call"))
        engine.warm_up(database.url)
        ledger.warm_up(settings)
        yield
        database.close()

    app = FastAPI(
        title="Gristmill",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.shared = Shared(database, settings)
    install_errors(app)
    # The ledger's /agents/balance must be found before /agents/{agent_id}. The routers carry their whole paths, so
    # their routes become the app's own: an included router is asked as a whole, twice over, for every request.
    for router in (
        ledger_router,
        making_router,
        batches_router,
        enrich_router,
        uploading_router,
        agents_router,
        datasets_router,
        sources_router,
        inspection_router,
        mapping_router,
        identity_router,
        events_router,
        people_router,
        vault_router,
        inventory_router,
        connectors_router,
        inbound_router,
    ):
        app.router.routes.extend(router.routes)
    app.include_router(pages_router)
    _add_operations(app)
    app.add_middleware(CallContext, settings=settings)
    return app


class _StoreProbe:
    """Looks at the object store, once at a time: one that hangs must not take a thread for each who asks."""

    def __init__(self) -> None:
        self._look: asyncio.Task[None] | None = None

    async def look(self, settings: Settings) -> str:
        """`ok`, or what is wrong, within `STORE_S_MAX`."""
        look = self._look
        if look is None or look.done():
            look = self._look = asyncio.create_task(asyncio.to_thread(lambda: ObjectStore.of(settings).check()))
        done, _ = await asyncio.wait({look}, timeout=STORE_S_MAX)
        if not done:
            return f"no answer within {STORE_S_MAX:g} s"
        failure = look.exception()
        if failure is None:
            return OK
        return failure.message if isinstance(failure, Error) else type(failure).__name__


def _add_operations(app: FastAPI) -> None:
    store = _StoreProbe()

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> JSONResponse:
        return JSONResponse(openapi_document(app))

    @app.get("/healthz", tags=["Operations"], summary="Alive")
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok", "version": __version__}

    @app.get(
        "/readyz",
        tags=["Operations"],
        summary="Ready",
        responses={503: {"description": "Something that the service needs is missing"}},
    )
    async def readyz(request: Request) -> JSONResponse:
        """Database and object store reachable and a worker alive; 503 with what is missing."""
        state = shared(request)
        checks, told = await asyncio.gather(asyncio.to_thread(_look, state), store.look(state.settings))
        ready = told == checks["database"] == OK and (checks["workers"] > 0 or state.settings.workers == 0)
        body = {"ready": ready, "checks": {**checks, "store": told}}
        return JSONResponse(body, status_code=200 if ready else 503)

    @app.get("/metrics", tags=["Operations"], summary="Prometheus metrics", response_class=Response)
    async def metrics(request: Request) -> Response:
        """Requests, batches, rows, workers and money held, in Prometheus' text format."""
        text = generate_latest() + await asyncio.to_thread(database_metrics, shared(request).database)
        return Response(text, media_type=CONTENT_TYPE_LATEST)


def _look(state: Shared) -> dict[str, Any]:
    """Whether the database answers, and how many workers live; nothing of those where it does not."""
    try:
        with state.database.system() as tx:
            return {"database": OK, "workers": engine.live_workers(tx, within_s=state.settings.lease_timeout_s)}
    except Error as error:
        return {"database": error.message}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The complete OpenAPI 3.1 document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            openapi_version="3.1.0",
        )
        components = document.setdefault("components", {})
        components["schemas"] = dict(sorted({**components.get("schemas", {}), **problem_schemas()}.items()))
        components["securitySchemes"] = SECURITY
        for path, methods in document["paths"].items():
            if path.startswith("/api/"):
                for operation in methods.values():
                    operation.setdefault("security", [{"key": []}])  # a route that opens otherwise says so itself
        app.openapi_schema = document
    return app.openapi_schema
