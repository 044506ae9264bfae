"""/v2: the Open Inference Protocol (KServe's REST), so that its clients can use the models.

Tensors are those of the model file (docs/model-file.md): `image` UINT8 [B, H, W, 3] of the input's size; thresholds may be
left out. Data is JSON, or bytes behind it (the extension "binary_tensor_data"). Each model has one version, "1".
https://github.com/kserve/open-inference-protocol
"""

import asyncio
import json
import math
import time
from contextlib import nullcontext
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray

from onelook import __version__
from onelook.runtime.session import ModelInfo
from onelook.serve import schema
from onelook.serve.models import Models, Tensors
from onelook.serve.problems import ProblemError
from onelook.serve.settings import Settings
from onelook.serve.uploads import BRIEF, Budget, announced, body, unless_gone
from onelook.serve.vision import Name

BINARY = "binary_tensor_data"
MAX_JSON = 8 << 20  # bytes of a request's JSON; a picture of 640 x 640 takes 6 MB
MAX_NUMBERS = 4 << 20  # of an output in JSON
JSON_LENGTH = "Inference-Header-Content-Length"
DTYPES: dict[str, np.dtype[Any]] = {
    "UINT8": np.dtype(np.uint8),
    "INT64": np.dtype(np.int64),
    "FP32": np.dtype(np.float32),
}
DATATYPES = {dtype: name for name, dtype in DTYPES.items()}
INPUTS = {"image": "UINT8", "score_threshold": "FP32", "iou_threshold": "FP32"}
OUTPUTS = {
    "boxes": ("FP32", [-1, 4]),
    "scores": ("FP32", [-1]),
    "classes": ("INT64", [-1]),
    "batch_index": ("INT64", [-1]),
    "probabilities": ("FP32", [-1, -1]),
    "mask": ("UINT8", [-1, -1, -1]),
    "masks": ("UINT8", [-1, -1, -1]),
}

INFER = schema.failures(400, 401, 404, 413, 422, 429, 500, 503, 504)


def router(models: Models, settings: Settings, budget: Budget) -> APIRouter:
    """The routes of some models."""
    own = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    reading = asyncio.Lock()

    @own.get("", responses=schema.failures(401))
    async def server() -> dict[str, Any]:
        """What this server is."""
        return {"name": "onelook", "version": __version__, "extensions": [BINARY]}

    @own.get("/health/live", responses=schema.failures(401))
    async def live() -> dict[str, bool]:
        """Whether it answers."""
        return {"live": True}

    @own.get("/health/ready", responses=schema.failures(401))
    async def ready() -> dict[str, bool]:
        """Whether all models are loaded: they are, before it listens."""
        return {"ready": True}

    @own.get("/models/{name}/versions/1", responses=schema.failures(401, 404, 422))
    @own.get("/models/{name}", responses=schema.failures(401, 404, 422))
    async def model(name: Name) -> dict[str, Any]:
        """The tensors of a model."""
        info = models.get(name).info
        thresholds = ("score_threshold", "iou_threshold") if info.task == "detect" else ()
        sides = [-1, -1] if info.dynamic_size else list(info.size)
        return {
            "name": name,
            "versions": ["1"],
            "platform": "onnx",
            "inputs": [
                {"name": "image", "datatype": "UINT8", "shape": [info.batch or -1, *sides, 3]},
                *({"name": threshold, "datatype": "FP32", "shape": []} for threshold in thresholds),
            ],
            "outputs": [
                {"name": output, "datatype": OUTPUTS[output][0], "shape": OUTPUTS[output][1]} for output in info.outputs
            ],
        }

    @own.get("/models/{name}/versions/1/ready", responses=schema.failures(401, 404, 422))
    @own.get("/models/{name}/ready", responses=schema.failures(401, 404, 422))
    async def model_ready(name: Name) -> dict[str, Any]:
        """Whether a model is loaded."""
        return {"name": models.get(name).name, "ready": True}

    @own.post("/models/{name}/versions/1/infer", responses=INFER, openapi_extra=schema.TENSORS)
    @own.post("/models/{name}/infer", responses=INFER, openapi_extra=schema.TENSORS)
    async def infer(name: Name, request: Request) -> Response:
        """Run a model on tensors."""
        models.get(name)  # before the body comes, which may be large
        deadline = time.monotonic() + settings.deadline
        with budget.hold(announced(request, settings.max_bytes)):
            async with asyncio.timeout(settings.deadline):
                head, rest = _split(await body(request, settings.max_bytes), request.headers.get(JSON_LENGTH))
                # Numbers in JSON take long to read, many times their bytes, and the interpreter's lock: one at a time, and
                # in another thread, so that the one that serves everybody has its turns.
                async with reading if len(head) > BRIEF else nullcontext():
                    message, tensors = await asyncio.to_thread(_read, head, rest)
                del head, rest
                served = models.get(name)  # meanwhile another may have taken its place
                images, thresholds = _feed(tensors, served.info)
                work = served.batcher.submit(Tensors(thresholds), [images], deadline)
                (result,) = await unless_gone(request, work)
        if isinstance(result, Exception):
            raise result
        outputs = dict(zip(served.info.outputs, result, strict=True))
        return await asyncio.to_thread(_response, name, message, outputs)

    return own


def _split(data: bytes, length: str | None) -> tuple[bytes, memoryview]:
    """A body's JSON, `length` bytes or all of it, and what is behind it. Raises ProblemError 400, and 413 for too much."""
    end = len(data) if length is None else int(length) if length.isdecimal() and len(length) < 12 else -1
    if not 0 <= end <= len(data):
        raise ProblemError(400, f"{JSON_LENGTH} {length!r} of a body of {len(data)} bytes")
    if end > MAX_JSON:
        raise ProblemError(413, f"a request may have {MAX_JSON} bytes of JSON; send tensors in binary ({BINARY})")
    return data[:end], memoryview(data)[end:]


