"""The table of published figures against what other papers print of the same detectors."""

import itertools

import pytest

from onelook.benchmarking.published import PUBLISHED, Published

FAMILIES = {row.family: [other for other in PUBLISHED if other.family == row.family] for row in PUBLISHED}


def one(family: str, size: int | None) -> Published:
    (row,) = (row for row in FAMILIES[family] if row.size == size)
    return row


def test_every_row_says_where_it_is_from() -> None:
    assert all("arXiv:" in row.source and row.gpu for row in PUBLISHED)


def test_figures_are_of_the_right_order() -> None:
    assert all(0.2 < row.ap < 0.42 and 20 < row.milliseconds < 250 for row in PUBLISHED)
    assert len({(row.family, row.size) for row in PUBLISHED}) == len(PUBLISHED)


@pytest.mark.parametrize("rows", FAMILIES.values(), ids=list(FAMILIES))
def test_a_larger_picture_is_slower_and_more_accurate(rows: list[Published]) -> None:
    for small, large in itertools.pairwise(rows):
        assert (small.size or 0) < (large.size or 0)
        assert small.milliseconds < large.milliseconds
        assert small.ap < large.ap


def test_m2det_as_its_abstract_has_it() -> None:
    best = one("M2Det VGG-16", 800)
    assert best.ap == 0.410
    assert 1000 / best.milliseconds == pytest.approx(11.8, abs=0.05)


@pytest.mark.parametrize(("size", "rate"), [(320, 45), (416, 35), (608, 20)])
def test_yolo_v3_at_the_rates_of_darknet_s_page(size: int, rate: int) -> None:
    assert 1000 / one("YOLOv3", size).milliseconds == pytest.approx(rate, abs=0.6)


@pytest.mark.parametrize(("family", "size", "rate"), [("R-50", 500, 13.9), ("R-101", 500, 11.1), ("R-50", 800, 6.5),
                                                      ("R-101", 800, 5.1)])  # fmt: skip
def test_retinanet_at_the_rates_that_yolo_v4_reprints(family: str, size: int, rate: float) -> None:
    assert 1000 / one(f"RetinaNet {family}", size).milliseconds == pytest.approx(rate, abs=0.06)
