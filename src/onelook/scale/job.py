"""A job: pictures that are listed once, cut into parts, and what they are to be looked at with.

In the folder of results, `pictures.parquet` is the list, a row group a part, and `job.json`, which is written last, says
what the job is. A part is done when `parts/part-NNNNNNN.parquet` is there, and long enough to be one.
"""

import dataclasses
import hashlib
import itertools
import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from onelook.errors import Error
from onelook.loading import model_file
from onelook.runtime.detections import check_names
from onelook.runtime.detector import Detector
from onelook.scale.folder import Folder
from onelook.scale.table import SCHEMA

FORMAT = "onelook-job/1"
MANIFEST, LIST, PARTS = "job.json", "pictures.parquet", "parts"
LEAST = 12  # bytes of a Parquet file: its name at both ends, and a length
_LIST = pa.schema([pa.field("source", pa.int32()), pa.field("path", pa.string())])


@dataclass(frozen=True)
class Settings:
    """What a result depends on, as `job.json` has it."""

    model: str
    """SHA-256 of the model file."""
    score_threshold: float
    iou_threshold: float
    size: list[int]
    """Height and width of the input."""
    classes: list[str] | None
    precision: str
    sources: list[str]
    part: int
    """Pictures a part."""


@dataclass(frozen=True)
class Job:
    """Pictures in parts, and what they are to be looked at with; made by `prepare`."""

    settings: Settings
    digest: str
    """SHA-256 of the settings and the list."""
    pictures: int
    parts: int
    engine: str
    model: Path
    sources: list[Folder]
    output: Folder

    def missing(self) -> list[int]:
        """The numbers of the parts that are not done."""
        done = self._done()
        return [number for number in range(self.parts) if number not in done]

    def _done(self) -> set[int]:
        found = (re.fullmatch(r"part-([0-9]{7,})\.parquet", name) for name in self.output.names(PARTS, LEAST))
        return {int(match[1]) for match in found if match}

    def left(self) -> int:
        """How many pictures the missing parts have."""
        part = self.settings.part
        return sum(min(part, self.pictures - number * part) for number in self.missing())

    def totals(self) -> tuple[int, int]:
        """Pictures and failures in the results: a look at one column of all files. Raises Error for one that is damaged."""
        files = [f"{self.output.path}/{part_name(number)}" for number in sorted(self._done())]
        if not files:
            return 0, 0
        try:
            results = pyarrow.dataset.dataset(files, SCHEMA, "parquet", filesystem=self.output.files)
            return results.count_rows(), results.count_rows(filter=pyarrow.dataset.field("error").is_valid())
        except (OSError, pa.ArrowInvalid) as error:
            what = str(error).splitlines()[0].rstrip(".")
            hint = "delete it, and the same command does that part again"
            raise Error(f"{self.output}/{PARTS}: a file is damaged: {what}; {hint}") from None


def part_name(number: int) -> str:
    """The file of a part."""
    return f"{PARTS}/part-{number:07d}.parquet"


def prepare(
    sources: Sequence[str],
    output: str,
    model: str,
    score_threshold: float | None,
    iou_threshold: float | None,
    size: int | None,
    classes: Collection[str] | None,
    part: int,
    engine: str,
    precision: str,
) -> Job:
    """See `onelook.scale.prepare`."""
    if part < 1:
        raise Error(f"a part must have 1 picture or more; found {part}")
    folders, results = _folders(sources), Folder.open(output)
    detector = Detector(model_file(model), engine, threads=1, precision=precision)
    info = detector.info
    detector.stream([], score_threshold, iou_threshold, size)  # says what is wrong with these
    check_names(classes or (), info.names)
    settings = Settings(
        model=hashlib.sha256(info.path.read_bytes()).hexdigest(),
        score_threshold=info.score_threshold if score_threshold is None else score_threshold,
        iou_threshold=info.iou_threshold if iou_threshold is None else iou_threshold,
        size=list(info.size) if size is None else [size, size],
        classes=None if classes is None else sorted(classes),
        precision=precision,
        sources=[str(folder) for folder in folders],
        part=part,
    )
    manifest = read_manifest(results)
    if manifest is None:
        manifest = _begin(settings, folders, results)
    else:
        _compare(settings, manifest, results)
    return Job(
        settings, manifest["digest"], manifest["pictures"], manifest["parts"], engine, info.path, folders, results
    )


