"""What papers print of their detectors: AP on COCO test-dev, and the time of one picture on a GPU.

Where a paper prints frames a second, the time is their reciprocal. All are of one model at one scale of the picture.
"""

from typing import NamedTuple

RETINANET_1E = "Lin et al., 2017, arXiv:1708.02002, Table 1e"
RETINANET_2 = "Lin et al., 2017, arXiv:1708.02002, Figure 2"
YOLO_V3 = "Redmon and Farhadi, 2018, arXiv:1804.02767, Figure 1"
CORNERNET = "Law and Deng, 2018, arXiv:1808.01244, sections 4.2 and 4.4"
M2DET = "Zhao et al., 2019, arXiv:1811.04533, Table 1; also Bochkovskiy et al., 2020, arXiv:2004.10934, Table 8"


class Published(NamedTuple):
    """One line of a paper's table."""

    family: str
    """The detector and its backbone; R-50 and R-101 are ResNets."""
    size: int | None
    """Side of the input, or of its shorter side, pixels; None where the table does not give it."""
    ap: float
    """COCO's AP, 0..1."""
    milliseconds: float
    """Of one picture."""
    gpu: str
    source: str


def _rows(family: str, gpu: str, source: str, *rows: tuple[int | None, float, float]) -> tuple[Published, ...]:
    """From size, AP in percent, and milliseconds."""
    return tuple(Published(family, size, round(ap / 100, 4), time, gpu, source) for size, ap, time in rows)


def _rates(family: str, gpu: str, source: str, *rows: tuple[int, float, float]) -> tuple[Published, ...]:
    """From size, AP in percent, and frames a second."""
    return _rows(family, gpu, source, *((size, ap, round(1000 / rate, 1)) for size, ap, rate in rows))


PUBLISHED = (
    *_rates("M2Det VGG-16", "Titan X", M2DET, (320, 33.5, 33.4), (512, 37.6, 18.0), (800, 41.0, 11.8)),
    *_rates("M2Det R-101", "Titan X", M2DET, (320, 34.3, 21.7), (512, 38.8, 15.8)),
    *_rates("RefineDet VGG-16", "Titan X", M2DET, (320, 29.4, 38.7), (512, 33.0, 22.3)),
    *_rates("SSD VGG-16", "Titan X", M2DET, (300, 25.1, 43.0), (512, 28.8, 22.0)),
    *_rows(
        "RetinaNet R-50", "M40", RETINANET_1E,
        (400, 30.5, 64), (500, 32.5, 72), (600, 34.3, 98), (700, 35.1, 121), (800, 35.7, 153),
    ),
    *_rows(
        "RetinaNet R-101", "M40", RETINANET_1E,
        (400, 31.9, 81), (500, 34.4, 90), (600, 36.0, 122), (700, 37.1, 154), (800, 37.8, 198),
    ),
    *_rows("SSD R-101", "M40 or Titan X", RETINANET_2, (321, 28.0, 61), (513, 31.2, 125)),
    *_rows("DSSD R-101", "M40 or Titan X", RETINANET_2, (321, 28.0, 85), (513, 33.2, 156)),
    *_rows("YOLOv2", "M40 or Titan X", RETINANET_2, (None, 21.6, 25)),
    # The paper marks this time as extrapolated.
    *_rows("R-FCN R-101", "M40 or Titan X", RETINANET_2, (None, 29.9, 85)),
    *_rows("FPN Faster R-CNN R-101", "M40", RETINANET_2, (None, 36.2, 172)),
    *_rows("YOLOv3", "M40 or Titan X", YOLO_V3, (320, 28.2, 22), (416, 31.0, 29), (608, 33.0, 51)),
    # The picture and its mirror image, both looked at in that time.
    *_rows("CornerNet Hourglass-104", "Titan X (Pascal)", CORNERNET, (511, 40.6, 244)),
)  # fmt: skip
