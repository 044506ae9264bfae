"""The application: routes, who may use them, and what they cost."""

import hmac
import mimetypes
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from onelook import __version__
from onelook.errors import Error
from onelook.serve import inference, schema, vision
from onelook.serve.metrics import Metrics
from onelook.serve.models import Models
from onelook.serve.problems import ClosingError, FullError, ProblemError, problem_of
from onelook.serve.settings import Settings
from onelook.serve.uploads import Budget

PAGE = Path(__file__).parent / "page"
OPEN = ("/", "/healthz", "/readyz", "/openapi.json")  # to all, as is the page's folder; anything else wants a key
SECURITY = {  # of every answer; the page loads nothing from elsewhere
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "worker-src 'self' blob:; connect-src 'self' blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Without these two a browser lends the page one thread alone.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
for suffix, media_type in ((".js", "text/javascript"), (".mjs", "text/javascript"), (".wasm", "application/wasm")):
    mimetypes.add_type(media_type, suffix)  # some systems know others


def create_app(settings: Settings | None = None) -> FastAPI:
    """The server as an ASGI application, with its models loaded.

    >>> app = create_app(Settings(models={"street": "street.onnx"}))  # then: uvicorn module:app

    It may be mounted in another application. The end of its own lifespan closes the models; a mounted one has none, and
    the models' threads end with the process.

    Raises:
        Error: a model cannot be loaded.
    """
    settings = settings or Settings()
    metrics = Metrics()
    models = Models(settings, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        yield
        app.state.ready = False
        models.close()

    app = FastAPI(
        title="onelook",
        version=__version__,
        description="What is in pictures: objects, classes, masks.",
        lifespan=lifespan,
        docs_url=None,  # their pages come from another host
        redoc_url=None,
    )
    app.state.ready = True
    app.state.models = models
    budget = Budget(settings.max_memory)
    # For the description; it is `_Guarded` that looks at the keys.
    bearer, header = HTTPBearer(auto_error=False), APIKeyHeader(name="X-API-Key", auto_error=False)
    secured = [Depends(bearer), Depends(header)] if settings.keys else []
    app.include_router(vision.router(models, settings, budget), dependencies=secured)
    app.include_router(inference.router(models, settings, budget), dependencies=secured)

    @app.get("/healthz", tags=["state"])
    async def health() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["state"], responses=schema.problems(503))
    async def ready() -> dict[str, str]:
        """Whether requests are taken; 503 when it is shutting down."""
        if not app.state.ready:
            raise ClosingError
        return {"status": "ready"}

    @app.get(
        "/metrics",
        tags=["state"],
        response_class=PlainTextResponse,
        responses=schema.problems(401),
        dependencies=secured,
    )
    def measured() -> Response:
        """Counters for Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    app.mount("/page", StaticFiles(directory=PAGE), "page")

    for kind in (Exception, Error, TimeoutError, ProblemError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer)
    app.add_middleware(_Limited, most=settings.max_requests)
    app.add_middleware(_Guarded, keys=settings.keys, hosts=settings.hosts)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.origins, allow_methods=["*"], allow_headers=["*"], max_age=3600
        )
    app.add_middleware(_Measured, metrics=metrics)
    return app


async def _answer(request: Request, error: Exception) -> JSONResponse:
    """An exception as an answer."""
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = " ".join(map(str, first["loc"]))
        problem = ProblemError(422, f"{where}: {first['msg']}")
    elif isinstance(error, HTTPException):
        problem = ProblemError(error.status_code, error.detail)
        problem.headers = dict(error.headers or {})
    else:
        problem = problem_of(error)
    return _said(problem, _path(request.scope))


def _said(problem: ProblemError, path: str) -> JSONResponse:
    """A problem as problem+json; of /v2 as its protocol has it."""
    if path.startswith("/v2"):
        return JSONResponse({"error": problem.detail}, problem.status, problem.headers)
    return problem.answer()


def _path(scope: Scope) -> str:
    """The path as the routes have it: below where the application is mounted, or what a proxy has taken off."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if f"{path}/".startswith(f"{root}/") else path


def _is_open(path: str) -> bool:
    return path in OPEN or path.startswith("/page/")


class _Limited:
    """Turns away what comes while as many requests as there may be are under way, but for what is open to all."""

    def __init__(self, app: ASGIApp, most: int):
        self._app, self._free = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(path := _path(scope)):
            await self._app(scope, receive, send)
            return
        if not self._free:
            await _said(FullError(), path)(scope, receive, send)
            return
        self._free -= 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._free += 1


class _Guarded:
    """Lets those through who know a key and the server's name, and adds what browsers are to be told."""

    def __init__(self, app: ASGIApp, keys: tuple[str, ...], hosts: tuple[str, ...]):
        self._app, self._hosts = app, hosts
        self._keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = _path(scope)  # now: what is mounted below changes the scope

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY)
                if path.startswith(("/page/", "/v1/models")) or path == "/":
                    headers["Cache-Control"] = "no-cache"  # asks again, by the ETag: files of two versions do not mix
            await send(message)

        problem = self._refusal(path, Headers(scope=scope))
        if problem is None:
            await self._app(scope, receive, send_guarded)
        else:
            await _said(problem, path)(scope, receive, send_guarded)

    def _refusal(self, path: str, headers: Headers) -> ProblemError | None:
        if self._hosts and not self._is_meant(headers):
            names = ", ".join(self._hosts)
            return ProblemError(
                403, f"this server answers as {names} alone, unless it is started with keys or --no-key"
            )
        if self._keys and not _is_open(path) and not self._knows(headers):
            return ProblemError(401, "a key is needed: Authorization: Bearer KEY", WWW_Authenticate="Bearer")
        return None

    def _is_meant(self, headers: Headers) -> bool:
        """Whether the name that was asked for is one of the server's. Browsers always say it."""
        host = headers.get("host")
        try:
            return host is None or urlsplit(f"//{host}").hostname in self._hosts
        except ValueError:
            return False

    def _knows(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        return any(hmac.compare_digest(given.encode(), key) for key in self._keys)


class _Measured:
    """Counts answers by route."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        finally:
            route = scope.get("route")
            self._metrics.request(getattr(route, "path", "other"), status, time.perf_counter() - start)