def read_manifest(output: Folder) -> dict[str, Any] | None:
    """What `job.json` says; None where there is none. Raises Error."""
    data = output.read(MANIFEST)
    if data is None:
        return None
    try:
        found: dict[str, Any] = json.loads(data)
        if found["format"] != FORMAT:
            raise ValueError(f"its format is {found['format']!r}")
        Settings(**found["settings"])
        if found["digest"] != _digest(found["settings"], found["list"]):
            raise ValueError("its digest is not that of its contents")
    except (KeyError, TypeError, ValueError) as error:
        raise Error(f"{output}/{MANIFEST}: is not what onelook wrote: {error}; choose another folder") from None
    return found


def read_part(output: Folder, sources: Sequence[Folder]) -> "PartReader":
    """Opens the list, for a machine that does some of its parts."""
    return PartReader(pq.ParquetFile(output.files.open_input_file(f"{output.path}/{LIST}")), sources)


@dataclass(frozen=True)
class PartReader:
    """The list, open."""

    file: pq.ParquetFile
    sources: Sequence[Folder]

    def __call__(self, number: int) -> list[tuple[Folder, str]]:
        """The pictures of a part: of which source each is, and its path there."""
        rows = self.file.read_row_group(number)
        return [
            (self.sources[source], path)
            for source, path in zip(rows["source"].to_pylist(), rows["path"].to_pylist(), strict=True)
        ]


def _folders(sources: Sequence[str]) -> list[Folder]:
    folders = [Folder.open(source) for source in sources]
    places = [os.path.join(str(folder) if folder.scheme else os.path.realpath(folder.path), "") for folder in folders]
    for i, folder in enumerate(folders):
        if not folder.exists():
            raise Error(f"{folder}: no such folder; a cluster detects in folders and prefixes of object stores")
        for j, other in enumerate(folders):
            if i != j and places[i].startswith(places[j]):
                raise Error(f"{folder}: is named twice, itself or in {other}")
    return folders


def _begin(settings: Settings, folders: Sequence[Folder], output: Folder) -> dict[str, Any]:
    """Lists the pictures, and gives the manifest."""
    if output.names(PARTS):
        raise Error(f"{output}: has results but no {MANIFEST}; choose another folder")
    listed = hashlib.sha256()
    pictures = ((i, path) for i, folder in enumerate(folders) for path in folder.pictures())
    count = 0
    if not output.scheme:
        output.files.create_dir(output.path)
    with (
        output.files.open_output_stream(f"{output.path}/{LIST}") as stream,
        pq.ParquetWriter(stream, _LIST, compression="zstd") as writer,
    ):
        for some in _chunks(pictures, settings.part):
            for i, path in some:
                listed.update(f"{i} {path}\0".encode())
            writer.write_table(
                pa.table([[i for i, _ in some], [path for _, path in some]], schema=_LIST), row_group_size=len(some)
            )
            count += len(some)
    if not count:
        raise Error(f"{', '.join(settings.sources)}: no pictures")
    about = dataclasses.asdict(settings)
    manifest = {
        "format": FORMAT,
        "digest": _digest(about, listed.hexdigest()),
        "settings": about,
        "list": listed.hexdigest(),
        "pictures": count,
        "parts": -(-count // settings.part),
    }
    output.write(MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode())
    return manifest


def _chunks(items: Iterator[tuple[int, str]], size: int) -> Iterator[list[tuple[int, str]]]:
    while some := list(itertools.islice(items, size)):
        yield some


def _digest(settings: dict[str, Any], listed: str) -> str:
    return hashlib.sha256(json.dumps([settings, listed], sort_keys=True).encode()).hexdigest()


def _compare(settings: Settings, manifest: dict[str, Any], output: Folder) -> None:
    for name, value in dataclasses.asdict(settings).items():
        if manifest["settings"][name] != value:
            what = "another model" if name == "model" else f"{name} {manifest['settings'][name]}, not {value}"
            raise Error(f"{output}: holds a job of {what}; choose another folder, or what it was begun with")
