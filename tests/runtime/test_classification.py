"""What a classifier says of one picture, against plain lists and Pillow."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from onelook import Classification, Error, Label
from onelook.runtime.draw import colour

NAMES = ("tench", "goldfish", "great white shark", "tiger shark", "hammerhead", "electric ray")


def classification(**changes: Any) -> Classification:
    found: dict[str, Any] = {
        "probabilities": [0.05, 0.5, 0.03, 0.3, 0.1, 0.02],
        "class_names": NAMES,
        "width": 320,
        "height": 240,
    }
    return Classification(**{**found, **changes})


def grey(width: int = 320, height: int = 240) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 100, np.uint8)


probabilities = st.lists(st.sampled_from([0.0, 0.25, 0.875]) | st.floats(0, 1, width=32), min_size=1, max_size=8)


# The type itself.


@given(probabilities, st.integers(1, 10))
def test_top_agrees_with_a_naive_sort_on_any_probabilities_and_ties(scores: list[float], count: int) -> None:
    names = [f"class {i}" for i in range(len(scores))]
    found = Classification(np.array(scores, np.float32), tuple(names), 4, 3)
    rows = sorted((-score, i) for i, score in enumerate(scores))[:count]
    assert [(label.name, label.score, label.class_id) for label in found.top(count)] == [
        (names[i], -score, i) for score, i in rows
    ]
    assert list(found) == found.top() == found.top(5)
    assert (found.name, found.score, found.class_id) == found.top(1)[0]


def test_the_likeliest_class_is_at_hand() -> None:
    found = classification()
    assert (found.class_id, found.name, found.score) == (1, "goldfish", 0.5)
    assert found.top(2) == [Label("goldfish", 0.5, 1), Label("tiger shark", pytest.approx(0.3), 3)]
    assert [type(value) for value in found.top(1)[0]] == [str, float, int]
    assert len(list(found)) == 5
    assert len(found.top(99)) == 6
    assert repr(classification(source="a.mp4", frame=7)) == "Classification(goldfish 0.50 in a.mp4, frame 7, 320 × 240)"


def test_plain_lists_become_what_is_documented() -> None:
    found = classification(class_names=list(NAMES))
    assert (found.probabilities.dtype.name, found.class_names) == ("float32", NAMES)


@pytest.mark.parametrize("count", [0, -1])
def test_no_classes_cannot_be_asked_for(count: int) -> None:
    for ask in (lambda: classification().top(count), classification(shown=count).to_dict):
        with pytest.raises(Error, match=f"count must be 1 or more; found {count}"):
            ask()


@pytest.mark.parametrize("scores", [[0.5, 0.5], [[0.1] * 6], [0.1] * 7, [], 0.5])
def test_lengths_that_disagree_are_refused(scores: Any) -> None:
    with pytest.raises(ValueError, match=r"probabilities of shape .* for 6 classes"):
        classification(probabilities=scores)


def test_no_classes_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="for 0 classes"):
        classification(probabilities=[], class_names=())


@pytest.mark.parametrize(
    ("source", "broken"), [("b.jpg", np.nan), ("b.jpg", np.inf), ("b.jpg", -np.inf), ("a\nb.jpg", np.nan)]
)
def test_a_model_that_gives_no_numbers_is_an_error_in_one_line(source: str, broken: float) -> None:
    with pytest.raises(Error, match=r"b\.jpg'?: the model gave probabilities that are not numbers") as error:
        classification(source=source, probabilities=[0.1, 0.2, broken, 0.1, 0.1, 0.1])
    assert str(error.value).isprintable()


# JSON.


@given(probabilities, st.integers(1, 10), st.text())
def test_the_dictionary_survives_json_and_gives_back_the_same_classes(
    scores: list[float], count: int, source: str
) -> None:
    names = tuple(f"{source} {i}" for i in range(len(scores)))
    found = Classification(np.array(scores, np.float32), names, 40, 30, source, shown=count)
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert {key: data[key] for key in ("source", "width", "height")} == {"source": source, "width": 40, "height": 30}
    assert set(data) == {"source", "width", "height", "classes"}
    assert [(row["name"], row["class"]) for row in data["classes"]] == [
        (one.name, one.class_id) for one in found.top(count)
    ]
    for row, one in zip(data["classes"], found.top(count), strict=True):
        assert row["score"] == pytest.approx(one.score, abs=0.51e-5)
        assert len(f"{row['score']:.9f}".rstrip("0").partition(".")[2]) <= 5


def test_numbers_are_written_short_and_a_frame_says_which_and_when() -> None:
    data = classification(source="clip.mp4", frame=75, time=3.0029999, fps=24.98, shown=2).to_dict()
    assert json.dumps(data) == (
        '{"source": "clip.mp4", "frame": 75, "time": 3.003, "width": 320, "height": 240, "classes": '
        '[{"name": "goldfish", "class": 1, "score": 0.5}, {"name": "tiger shark", "class": 3, "score": 0.3}]}'
    )
    assert len(classification().to_dict()["classes"]) == 5


# Drawing and saving.


def test_the_five_likeliest_stand_in_the_corner_in_the_colours_of_their_classes() -> None:
    image = grey()
    drawn = classification().draw(image)
    assert (image == 100).all()
    edge = [tuple(int(value) for value in pixel) for pixel in drawn[:, 0]]
    runs = [pixel for i, pixel in enumerate(edge) if i == 0 or edge[i - 1] != pixel]
    assert runs == [*(colour(i) for i in (1, 3, 4, 0, 2)), (100, 100, 100)]
    changed = (drawn != image).any(2)
    assert changed.any(1).nonzero()[0].tolist() == list(range(changed.any(1).sum()))  # nothing below
    short, long = (changed[edge.index(colour(NAMES.index(name)))].sum() for name in ("tench", "great white shark"))
    assert short < long < 160


@pytest.mark.parametrize(
    ("size", "labelled"), [((1, 1), False), ((8, 8), False), ((1, 500), False), ((2000, 30), True), ((64, 2000), True)]
)
def test_pictures_of_any_shape_are_drawn_on(size: tuple[int, int], labelled: bool) -> None:
    image = grey(*size)
    drawn = classification(width=size[0], height=size[1]).draw(image)
    assert (drawn.shape, drawn.dtype) == (image.shape, np.uint8)
    assert (image == 100).all()
    assert (drawn != 100).any() == labelled


@pytest.mark.parametrize(
    "name", ["собака", "σκύλος", "狗", "いぬ", "كلب", "कुत्ता", "🐕", "line\nbreak", "a" * 10_000, ""]
)
def test_names_in_any_script_and_of_any_length_are_drawn(name: str) -> None:
    drawn = [classification(class_names=(*NAMES[:1], text, *NAMES[2:])).draw(grey()) for text in (name, "cat")]
    assert (drawn[0] != drawn[1]).any()
    assert (drawn[0] != 100).any()


def test_the_score_of_a_class_with_a_long_name_can_be_read() -> None:
    name = "great white shark, white shark, man-eater, man-eating shark, Carcharodon carcharias"  # one of ImageNet's
    sure, unsure = (
        Classification(np.array([score], np.float32), (name,), 500, 375, image=grey(500, 375)).draw()
        for score in (0.98, 0.51)
    )
    assert (sure != unsure).any()


def test_it_draws_on_the_picture_given_or_the_one_kept_or_reads_it_again(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(grey()).save(path)
    expected = classification().draw(grey())
    np.testing.assert_array_equal(classification(image=grey()).draw(), expected)
    np.testing.assert_array_equal(classification(source=str(path)).draw(), expected)


def test_without_a_picture_or_with_one_of_another_size_it_says_what_to_do() -> None:
    for changes, message in (
        ({}, r"array: the picture was not kept; give it to draw: .draw\(image\)"),
        ({"source": "clip.mp4", "frame": 7}, r"frame 7 of clip\.mp4: the picture was not kept"),
        ({"source": "gone.jpg"}, r"gone\.jpg"),
        ({"image": grey(50, 40)}, "picture of 50 × 40; the result is of 320 × 240"),
    ):
        for use in (lambda one: one.draw(), lambda one: one.save("never.png")):
            with pytest.raises(Error, match=message) as error:
                use(classification(**changes))
            assert "\n" not in str(error.value)
    assert not Path("never.png").exists()


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_saved_picture_is_read_by_pillow_in_the_same_colours(suffix: str, tmp_path: Path) -> None:
    found = classification(image=grey())
    path = found.save(tmp_path / f"пёс{suffix}")
    read = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"), np.float64)
    assert np.abs(read - found.draw()).mean() < (3 if suffix == ".jpg" else 1e-9)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
