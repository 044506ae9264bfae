"""onelook data."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onelook.cli.run import path_type
from onelook.cli.show import as_json_option, busy, progress, table

if TYPE_CHECKING:
    from onelook.data.check import Report

SHOWN = 10  # problems of each kind; --json has all

split_option = click.option("--split", help="train, val, ...; all by default.")


@click.group()
def data() -> None:
    """Check and convert datasets: PASCAL VOC, COCO, Open Images, ImageNet, YOLO text."""


@data.command()
@click.argument("path", type=path_type)
@split_option
@click.option("--no-pictures", is_flag=True, help="Read the labels only; the pictures are not looked at.")
@click.option("--output", "-o", type=path_type, help="Folder for a picture of each split with its labels drawn.")
@as_json_option
def check(path: Path, split: str | None, no_pictures: bool, output: Path | None, as_json: bool) -> int:
    """Say what a dataset holds, and what is wrong with it. Exits with 1 where something is.

    PATH is its folder, or the file that describes it: COCO's .json, Darknet's .data, Ultralytics' .yaml.
    """
    from onelook.data import check as checking
    from onelook.data import read, splits

    with busy("reading"):
        datasets = [read(path, name) for name in (splits(path) if split is None else (split,))]
    with progress(sum(map(len, datasets)), not no_pictures) as step:
        report = checking.check(datasets, not no_pictures, step)
    sheets = [] if output is None else [checking.save_sheet(dataset, output) for dataset in datasets]
    if as_json:
        print(json.dumps(checking.facts(report)))
    else:
        _print(report)
        for sheet in sheets:
            print(sheet)
    return 1 if report.problems else 0


def _print(report: "Report") -> None:
    from onelook.runtime.picture import shown

    print(f"{shown(str(report.path))}: {report.format}, {len(report.names)} classes")
    columns = ("pictures", "objects", "empty", "small", "medium", "large", "whole", "difficult", "crowd", "masks")
    rows = [(split.name, *(str(getattr(split, column)) for column in columns)) for split in report.splits]
    table(("split", *columns), rows)
    table(
        ("class", *(split.name for split in report.splits)),
        [(shown(name), *(str(split.classes[i]) for split in report.splits)) for i, name in enumerate(report.names)],
    )
    for kind, number in report.kinds.items():
        print(f"{kind}: {number}")
        for problem in [one for one in report.problems if one.kind == kind][:SHOWN]:
            print(f"  {problem.where}: {problem.what}")
        if number > SHOWN:
            print("  ...")
    if not report.problems:
        print("no problems found")


@data.command()
@click.argument("source", type=path_type)
@click.argument("target", type=path_type)
@click.option("--to", "format", required=True, help="voc, coco, open-images, yolo or imagenet.")
@split_option
def convert(source: Path, target: Path, format: str, split: str | None) -> None:
    """Write a dataset in another format into a new folder. Pictures are linked where that is possible, else copied."""
    from onelook.data.writing import convert as convert_dataset

    with busy("converting"):
        datasets, notes = convert_dataset(source, target, format, split)
    for dataset in datasets:
        if dataset.problems:
            what = f"{len(dataset.problems)} problems; 'onelook data check' lists them"
            print(f"note: {dataset.split}: {what}", file=sys.stderr)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(target)
