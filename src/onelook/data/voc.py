"""PASCAL VOC: one XML file a picture (Everingham et al., "The PASCAL Visual Object Classes Challenge", devkit 2012).

Annotations/000012.xml    JPEGImages/000012.jpg    ImageSets/Main/train.txt: ids, one a line
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os.path import isdir
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import escape

from onelook.data.files import LARGEST_LABELS, PICTURES, Problems, folders, listing, read_bytes, read_lines, still, why
from onelook.data.header import try_size
from onelook.data.placing import Placed, Placer, missing_note, plain, shortest
from onelook.data.sample import FLAGS, Dataset
from onelook.data.table import LARGEST_SIDE, Objects, Picture
from onelook.errors import DataError, SourceError
from onelook.runtime.picture import shown

FORMAT = "voc"
HOLDS = frozenset({"boxes", "difficult", "truncated", "occluded"})
SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass
class _Object:
    """An <object>: the text of each element directly in it, of those in its <bndbox> too; the line it begins on."""

    line: int
    fields: dict[str, str] = field(default_factory=dict)


@dataclass
class _Annotation:
    fields: dict[str, str] = field(default_factory=dict)  # filename, width, height
    objects: list[_Object] = field(default_factory=list)


@dataclass(frozen=True)
class _Split:
    """Where the XML files and the pictures lie, and which ids there are: None for every one."""

    annotations: Path
    pictures: Path
    ids: Path | None


def splits(path: Path) -> tuple[str, ...]:
    """The names of the splits; none where it is no folder of this format."""
    return tuple(_layout(path))


def read(path: Path, split: str) -> Dataset:
    """One split of it.

    The classes are all those in the folder, in alphabetical order, that one split has the same numbers as another.
    """
    layout = _layout(path)
    chosen = still(layout, split, path)
    problems = Problems(path)
    stems = {name[:-4]: name for name in listing(chosen.annotations, (".xml",))}
    parsed = {stem: _parse(chosen.annotations / name) for stem, name in stems.items()}
    names = {one.fields["name"] for one in _objects(parsed)}
    for folder in {other.annotations for other in layout.values()} - {chosen.annotations}:
        others = {name: _parse(folder / name) for name in listing(folder, (".xml",))}
        names |= {one.fields["name"] for one in _objects(others)}
    index = {name: i for i, name in enumerate(sorted(names))}

    listed = _Pictures(chosen.pictures)
    pictures: list[Picture] = []
    files: list[Path] = []
    objects = Objects()
    for stem in stems if chosen.ids is None else _ids(chosen.ids, stems, problems):
        file = chosen.annotations / stems[stem]
        annotation = parsed[stem]
        if isinstance(annotation, str):
            problems.add(file, None, annotation, "unreadable")
            continue
        image = listed.find(stem, annotation.fields.get("filename", ""))
        size = _size(annotation, image, file, problems)
        if size is None:
            continue
        for one in annotation.objects:
            _add(one, objects, len(pictures), index, file, problems)
        pictures.append(Picture(image, *size))
        files.append(file)
    samples = objects.samples(pictures, lambda picture, line: (files[picture], line), problems)
    return Dataset(path, FORMAT, split, tuple(index), samples, tuple(problems))


def _layout(path: Path) -> dict[str, _Split]:
    years = [folder for folder in folders(path) if re.fullmatch(r"VOC\d{4}", folder.name)]
    if len(years) > 1:
        raise DataError(f"{shown(str(path))}: holds {', '.join(year.name for year in years)}; name one of them")
    root = years[0] if years else path
    annotations, sets = root / "Annotations", root / "ImageSets" / "Main"
    if isdir(annotations):
        lists = {name[:-4]: sets / name for name in listing(sets, (".txt",))}
        # Each class has lists of its own beside those of the splits: cat_train.txt.
        own = [name for name in lists if name.rpartition("_")[2] not in lists or "_" not in name]
        pictures = root / "JPEGImages"
        found = {name: _Split(annotations, pictures, lists[name]) for name in own}
        return found or {"all": _Split(annotations, pictures, None)}
    if listing(path, (".xml",)):
        return {"all": _Split(path, path, None)}
    if listing(path / "annotations", (".xml",)) and isdir(path / "images"):
        return {"all": _Split(path / "annotations", path / "images", None)}
    return {folder.name: _Split(folder, folder, None) for folder in folders(path) if listing(folder, (".xml",))}


def _ids(file: Path, stems: Mapping[str, str], problems: Problems) -> list[str]:
    """The ids of a list, each once, that there are annotations of."""
    found: dict[str, None] = {}
    for number, line in enumerate(read_lines(file), start=1):
        name = line.strip()
        before, *flag = name.rsplit(None, 1) or [""]
        if name not in stems and flag in (["-1"], ["0"], ["1"]):  # whether the picture shows the class of the list
            name = before
        if name not in stems and name.lower().endswith(PICTURES):
            name = name.rpartition(".")[0]
        if not name:
            continue
        if name not in stems:
            problems.add(file, number, f"no annotation of {shown(name[:64])}", "missing labels")
        elif name in found:
            problems.add(file, number, f"{shown(name)} is listed twice", "duplicate")
        else:
            found[name] = None
    return list(found)


class _Pictures:
    """The pictures of a folder by name and by id. The id counts: <filename> is often left over from another file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = set(listing(folder))
        self.of_id: dict[str, list[str]] = {}
        for name in sorted(self.names):
            self.of_id.setdefault(name.rpartition(".")[0], []).append(name)

    def find(self, stem: str, filename: str) -> Path:
        choices = self.of_id.get(stem, [])
        if filename in choices or (not choices and filename in self.names):
            return self.folder / filename
        return self.folder / (choices[0] if choices else f"{stem}.jpg")


