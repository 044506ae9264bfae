"""/v1: pictures in, what is on them out; the models."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel

from onelook.serve import schema, uploads
from onelook.serve.models import Look, Models, Served
from onelook.serve.problems import problem_of
from onelook.serve.settings import Settings

Endpoint = TypeVar("Endpoint", bound=Callable[..., Coroutine[Any, Any, Response]])

OF_PICTURES = (400, 401, 404, 413, 415, 422, 429, 500, 503, 504)  # what a request with pictures may be answered

Name = Annotated[str, Path(max_length=100, pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Wanted = Annotated[str | None, Query(description="name of a model; by default the first for the task")]
Threshold = Annotated[
    float | None, Query(ge=0, le=1, allow_inf_nan=False, description="least score; the model's own by default")
]
Iou = Annotated[
    float | None, Query(ge=0, le=1, allow_inf_nan=False, description="overlap above which the better one stays")
]
Classes = Annotated[str | None, Query(description="names of classes to keep, separated by commas")]
Top = Annotated[int, Query(ge=1, le=1000, description="classes to give of each picture")]
Timeout = Annotated[
    float | None, Query(gt=0, allow_inf_nan=False, description="seconds to answer in, where fewer than the server's")
]


def router(models: Models, settings: Settings, budget: uploads.Budget) -> APIRouter:
    """The routes of some models."""
    own = APIRouter(prefix="/v1")

    async def look(request: Request, served: Served, work: Look, timeout: float | None) -> Response:
        start = time.monotonic()
        within = min(timeout or settings.deadline, settings.deadline)
        with budget.hold(request, settings.max_bytes):
            async with asyncio.timeout(within):
                pictures = await uploads.pictures(request, settings)
                results = await served.batcher.submit(work, pictures, start + within)
        errors = [result for result in results if isinstance(result, Exception)]
        if len(errors) == len(results):
            raise errors[0]
        answers = [
            {"source": picture.name, "problem": problem_of(result).to_dict()}
            if isinstance(result, Exception)
            else result
            for picture, result in zip(pictures, results, strict=True)
        ]
        seconds = round(time.monotonic() - start, 4)
        content = json.dumps({"model": served.name, "seconds": seconds, "results": answers})
        return Response(content, media_type="application/json")

    def verb(task: str, answer: type[BaseModel]) -> Callable[[Endpoint], Endpoint]:
        example = {"content": {"application/json": {"example": schema.EXAMPLES[task]}}}
        described = {200: {"model": answer, **example}, **schema.problems(*OF_PICTURES)}
        return own.post(f"/{task}", responses=described, openapi_extra=schema.BODY, response_class=JSONResponse)

    @verb("detect", schema.Detected)
    async def detect(
        request: Request,
        model: Wanted = None,
        threshold: Threshold = None,
        iou: Iou = None,
        classes: Classes = None,
        timeout: Timeout = None,
    ) -> Response:
        """Find the objects in pictures."""
        names = None if classes is None else frozenset(name.strip() for name in classes.split(","))
        served = models.find(model, "detect")
        return await look(request, served, Look((threshold, iou), names), timeout)

    @verb("classify", schema.Classifications)
    async def classify(request: Request, model: Wanted = None, top: Top = 5, timeout: Timeout = None) -> Response:
        """Say what pictures show."""
        return await look(request, models.find(model, "classify"), Look(top=top), timeout)

    @verb("segment", schema.Segmentations)
    async def segment(
        request: Request,
        model: Wanted = None,
        threshold: Threshold = None,
        iou: Iou = None,
        timeout: Timeout = None,
    ) -> Response:
        """Say which pixels belong to what; thresholds are of models that find objects and give their masks."""
        served = models.find(model, "segment")
        return await look(request, served, Look((threshold, iou) if served.info.masks else ()), timeout)

    @own.get("/models", response_model=schema.ModelList, responses=schema.problems(401))
    async def all_models() -> Any:
        """The models that are loaded."""
        return {"models": models.to_dict()}

    @own.get("/models/{name}", response_model=schema.Model, responses=schema.problems(401, 404, 422))
    async def one_model(name: Name) -> Any:
        """A model that is loaded."""
        return models.describe(name)

    @own.get("/models/{name}/file", response_class=FileResponse, responses=schema.problems(401, 404, 422))
    async def model_file(name: Name) -> FileResponse:
        """The model file itself, to be run elsewhere."""
        return FileResponse(models.get(name).info.path, media_type="application/octet-stream", filename=f"{name}.onnx")

    @own.put("/models/{name}", response_model=schema.Model, status_code=201, responses=schema.problems(401, 403, 422))
    async def load(name: Name, file: schema.ModelFile, response: Response) -> Any:
        """Load a model file of the server's folder; the one that had the name answers what it had taken, and goes (200)."""
        if not await asyncio.to_thread(models.load, name, file.path):
            response.status_code = 200
        return models.describe(name)

    @own.delete("/models/{name}", status_code=204, responses=schema.problems(401, 403, 404, 422))
    async def unload(name: Name) -> None:
        """Forget a model, when it has done what it had taken."""
        await asyncio.to_thread(models.unload, name)

    return own
