"""The model that comes with onelook."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

import onelook
from onelook import zoo
from onelook.data import read


def test_it_is_what_is_loaded_when_nothing_is_named() -> None:
    detector = onelook.load()
    assert detector.info.path == zoo.EMBEDDED["helmets"]
    assert sorted(detector.info.names) == ["head", "helmet"]
    assert detector.info.size == (320, 320)


def test_it_fits_into_a_small_package_and_has_a_card() -> None:
    for path in zoo.EMBEDDED.values():
        assert path.stat().st_size <= 6_000_000
        card = path.with_suffix(".md").read_text()
        for heading in ("Data", "Licence", "Recipe", "Scores", "Limits"):
            assert f"## {heading}" in card


def test_it_finds_nothing_in_grey_pictures() -> None:
    assert len(onelook.load()(np.full((200, 300, 3), 128, np.uint8))) == 0


def test_it_finds_helmets_and_heads_it_has_not_been_trained_on(shared: Callable[[str], Path]) -> None:
    val = read(shared("data/helmets"), "val")
    some = dataclasses.replace(val, samples=val.samples[::6])
    assert onelook.evaluate("helmets", some, metric="coco").numbers["ap50"] > 0.5
