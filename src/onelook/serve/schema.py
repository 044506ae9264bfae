"""What answers look like, for the OpenAPI description. Answers themselves are made by the results' `to_dict`."""

from typing import Any

from pydantic import BaseModel, Field

from onelook.serve.problems import MEDIA_TYPE


class Problem(BaseModel):
    """An error (RFC 9457)."""

    title: str
    status: int
    detail: str


class Unread(BaseModel):
    """One of several pictures that cannot be read."""

    source: str
    problem: Problem


class Rle(BaseModel):
    """A mask as COCO's compressed run lengths."""

    size: list[int] = Field(description="height, width")
    counts: str


class Object(BaseModel):
    """An object that was found."""

    name: str
    class_: int = Field(alias="class")
    score: float
    box: list[float] = Field(description="x1, y1, x2, y2 in pixels of the upright picture")
    rle: Rle | None = Field(None, description="of a model that gives masks")


class Found(BaseModel):
    """What was found in a picture, highest score first."""

    source: str
    width: int
    height: int
    detections: list[Object]


class Label(BaseModel):
    """A class that a picture may show."""

    name: str
    class_: int = Field(alias="class")
    score: float


class Classified(BaseModel):
    """What a picture shows, most likely first."""

    source: str
    width: int
    height: int
    classes: list[Label]


class Region(BaseModel):
    """All pixels of one class."""

    name: str
    class_: int = Field(alias="class")
    share: float
    rle: Rle


class Segmented(BaseModel):
    """The classes of a picture's pixels, largest first."""

    source: str
    width: int
    height: int
    classes: list[Region]


class Detected(BaseModel):
    """Of /v1/detect."""

    model: str
    seconds: float
    results: list[Found | Unread]


class Classifications(BaseModel):
    """Of /v1/classify."""

    model: str
    seconds: float
    results: list[Classified | Unread]


class Segmentations(BaseModel):
    """Of /v1/segment."""

    model: str
    seconds: float
    results: list[Segmented | Found | Unread]


class Model(BaseModel):
    """A model that is loaded."""

    name: str
    task: str
    default: bool = Field(description="taken where a request for the task names none")
    classes: list[str]
    size: list[int] = Field(description="height, width of the input")
    dynamic_size: bool
    batch: int | None
    resize: str
    crop: float
    sampling: str
    score_threshold: float
    iou_threshold: float
    masks: bool
    proposals: int = Field(description="regions that are searched for in each picture, at most; 0 for none")
    parameters: int
    multiply_adds: int
    file_bytes: int


class ModelList(BaseModel):
    """Of /v1/models."""

    models: list[Model]


class ModelFile(BaseModel):
    """A model file to load."""

    path: str = Field(description="in the server's folder of models", examples=["street.onnx"])


class Failure(BaseModel):
    """An error as the Open Inference Protocol has it."""

    error: str


PICTURE = {"type": "string", "format": "binary"}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A picture, a form with one or more, or the URL of one where the server allows it.",
        "content": {
            "application/octet-stream": {"schema": PICTURE},
            "image/*": {"schema": PICTURE},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "array", "minItems": 1, "items": PICTURE}},
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["url"],
                    "properties": {"url": {"type": "string", "format": "uri"}},
                },
                "example": {"url": "https://example.org/street.jpg"},
            },
        },
    }
}
FILE: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": ModelFile.model_json_schema()}}}
}
TENSORS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "inputs": {"type": "array", "items": {"type": "object"}},
                        "outputs": {"type": "array", "items": {"type": "object"}},
                        "parameters": {"type": "object"},
                    },
                }
            },
            "application/octet-stream": {"schema": PICTURE},
        },
    }
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "detect": {
        "model": "helmets",
        "seconds": 0.0094,
        "results": [
            {
                "source": "street.jpg",
                "width": 640,
                "height": 480,
                "detections": [{"name": "helmet", "class": 0, "score": 0.91234, "box": [12.5, 30.25, 80.0, 97.75]}],
            }
        ],
    },
    "classify": {
        "model": "mobilenet_v2_1.0_224",
        "seconds": 0.0081,
        "results": [
            {
                "source": "cat.jpg",
                "width": 640,
                "height": 480,
                "classes": [{"name": "tiger cat", "class": 282, "score": 0.49012}],
            }
        ],
    },
    "segment": {
        "model": "deeplab",
        "seconds": 0.1203,
        "results": [
            {
                "source": "dot.png",
                "width": 2,
                "height": 2,
                "classes": [{"name": "car", "class": 7, "share": 1.0, "rle": {"size": [2, 2], "counts": "04"}}],
            }
        ],
    },
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the description of a route says of its errors."""
    schema = Problem.model_json_schema()
    return {status: {"description": "a problem", "content": {MEDIA_TYPE: {"schema": schema}}} for status in statuses}


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """As `problems`, of the Open Inference Protocol."""
    return {status: {"model": Failure} for status in statuses}
