"""The table of results: a row a picture, a Parquet file a part."""

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from onelook.runtime.detections import Detections

SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        # Of the picture, in pixels; these and what follows are null where it could not be read.
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        # One element an object, the highest score first; a box is x1, y1, x2, y2 in pixels of the picture.
        pa.field("boxes", pa.list_(pa.list_(pa.float32()))),
        pa.field("scores", pa.list_(pa.float32())),
        pa.field("classes", pa.list_(pa.int32())),
        pa.field("names", pa.list_(pa.string())),
        # Why the picture could not be read; null where it could.
        pa.field("error", pa.string()),
    ]
)

Row = dict[str, Any]


def found(detections: Detections) -> Row:
    """The row of a picture that was read."""
    return {
        "source": detections.source,
        "width": detections.width,
        "height": detections.height,
        "boxes": detections.boxes.tolist(),
        "scores": detections.scores.tolist(),
        "classes": detections.classes.tolist(),
        "names": detections.names,
    }


def failed(source: str, error: str) -> Row:
    """The row of a picture that could not be read."""
    return {"source": source, "error": error}


def to_parquet(rows: Sequence[Row], job: str) -> bytes:
    """The file of some rows; `job`, the digest of what they are a part of, and the number of failures go with it."""
    failures = sum("error" in row for row in rows)
    schema = SCHEMA.with_metadata({"job": job, "failures": str(failures)})
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema), file, compression="zstd")
    return file.getvalue()


def counts(data: bytes, job: str) -> tuple[int, int] | None:
    """Pictures and failures of a file that `to_parquet` made for that job; None where it is another, or damaged."""
    try:
        metadata = pq.read_metadata(io.BytesIO(data))
        if metadata.metadata[b"job"] != job.encode():
            return None
        return metadata.num_rows, int(metadata.metadata[b"failures"])
    except (pa.ArrowInvalid, OSError, KeyError, TypeError):
        return None
