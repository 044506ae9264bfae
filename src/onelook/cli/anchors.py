"""onelook anchors."""

import json
from pathlib import Path

import click

from onelook.cli.run import path_type
from onelook.cli.show import as_json_option


@click.command()
@click.argument("path", type=path_type)
@click.option("--count", type=click.IntRange(1, 1000), default=9, show_default=True, help="How many.")
@click.option("--size", type=click.IntRange(1, 1 << 16), default=320, show_default=True, help="Side of the input.")
@click.option("--split", default="train", show_default=True, help="Of the dataset.")
@as_json_option
def anchors(path: Path, count: int, size: int, split: str, as_json: bool) -> None:
    """Find the anchors that fit the boxes of a dataset: YOLO9000's k-means by IoU.

    Prints width and height of each in pixels of the letterboxed picture, as Darknet's cfg files have them.
    """
    from onelook.data import read
    from onelook.data.anchors import anchors as find
    from onelook.data.anchors import box_sizes

    found, iou = find(box_sizes(read(path, split), size), count)
    if as_json:
        print(json.dumps({"anchors": [[round(float(side), 2) for side in one] for one in found], "mean_iou": iou}))
        return
    print("anchors = " + ",  ".join(f"{width:.1f},{height:.1f}" for width, height in found))
    print(f"mean IoU of a box with its nearest anchor: {iou:.3f}")