def _read(head: bytes, rest: memoryview) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The message of a request, and its inputs. Raises ProblemError 400."""
    try:
        message = json.loads(head)
        tensors = {}
        for tensor in message.pop("inputs"):  # as numbers of Python they take many times their bytes
            name = tensor["name"]
            if name not in INPUTS:
                raise ProblemError(400, f"there is no input {name!r:.100}; it has {', '.join(INPUTS)}")
            tensors[name], rest = _tensor(tensor, rest)
    except (ValueError, ArithmeticError, RecursionError, TypeError, KeyError, AttributeError) as error:
        what = f"{type(error).__name__} {error}".replace("\n", " ")
        raise ProblemError(400, f"not a request of the Open Inference Protocol: {what:.200}") from None
    return message, tensors


def _feed(tensors: dict[str, NDArray[Any]], info: ModelInfo) -> tuple[NDArray[np.uint8], tuple[float, ...]]:
    """The pictures and the thresholds for a model. Raises ProblemError 400."""
    if "image" not in tensors:
        raise ProblemError(400, "the input 'image' is missing")
    images = tensors["image"]
    _check_shape(images.shape, info)
    if info.task != "detect":
        return images, ()
    thresholds = []
    for name, default in (("score_threshold", info.score_threshold), ("iou_threshold", info.iou_threshold)):
        given = tensors.get(name, np.array(default))
        if given.size != 1 or not 0 <= given.item() <= 1:
            raise ProblemError(400, f"{name!r} must be one number from 0 to 1")
        thresholds.append(float(given.item()))
    return images, tuple(thresholds)


def _check_shape(shape: tuple[int, ...], info: ModelInfo) -> None:
    """Raises ProblemError 400 for pictures that a model cannot take."""
    wanted = (info.batch, *((None, None) if info.dynamic_size else info.size), 3)
    fits = len(shape) == 4 and all(own in (None, side) for own, side in zip(wanted, shape, strict=True)) and shape[0]
    if fits and info.dynamic_size:
        fits = all(32 <= side <= 8192 and side % 32 == 0 for side in shape[1:3])
    if not fits:
        sides = ", ".join("?" if own is None else str(own) for own in wanted)
        multiples = ", height and width multiples of 32" if info.dynamic_size else ""
        raise ProblemError(400, f"'image' must be [{sides}]{multiples}; found {list(shape)}")


def _tensor(tensor: dict[str, Any], rest: memoryview) -> tuple[NDArray[Any], memoryview]:
    """A tensor, and the bytes behind its own."""
    name, shape = tensor["name"], tensor["shape"]
    if tensor["datatype"] != INPUTS[name]:
        raise ProblemError(400, f"{name!r} must be {INPUTS[name]}")
    dtype = DTYPES[INPUTS[name]]
    if not isinstance(shape, list) or len(shape) > 8 or not all(type(side) is int and side >= 0 for side in shape):
        raise ProblemError(400, f"the shape of {name!r} is not one")
    count = math.prod(shape)
    size = tensor.get("parameters", {}).get("binary_data_size")
    if size is None:
        data = np.asarray(tensor["data"], np.float64)
        if data.size != count:
            raise ProblemError(400, f"{name!r} has {data.size} numbers; its shape is {shape}")
        if dtype == np.uint8 and not ((data >= 0) & (data <= 255) & (data % 1 == 0)).all():
            raise ProblemError(400, f"{name!r} must be of whole numbers from 0 to 255")
        with np.errstate(over="ignore"):  # it becomes infinite, and is refused
            return data.astype(dtype).reshape(shape), rest
    if type(size) is not int or size != count * dtype.itemsize or size > len(rest):
        raise ProblemError(400, f"{name!r} has {size} bytes of {len(rest)}; its shape is {shape}")
    return np.frombuffer(rest, dtype, count).reshape(shape), rest[size:]


def _response(name: str, message: dict[str, Any], found: dict[str, NDArray[Any]]) -> Response:
    """The tensors that a request asks for, as it asks for them. Raises ProblemError 400."""
    parameters = message.get("parameters")
    binary = isinstance(parameters, dict) and parameters.get("binary_data_output") is True
    wanted = message.get("outputs") or [{"name": output} for output in found]
    outputs, tail, left = [], [], dict(found)
    for one in wanted if isinstance(wanted, list) else [wanted]:
        output = one.get("name") if isinstance(one, dict) else None
        if not isinstance(output, str) or output not in left:
            raise ProblemError(
                400, f"there is no output {output!r:.100}, or it was named before; it has {', '.join(found)}"
            )
        value = left.pop(output)
        value = value.astype(np.uint8) if value.dtype == np.bool_ else value
        described: dict[str, Any] = {"name": output, "datatype": DATATYPES[value.dtype], "shape": list(value.shape)}
        own = one.get("parameters")
        if own.get("binary_data", binary) if isinstance(own, dict) else binary:
            tail.append(value.tobytes())
            described["parameters"] = {"binary_data_size": len(tail[-1])}
        elif value.size > MAX_NUMBERS:
            raise ProblemError(400, f"{output!r} has {value.size} numbers, too many for JSON; ask for {BINARY}")
        else:
            described["data"] = value.reshape(-1).tolist()
        outputs.append(described)
    answer: dict[str, Any] = {"model_name": name, "model_version": "1", "outputs": outputs}
    if isinstance(message.get("id"), str):
        answer["id"] = message["id"]
    head = json.dumps(answer).encode()
    if not tail:
        return Response(head, media_type="application/json")
    return Response(
        b"".join([head, *tail]), headers={JSON_LENGTH: str(len(head))}, media_type="application/octet-stream"
    )
