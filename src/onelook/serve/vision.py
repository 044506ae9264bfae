"""/v1: pictures in, what is on them out; the models."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ValidationError

from onelook.serve import schema, uploads
from onelook.serve.models import Look, Models
from onelook.serve.problems import ProblemError, problem_of
from onelook.serve.settings import NAME, Settings

Endpoint = TypeVar("Endpoint", bound=Callable[..., Coroutine[Any, Any, Response]])

OF_PICTURES = (400, 401, 404, 413, 415, 422, 429, 500, 503, 504)  # what a request with pictures may be answered

Name = Annotated[str, Path(pattern=NAME)]
Wanted = Annotated[str | None, Query(description="name of a model; by default the first for the task")]
Threshold = Annotated[
    float | None,
    Query(ge=0, le=1, allow_inf_nan=False, description="score that objects must be above; the model's own by default"),
]
Iou = Annotated[
    float | None, Query(ge=0, le=1, allow_inf_nan=False, description="overlap above which the better one stays")
]
Classes = Annotated[list[str] | None, Query(description="names of classes to keep, separated by commas")]
Top = Annotated[int, Query(ge=1, le=1000, description="classes to give of each picture")]
Timeout = Annotated[
    float | None, Query(gt=0, allow_inf_nan=False, description="seconds to answer in, where fewer than the server's")
]


def router(models: Models, settings: Settings, budget: uploads.Budget) -> APIRouter:
    """The routes of some models."""
    own = APIRouter(prefix="/v1")

    async def look(request: Request, task: str, model: str | None, work: Look, timeout: float | None) -> Response:
        models.find(model, task)  # before the body comes, which may be large
        start, most = time.monotonic(), settings.max_bytes
        within = min(timeout or settings.deadline, settings.deadline)
        # How long a picture is that is named by its URL nobody knows yet.
        size = most if uploads.media_type(request) == uploads.JSON else uploads.announced(request, most)
        with budget.hold(size):
            async with asyncio.timeout(within):
                pictures = await uploads.pictures(request, settings, within)
                served = models.find(model, task)  # meanwhile another may have taken its place
                results = await uploads.unless_gone(request, served.batcher.submit(work, pictures, start + within))
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
        names = None if classes is None else frozenset(filter(None, map(str.strip, ",".join(classes).split(","))))
        if names is not None and not names:
            raise ProblemError(422, "classes names none")
        return await look(request, "detect", model, Look((threshold, iou), names), timeout)

    @verb("classify", schema.Classifications)
    async def classify(request: Request, model: Wanted = None, top: Top = 5, timeout: Timeout = None) -> Response:
        """Say what pictures show."""
        return await look(request, "classify", model, Look(top=top), timeout)

    @verb("segment", schema.Segmentations)
    async def segment(
        request: Request,
        model: Wanted = None,
        threshold: Threshold = None,
        iou: Iou = None,
        timeout: Timeout = None,
    ) -> Response:
        """Say which pixels belong to what; thresholds are of models that find objects and give their masks."""
        return await look(request, "segment", model, Look((threshold, iou)), timeout)

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
        path = models.get(name).info.path
        if not path.is_file():
            raise ProblemError(404, f"the file of {name!r} is no longer there")
        return FileResponse(path, media_type="application/octet-stream", filename=f"{name}.onnx")

    @own.put(
        "/models/{name}",
        response_model=schema.Model,
        status_code=201,
        responses={200: {"model": schema.Model}, **schema.problems(400, 401, 403, 413, 422, 504)},
        openapi_extra=schema.FILE,
    )
    async def load(name: Name, request: Request, response: Response) -> Any:
        """Load a model file of the server's folder; the one that had the name answers what it had taken, and goes (200)."""
        models.folder()
        async with asyncio.timeout(settings.deadline):
            data = await uploads.body(request, uploads.BRIEF)
        try:
            file = schema.ModelFile.model_validate_json(data)
        except ValidationError:
            raise ProblemError(422, 'expected {"path": "street.onnx"}') from None
        if not await asyncio.to_thread(models.load, name, file.path):
            response.status_code = 200
        return models.describe(name)

    @own.delete("/models/{name}", status_code=204, responses=schema.problems(401, 403, 404, 422))
    async def unload(name: Name) -> None:
        """Forget a model, when it has done what it had taken."""
        await asyncio.to_thread(models.unload, name)

    return own
