"""Pictures a second of photographs of twelve megapixels: JPEG files decoded as far as the model needs, and in full.

The photographs are the first twelve of helmets that have two megapixels or more, brought to 4000 x 3000 in quality 90;
the model is the one that comes with onelook, at 320. All processors, contenders by turns, medians:

- `Detector.stream`, to JSON in memory;
- the same with each picture decoded in full, as if it were no JPEG file;
- the first with every result drawn and encoded as JPEG: its picture read again for that, or held by `keep_images=True`.
"""

import argparse
import itertools
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

import onelook
from common import shared, show, take_turns
from onelook.data.header import picture_size
from onelook.runtime import picture
from onelook.runtime.result import encode
from onelook.runtime.session import processors
from onelook.runtime.sources import Picture, pictures

SIZE = (4000, 3000)


def photographs(folder: Path, count: int) -> None:
    """Writes so many into a folder."""
    files = sorted(shared("data/helmets/JPEGImages").iterdir())
    large = (file for file in files if np.prod(picture_size(file)) >= 2_000_000)
    for i, file in enumerate(itertools.islice(large, count)):
        pixels = picture.read(file)
        pixels = np.asarray(cv2.resize(pixels, SIZE, interpolation=cv2.INTER_CUBIC), np.uint8)
        (folder / f"{i:02d}.jpg").write_bytes(encode(pixels, Path("x.jpg")))


def main() -> None:
    """Time, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--count", type=int, default=12, help="photographs")
    arguments.add_argument("--threads", type=int, default=processors())
    options = arguments.parse_args()
    cv2.setNumThreads(1)
    detector = onelook.load("helmets", engine="onnxruntime", threads=options.threads, streams=options.threads)

    with tempfile.TemporaryDirectory() as folder:
        photographs(Path(folder), options.count)

        files = list(pictures(folder))
        unknown = [Picture(one.name, one.load) for one in files]  # of which nothing but their pixels can be had

        def stream(some: list[Picture], keep_images: bool | None = None, drawn: bool = False) -> Callable[[], object]:
            def run() -> None:
                for found in detector.stream(some, keep_images=keep_images):
                    json.dumps(found.to_dict())
                    if drawn:
                        encode(found.draw(), Path("x.jpg"))

            return run

        runs = {
            "boxes": stream(files),
            "boxes, decoded in full": stream(unknown),
            "drawn, read again": stream(files, drawn=True),
            "drawn, held": stream(files, keep_images=True, drawn=True),
        }
        times = take_turns(runs, options.rounds, seconds=0)
    median = {name: statistics.median(some) for name, some in times.items()}
    rows = [
        (name, f"{options.count / seconds:.1f}", f"{median['boxes, decoded in full'] / seconds:.2f}")
        for name, seconds in median.items()
    ]
    title = f"{options.count} photographs of {SIZE[0]} x {SIZE[1]}, {options.threads} threads, {detector.engine}"
    show(title, ("", "pictures/s", "× decoded in full"), rows)


if __name__ == "__main__":
    main()