def _size(annotation: _Annotation, image: Path, file: Path, problems: Problems) -> tuple[int, int] | None:
    """Width and height of the picture: the file's own; what the annotation says where there is no picture to look at."""
    said = tuple(_number(annotation.fields.get(side, "")) for side in ("width", "height"))
    known = all(0 < side <= LARGEST_SIDE and side == int(side) for side in said)
    found = try_size(image)
    if not isinstance(found, SourceError):
        if known and found != said:
            what = f"<size> says {said[0]:.0f} x {said[1]:.0f}, the picture has {found[0]} x {found[1]}"
            problems.add(file, None, what, "wrong size")
        return found
    if known:
        return int(said[0]), int(said[1])
    problems.add(file, None, "no <size>, and no picture to take it from", "missing picture")
    return None


def _add(
    one: _Object, objects: Objects, picture: int, index: Mapping[str, int], file: Path, problems: Problems
) -> None:
    missing = [name for name in ("name", *SIDES) if name not in one.fields]
    if missing:
        problems.add(file, one.line, f"<object> without <{missing[0]}>", "bad object")
        return
    xmin, ymin, xmax, ymax = (_number(one.fields[side]) for side in SIDES)
    # VOC numbers pixels from 1, and the box holds the last one: a box around the whole picture is 1 1 width height.
    # In continuous coordinates, the first pixel lies between 0 and 1. Tools that count from 0 lose one pixel's width.
    x1, x2 = (xmin, xmax - 1) if xmin - 1 > xmax else (xmin - 1, xmax)  # of swapped corners too, the smaller one
    y1, y2 = (ymin, ymax - 1) if ymin - 1 > ymax else (ymin - 1, ymax)
    objects.add(
        picture,
        index[one.fields["name"]],
        (x1, y1, x2, y2),
        one.line,
        [flag for flag in FLAGS if _number(one.fields.get(flag, "0")) == 1],
    )


def _objects(parsed: Mapping[str, _Annotation | str]) -> list[_Object]:
    """The objects with a name in annotations that could be parsed."""
    annotations = (one for one in parsed.values() if not isinstance(one, str))
    return [one for annotation in annotations for one in annotation.objects if "name" in one.fields]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _parse(path: Path) -> _Annotation | str:
    """What an XML file says, or why it cannot be read."""
    try:
        data = read_bytes(path, LARGEST_LABELS)
    except DataError as error:
        return why(error, path)
    found = _Annotation()
    tags: list[str] = []
    text: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        tags.append(tag)
        text.clear()
        if len(tags) == 2 and tag == "object":
            found.objects.append(_Object(parser.CurrentLineNumber))

    def end(tag: str) -> None:
        value = " ".join("".join(text).split())
        text.clear()
        if len(tags) <= 4 and value:
            match tags[1:]:
                case ["filename"] | ["size", "width" | "height"]:
                    found.fields.setdefault(tag, value)
                case ["object", "name" | "difficult" | "truncated" | "occluded"]:
                    found.objects[-1].fields.setdefault(tag, value)
                case ["object", "bndbox", "xmin" | "ymin" | "xmax" | "ymax"]:
                    found.objects[-1].fields.setdefault(tag, value)
        tags.pop()

    def refuse(*unused: object) -> None:
        raise ValueError("a document type, which could define entities without end")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # LookupError: an encoding nobody knows
        return f"not readable as XML: {shown(' '.join(str(error).split()))}"
    return found


def write(datasets: Sequence[Dataset], path: Path) -> list[str]:
    """Writes the splits into an empty folder; says what could not be, a line each."""
    annotations, sets = path / "Annotations", path / "ImageSets" / "Main"
    for folder in (annotations, sets):
        folder.mkdir(parents=True)
    placer = Placer(path / "JPEGImages")
    for dataset in datasets:
        placed = placer.place(dataset.samples)
        for one in placed:
            if one.new:
                (annotations / f"{one.stem}.xml").write_text(_xml(one, dataset.names), "utf-8")
        (sets / f"{dataset.split}.txt").write_text("".join(f"{one.stem}\n" for one in placed), "utf-8")
    used = {class_ for dataset in datasets for sample in dataset.samples for class_ in sample.classes.tolist()}
    unused = len(datasets[0].names) - len(used)
    notes = [f"voc knows a class by its objects: {unused} classes without any are lost"] if unused else []
    return notes + missing_note(placer)


def _xml(placed: Placed, names: Sequence[str]) -> str:
    sample = placed.sample
    rows = [
        f"<filename>{escape(placed.name)}</filename>",
        f"<size><width>{sample.width}</width><height>{sample.height}</height><depth>3</depth></size>",
    ]
    for i, box in enumerate(sample.boxes):
        values = [shortest(side, offset) for side, offset in zip(box, (1, 1, 0, 0), strict=True)]
        sides = (f"<{side}>{value}</{side}>" for side, value in zip(SIDES, values, strict=True))
        rows += [
            "<object>",
            f"  <name>{escape(plain(names[sample.classes[i]]))}</name>",
            *(f"  <{flag}>{getattr(sample, flag)[i]:d}</{flag}>" for flag in FLAGS if flag in HOLDS),
            f"  <bndbox>{''.join(sides)}</bndbox>",
            "</object>",
        ]
    return "<annotation>\n" + "".join(f"  {row}\n" for row in rows) + "</annotation>\n"
