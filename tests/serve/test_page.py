"""The page in Chromium, against a server in this process; what it shows against the library."""

import base64
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import onelook
from onelook import rle
from onelook.runtime import picture
from onelook.runtime.draw import colour
from onelook.runtime.resize import ENOUGH, place, reduction
from onelook.serve.app import PAGE, create_app
from onelook.serve.settings import Settings
from serve_client import serving

api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
expect = api.expect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
FLAGS = ("--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
PATIENCE = 30_000  # milliseconds, on a busy machine
FLOOR = 0.05  # of the scores that the page asks for
COUNTS = re.compile(r"^\d+ objects?: ")

Page = Any  # playwright's types are not there where it is not installed
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def address(model_paths: dict[str, str]) -> Iterator[str]:
    with serving(create_app(Settings(models={"helmets": "helmets"} | model_paths))) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Open]:
    """Opens the page, with options of `browser.new_context`; in the end nothing may have gone wrong in it."""
    wrong: list[str] = []
    with ExitStack() as stack:

        def visit(at: str = address, **options: Any) -> Page:
            context = browser.new_context(**options)
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(PATIENCE)
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", lambda line: wrong.append(line.text) if "Security Policy" in line.text else None)
            page.on("request", lambda one: wrong.append(one.url) if not one.url.startswith((at, "blob:")) else None)
            page.goto(at)
            return page

        yield visit
    assert wrong == []


@pytest.fixture
def page(visit: Open) -> Page:
    return visit()


@pytest.fixture(scope="module")
def photo() -> Path:
    """A person, in whom the model of helmets finds several things."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        pytest.skip("needs the photographs of scikit-image")
    return Path(spec.origin).parent / "data/astronaut.png"


@pytest.fixture(scope="module")
def known(photo: Path) -> onelook.Detections:
    """What the library finds in it."""
    found = looked_at(photo)
    assert set(found.names) == {"head", "helmet"}
    assert len(found.filter(score=0.3)) < len(found)
    return found


def looked_at(path: Path) -> onelook.Detections:
    """What the library finds, down to the least score that the page asks for."""
    detector: Any = onelook.load("helmets")
    found: onelook.Detections = detector(str(path), score_threshold=FLOOR)
    return found


def status(page: Page) -> Any:
    return page.get_by_role("status")


def rows(page: Page) -> Any:
    return page.get_by_role("listbox", name="What was found").get_by_role("option")


def choose(page: Page, *files: Path | str | dict[str, Any]) -> None:
    expect(page.get_by_label("Model")).to_be_enabled(timeout=PATIENCE)
    page.get_by_label("Choose pictures").set_input_files(list(files))


def choose_and_wait(page: Page, *files: Path | str | dict[str, Any]) -> None:
    choose(page, *files)
    expect(status(page)).to_have_text(COUNTS, timeout=PATIENCE)


def lines(found: onelook.Detections) -> list[str]:
    """As the list has them."""
    return [f"{name} {score:.2f}" for name, score in zip(found.names, found.scores.tolist(), strict=True)]


def posts(page: Page) -> list[str]:
    """Filled with the address of each picture that is sent from now on."""
    sent: list[str] = []
    page.on("request", lambda one: sent.append(one.url) if one.method == "POST" else None)
    return sent


def pixel(page: Page, x: float, y: float) -> list[int]:
    """RGB of the canvas at a place, in its own pixels."""
    found: list[int] = page.evaluate(
        "([x, y]) => [...document.querySelector('#canvas').getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3)",
        [round(x), round(y)],
    )
    return found


def shot(page: Page) -> str:
    found: str = page.evaluate("document.querySelector('#canvas').toDataURL()")
    return found


def saved(page: Page, name: str) -> bytes:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=name).click()
    return Path(waiting.value.path()).read_bytes()


def freeze(page: Page) -> None:
    """Stop the page's clock; `page.clock.run_for` moves it on, milliseconds."""
    expect(page.get_by_label("Model")).to_be_enabled()
    page.clock.install(time=datetime(2026, 1, 1))
    page.clock.pause_at(datetime(2026, 1, 2))


def files_in(page: Page, path: Path) -> Any:
    """A DataTransfer with a file."""
    return page.evaluate_handle(
        """([text, name]) => {
            const data = new DataTransfer();
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            data.items.add(new File([bytes], name, { type: "image/png" }));
            return data;
        }""",
        [base64.b64encode(path.read_bytes()).decode(), path.name],
    )


def assert_boxes_drawn(page: Page, found: onelook.Detections) -> None:
    """The left edge of the surest box is in its colour, in pixels of the screen."""
    canvas = page.locator("#canvas")
    size = canvas.evaluate("(canvas) => [canvas.width, canvas.height]")
    scale = size[0] / found.width
    assert scale == pytest.approx(size[1] / found.height, rel=0.01)
    left, top, _, bottom = (found.boxes[0] * scale).tolist()
    assert tuple(pixel(page, round(left) - 1, (top + bottom) / 2)) == colour(int(found.classes[0]))


# ---------------------------------------------------------------------------------------------- pictures, and what is shown


def test_a_chosen_picture_shows_what_the_library_finds(visit: Open, photo: Path, known: onelook.Detections) -> None:
    page = visit(device_scale_factor=2)
    choose_and_wait(page, photo)
    shown = known.filter(score=0.35)  # the model's own, in the steps of the slider
    expect(rows(page)).to_have_text(lines(shown))
    expect(page.get_by_role("option", name=f"head {known.scores[0]:.2f}")).to_have_count(1)
    expect(status(page)).to_have_text(re.compile(rf"^{len(shown)} objects?: "))
    expect(page.locator("#timing")).to_have_text(re.compile(r"^Server [\d.]+ ms · [\d.]+ ms in all$"))
    width, css = page.locator("#canvas").evaluate("(canvas) => [canvas.width, canvas.clientWidth]")
    assert width == 2 * css
    assert_boxes_drawn(page, known)


def test_a_dropped_and_a_pasted_picture_are_looked_at(page: Page, photo: Path, known: onelook.Detections) -> None:
    expect(page.get_by_label("Model")).to_be_enabled()
    page.dispatch_event("body", "dragenter", {"dataTransfer": files_in(page, photo)})
    expect(page.get_by_text("Drop to look at them")).to_be_visible()
    page.dispatch_event("body", "drop", {"dataTransfer": files_in(page, photo)})
    expect(page.get_by_text("Drop to look at them")).to_be_hidden()
    expect(rows(page)).to_have_text(lines(known.filter(score=0.35)), timeout=PATIENCE)

    page.reload()
    expect(page.get_by_label("Model")).to_be_enabled()
    data = files_in(page, photo)
    data.evaluate(
        "(data) => document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}))"
    )
    expect(rows(page)).to_have_text(lines(known.filter(score=0.35)), timeout=PATIENCE)


def test_the_slider_filters_without_a_request(page: Page, photo: Path, known: onelook.Detections) -> None:
    choose_and_wait(page, photo)
    sent = posts(page)
    slider = page.get_by_role("slider", name="Confidence of at least")
    for least in ("0.05", "0.3", "0.99"):
        slider.fill(least)
        expect(rows(page)).to_have_text(lines(known.filter(score=float(least))))
    expect(status(page)).to_have_text("Nothing with this confidence and these classes.")
    slider.press("Home")
    expect(rows(page)).to_have_count(len(known))
    slider.press("ArrowRight")
    expect(rows(page)).to_have_count(len(known.filter(score=0.06)))
    assert sent == []


def test_classes_are_left_out_one_by_one(page: Page, photo: Path, known: onelook.Detections) -> None:
    choose_and_wait(page, photo)
    page.get_by_role("slider").fill("0.05")
    page.get_by_role("checkbox", name="helmet").uncheck()
    expect(rows(page)).to_have_text(lines(known.filter(names="head")))
    page.get_by_role("checkbox", name="head").uncheck()
    expect(rows(page)).to_have_count(0)
    page.get_by_role("checkbox", name="helmet").check()
    expect(rows(page)).to_have_text(lines(known.filter(names="helmet")))


def test_rows_and_boxes_point_at_each_other(page: Page, photo: Path, known: onelook.Detections) -> None:
    choose_and_wait(page, photo)
    plain = shot(page)
    rows(page).first.hover()
    expect(rows(page).first).to_have_attribute("aria-selected", "true")
    assert shot(page) != plain
    page.get_by_role("heading").hover()
    expect(rows(page).first).to_have_attribute("aria-selected", "false")
    assert shot(page) == plain

    scale = page.locator("#canvas").evaluate("(canvas) => canvas.clientWidth") / known.width
    x1, y1, _, y2 = (known.boxes[0] * scale).tolist()
    page.locator("#canvas").hover(position={"x": x1 + 3, "y": (y1 + y2) / 2})
    expect(rows(page).first).to_have_attribute("aria-selected", "true")
    page.locator("#canvas").hover(position={"x": 2, "y": 2})
    expect(rows(page).first).to_have_attribute("aria-selected", "false")


def test_several_pictures_one_of_which_is_none(
    page: Page, photo: Path, known: onelook.Detections, tmp_path: Path
) -> None:
    notes, black = tmp_path / "notes.txt", tmp_path / "black.png"
    notes.write_text("no picture")
    cv2.imwrite(str(black), np.zeros((64, 64, 3), np.uint8))
    choose(page, notes, black, photo)
    expect(page.get_by_role("alert")).to_contain_text("notes.txt: not a picture", timeout=PATIENCE)
    expect(status(page)).to_have_text("There is no result for notes.txt.")
    strip = page.get_by_role("list", name="Pictures").get_by_role("button")
    expect(strip).to_have_text(["notes.txt: not read", "black.png", "astronaut.png"], timeout=PATIENCE)
    strip.nth(1).click()
    expect(status(page)).to_have_text("Nothing was found.")
    expect(page.get_by_role("alert")).to_be_hidden()
    strip.nth(2).click()
    expect(rows(page)).to_have_text(lines(known.filter(score=0.35)))
    answer = json.loads(saved(page, "Save JSON"))
    assert [one["source"] for one in answer["results"]] == ["black.png", "astronaut.png"]


def test_a_turned_jpeg_is_upright_with_its_boxes(page: Page, photo: Path, tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    turned = tmp_path / "turned.jpg"
    image = pil.open(photo).convert("RGB").crop((0, 0, 512, 400)).transpose(pil.Transpose.ROTATE_90)
    exif = pil.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    image.save(turned, quality=95, exif=exif)
    found = looked_at(turned)
    assert (found.width, found.height) == (512, 400)
    choose_and_wait(page, turned)
    expect(rows(page).first).to_have_text(lines(found)[0])
    assert_boxes_drawn(page, found)


def test_classes_areas_and_masks_are_shown(page: Page, model_paths: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "halves.png"
    image = np.zeros((32, 48, 3), np.uint8)
    image[:, :24] = 0, 0, 200  # BGR: red, which the segmenter takes for a bird
    cv2.imwrite(str(path), image)
    choose(page, path)
    page.get_by_label("Model").select_option("labels")
    best = onelook.load(model_paths["labels"])(str(path)).top()
    expect(rows(page)).to_have_text([f"{label.name} {label.score:.2f}" for label in best], timeout=PATIENCE)
    expect(page.get_by_role("slider")).to_be_hidden()

    page.get_by_label("Model").select_option("pixels")
    expect(rows(page)).to_have_text(["background 50%", "bird 50%"], timeout=PATIENCE)
    wide, high = page.locator("#canvas").evaluate("(canvas) => [canvas.width, canvas.height]")
    expected = 0.55 * np.array((200, 0, 0)) + 0.45 * np.array(colour(3))
    assert pixel(page, wide / 4, high * 0.9) == pytest.approx(expected, abs=3)
    assert pixel(page, wide * 3 / 4, high * 0.9) == [0, 0, 0]
    page.get_by_role("checkbox", name="bird").uncheck()
    assert pixel(page, wide / 4, high * 0.9) == [200, 0, 0]

    page.get_by_label("Model").select_option("objects")
    expect(rows(page)).to_have_text(["dog 0.90", "cat 0.60"], timeout=PATIENCE)
    expected = 0.55 * np.array((200, 0, 0)) + 0.45 * np.array(colour(0))
    assert pixel(page, wide / 3, high * 0.9) == pytest.approx(expected, abs=3)


def test_what_is_shown_is_saved_and_copied(visit: Open, photo: Path, known: onelook.Detections) -> None:
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    choose_and_wait(page, photo)
    page.get_by_role("slider").fill("0.1")
    answer = json.loads(saved(page, "Save JSON"))
    assert answer["model"] == "helmets"
    assert answer["results"] == [known.filter(score=0.1).to_dict() | {"source": photo.name}]
    page.get_by_role("button", name="Copy JSON").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert json.loads(page.evaluate("navigator.clipboard.readText()")) == answer
    drawn, plain = picture.decode(saved(page, "Save picture")), picture.read(str(photo))
    assert drawn.shape == plain.shape
    x1, y1, _, y2 = known.boxes[0].round().astype(int).tolist()
    assert tuple(drawn[(y1 + y2) // 2, x1 - 1].tolist()) == colour(int(known.classes[0]))
    assert (drawn == plain).all(2).mean() > 0.9


# ----------------------------------------------------------------------------------------------------------------- webcam


def test_the_webcam_runs_frame_after_frame_and_stops(visit: Open) -> None:
    page = visit(permissions=["camera"])
    expect(page.get_by_label("Model")).to_be_enabled()
    page.evaluate(
        """() => {
            const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
            navigator.mediaDevices.getUserMedia = async (wanted) => (window.stream = await get(wanted));
        }"""
    )
    sent = posts(page)
    page.get_by_role("button", name="Start webcam").click()
    expect(page.locator("#timing")).to_contain_text("frames/s", timeout=PATIENCE)
    before = len(sent)
    page.wait_for_event("requestfinished", lambda one: one.method == "POST")
    page.wait_for_event("requestfinished", lambda one: one.method == "POST")
    assert len(sent) > before
    expect(status(page)).to_have_attribute("aria-live", "off")
    page.get_by_role("button", name="Stop webcam").click()
    expect(page.get_by_role("button", name="Start webcam")).to_be_visible()
    assert page.evaluate("stream.getTracks().map((track) => track.readyState)") == ["ended"]
    expect(page.get_by_role("button", name="Save JSON")).to_be_visible()  # of the last frame
    expect(status(page)).to_have_attribute("aria-live", "polite")
    after = len(sent)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert len(sent) == after
    with page.expect_request(lambda one: "model=boxes" in one.url):  # it is a picture like any other now
        page.get_by_label("Model").select_option("boxes")


def test_a_webcam_that_is_not_to_be_had_is_said(page: Page, photo: Path) -> None:
    expect(page.get_by_label("Model")).to_be_enabled()
    page.evaluate(
        """() => {
            const refuse = () => Promise.reject(new DOMException("Permission denied", "NotAllowedError"));
            navigator.mediaDevices.getUserMedia = refuse;
        }"""
    )
    page.get_by_role("button", name="Start webcam").click()
    expect(page.get_by_role("alert")).to_contain_text("does not let this page use the webcam")
    choose_and_wait(page, photo)


# ------------------------------------------------------------------------------------------------------- what goes wrong


def test_a_busy_server_is_asked_again_when_it_says(page: Page, photo: Path) -> None:
    freeze(page)
    problem = json.dumps({"title": "Too Many Requests", "status": 429, "detail": "full"})
    page.route(
        "**/v1/detect*",
        lambda route: route.fulfill(
            status=429, headers={"Retry-After": "1"}, content_type="application/problem+json", body=problem
        ),
        times=1,
    )
    choose(page, photo)
    expect(status(page)).to_have_text("The server is busy; trying again in 1 s.", timeout=PATIENCE)
    page.clock.run_for(1_000)
    expect(status(page)).to_have_text(COUNTS, timeout=PATIENCE)


def test_a_server_that_stays_busy_is_given_up(page: Page, photo: Path) -> None:
    freeze(page)
    problem = json.dumps({"status": 429, "detail": "too many pictures are waiting; try again"})
    page.route("**/v1/detect*", lambda route: route.fulfill(status=429, headers={"Retry-After": "9"}, body=problem))
    choose(page, photo)
    for _ in range(5):
        expect(status(page)).to_have_text("The server is busy; trying again in 9 s.", timeout=PATIENCE)
        page.clock.run_for(9_000)
    expect(page.get_by_role("alert")).to_contain_text("Too many pictures are waiting; try again.", timeout=PATIENCE)
    page.unroute("**/v1/detect*")
    page.get_by_role("button", name="Try again").click()
    expect(status(page)).to_have_text(COUNTS, timeout=PATIENCE)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_slow_server_is_said_and_can_be_left(page: Page, photo: Path) -> None:
    freeze(page)
    page.route("**/v1/detect*", lambda route: None)  # never answered
    choose(page, photo)
    expect(status(page)).to_have_text("Looking at astronaut.png.")
    page.clock.run_for(4_100)
    expect(status(page)).to_have_text(re.compile(r"^The server is still at it: \d+ s so far\.$"))
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_label("Choose pictures")).to_be_focused()
    expect(page.get_by_role("alert")).to_contain_text("Cancelled: astronaut.png was not looked at.")
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()

    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    page.clock.run_for(61_000)
    expect(page.get_by_role("alert")).to_contain_text("The server has not answered within 60 seconds.")
    page.unroute("**/v1/detect*")
    page.get_by_role("button", name="Try again").click()
    expect(status(page)).to_have_text(COUNTS, timeout=PATIENCE)


def test_a_dead_server_is_said_and_tried_again(page: Page, photo: Path, model_paths: dict[str, str]) -> None:
    choose_and_wait(page, photo)
    page.route("**/v1/**", lambda route: route.abort("connectionrefused"))
    page.get_by_label("Model").select_option("boxes")
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached.", timeout=PATIENCE)
    page.unroute("**/v1/**")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(status(page)).not_to_have_text("Looking at astronaut.png.", timeout=PATIENCE)


def test_a_server_that_dies_between_two_pictures_is_said(page: Page, photo: Path) -> None:
    sent: list[Any] = []

    def first_alone(route: Any) -> None:
        sent.append(route)
        if len(sent) > 1:
            route.abort("connectionrefused")
        else:
            route.continue_()

    page.route("**/v1/detect*", first_alone)
    choose(page, *[photo] * 3)
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached.", timeout=PATIENCE)
    strip = page.get_by_role("list", name="Pictures").get_by_role("button")
    expect(strip).to_have_text(["astronaut.png", "astronaut.png: not looked at", "astronaut.png: waiting"])
    assert len(sent) == 2
    page.unroute("**/v1/detect*")
    page.get_by_role("button", name="Try again").click()
    expect(strip).to_have_text(["astronaut.png"] * 3, timeout=PATIENCE)
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text("Drop pictures here")).to_be_visible()
    expect(strip).to_have_count(0)


def test_a_server_that_is_dead_from_the_start_too(page: Page) -> None:
    page.route("**/v1/**", lambda route: route.abort("connectionrefused"))
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    page.unroute("**/v1/**")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_label("Model")).to_be_enabled()
    expect(page.get_by_role("alert")).to_be_hidden()


def test_what_a_proxy_answers_is_no_riddle(page: Page, photo: Path) -> None:
    page.route("**/v1/detect*", lambda route: route.fulfill(status=502, content_type="text/html", body="<p>x"))
    choose(page, photo)
    expect(page.get_by_role("alert")).to_contain_text("502 Bad Gateway.", timeout=PATIENCE)


def test_a_key_is_asked_for_and_kept_for_the_session(visit: Open, model_paths: dict[str, str]) -> None:
    app = create_app(Settings(models={"pixels": model_paths["pixels"]}, keys=("right",)))
    with serving(app) as address:
        page = visit(address)
        key = page.get_by_label("API key")
        expect(key).to_be_focused()
        expect(page.get_by_role("alert")).to_be_hidden()
        key.fill("wrong")
        key.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("The server does not know this key.")
        key.fill("right")
        key.press("Enter")
        expect(page.get_by_label("Model")).to_be_enabled()
        expect(key).to_be_hidden()
        expect(page.get_by_role("alert")).to_be_hidden()
        page.reload()
        expect(page.get_by_label("Model")).to_be_enabled()
        page.context.close()  # connections that stay open hold up the end of the server


# ----------------------------------------------------------------------------------------------------- for every person


def test_the_keyboard_alone_does_all(page: Page, photo: Path, known: onelook.Detections) -> None:
    # Someone listens from now on: the browser asks playwright, not the desktop, only some time after the first one does.
    page.on("filechooser", lambda _: None)
    expect(page.get_by_label("Model")).to_be_enabled()

    def tab_to(locator: Any) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            if locator.evaluate("(element) => element === document.activeElement"):
                break
        expect(locator).to_be_focused()

    tab_to(page.get_by_label("Model"))
    tab_to(page.get_by_label("On the server"))
    tab_to(page.get_by_label("Choose pictures"))
    with page.expect_file_chooser() as waiting:
        page.keyboard.press("Space")
    waiting.value.set_files(photo)
    expect(status(page)).to_have_text(COUNTS, timeout=PATIENCE)
    outline = page.locator("label[for=files]").evaluate("(label) => getComputedStyle(label).outlineStyle")
    assert outline == "solid"

    tab_to(page.get_by_role("slider"))
    page.keyboard.press("Home")
    expect(rows(page)).to_have_count(len(known))
    tab_to(page.get_by_role("checkbox", name="head"))
    tab_to(rows(page).first)
    plain = shot(page)
    page.keyboard.press("ArrowDown")
    expect(rows(page).nth(1)).to_be_focused()
    expect(rows(page).nth(1)).to_have_attribute("aria-selected", "true")
    assert shot(page) != plain
    page.keyboard.press("End")
    expect(rows(page).last).to_be_focused()
    tab_to(page.get_by_role("button", name="Save JSON"))
    with page.expect_download():
        page.keyboard.press("Enter")


def test_a_phone_scrolls_in_one_direction_only(visit: Open, photo: Path, tmp_path: Path) -> None:
    page = visit(viewport={"width": 360, "height": 640}, device_scale_factor=3, is_mobile=True, has_touch=True)
    long = tmp_path / f"{'a-very-long-name-' * 8}.png"
    cv2.imwrite(str(long), np.zeros((40, 900, 3), np.uint8))
    choose(page, photo, long, *[photo] * 3)
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden(timeout=PATIENCE)
    page.get_by_role("slider").fill("0.05")
    for model in ("helmets", "labels", "pixels", "objects"):
        page.get_by_label("Model").select_option(model)
        expect(page.get_by_role("button", name="Cancel")).to_be_hidden(timeout=PATIENCE)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.get_by_label("Model").select_option("helmets")
    rows(page).first.tap()
    expect(rows(page).first).to_have_attribute("aria-selected", "true")
    sizes = page.evaluate("[...document.querySelectorAll('button, select, .button')].map((one) => one.offsetHeight)")
    assert min(size for size in sizes if size) >= 40  # fingers are large


def test_dark_and_bright_both_can_be_read(visit: Open) -> None:
    def light(text: str) -> float:
        value = np.array([int(part) for part in re.findall(r"\d+", text)[:3]]) / 255
        linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    papers = []
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme, reduced_motion="reduce")
        found = page.evaluate(
            """() => ["body", "#where", "label.main", "#panel"].map((one) => {
                const style = getComputedStyle(document.querySelector(one));
                return [style.color, style.backgroundColor];
            })"""
        )
        paper, (soft, _), (on, accent), (ink, card) = found[0][1], found[1], found[2], found[3]
        for front, back in ((found[0][0], paper), (soft, paper), (on, accent), (ink, card)):
            low, high = sorted((light(front), light(back)))
            assert (high + 0.05) / (low + 0.05) >= 4.5  # WCAG 2.2, 1.4.3
        papers.append(light(paper))
        moving = page.evaluate("getComputedStyle(document.querySelector('#camera')).transitionDuration")
        assert moving in ("0s", "")
    assert papers[0] > 0.8
    assert papers[1] < 0.05


# ---------------------------------------------------------------------------------------------------- on this computer


@pytest.fixture
def vendor() -> None:
    if not (PAGE / "vendor/package.json").exists():
        pytest.skip("needs ONNX Runtime Web: python hatch_build.py")


@pytest.mark.usefixtures("vendor")
def test_the_browser_finds_what_the_server_finds(
    page: Page, photo: Path, known: onelook.Detections, tmp_path: Path
) -> None:
    half = tmp_path / "half.png"
    cv2.imwrite(str(half), picture.read(str(photo))[:, 100:353, ::-1])
    clear = tmp_path / "clear.png"
    seen = picture.read(str(photo))[..., ::-1]
    opacity = np.tile(np.linspace(0, 255, seen.shape[1]).astype(np.uint8), (seen.shape[0], 1))
    cv2.imwrite(str(clear), np.dstack([seen, opacity]))
    choose_and_wait(page, photo, half, clear)
    page.get_by_role("slider").fill("0.05")

    def answers(models: list[str]) -> dict[str, Any]:
        found = {}
        for model in models:
            page.get_by_label("Model").select_option(model)
            expect(page.get_by_role("button", name="Cancel")).to_be_hidden(timeout=PATIENCE)
            if page.get_by_role("slider").is_visible():
                page.get_by_role("slider").fill("0.05")
            found[model] = json.loads(saved(page, "Save JSON"))["results"]
        return found

    models = ["labels", "pixels", "objects", "boxes", "helmets"]
    expected = answers(models)
    sent = posts(page)
    page.get_by_label("On this computer").check()
    expect(page.locator("#where")).to_contain_text("Pictures stay on this computer.")
    expect(page.locator("#timing")).to_contain_text("This computer", timeout=PATIENCE)
    found = answers(models)
    assert sent == []
    assert len(found["helmets"][0]["detections"]) == len(known)
    for model in models:
        for one, other in zip(found[model], expected[model], strict=True):
            assert_same(one, other)


def assert_same(one: Any, other: Any) -> None:
    """Boxes within a pixel, scores within a hundredth, all else to the letter."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            if key == "box":
                assert one[key] == pytest.approx(other[key], abs=1)
            elif key in ("score", "share"):
                assert one[key] == pytest.approx(other[key], abs=0.01)
            else:
                assert_same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    else:
        assert one == other


@pytest.mark.usefixtures("vendor")
def test_the_model_is_fetched_once_and_what_is_no_picture_is_said(page: Page, photo: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("no picture")
    expect(page.get_by_label("Model")).to_be_enabled()
    page.get_by_label("On this computer").check()
    choose_and_wait(page, photo)
    choose(page, notes)
    expect(page.get_by_role("alert")).to_contain_text("notes.txt: not a picture that this browser can read.")
    cut = tmp_path / "cut.jpg"  # of which browsers show what there is
    cut.write_bytes(cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes()[:-2])
    choose(page, cut)
    expect(page.get_by_role("alert")).to_contain_text("cut.jpg: the JPEG picture is cut short; its end is missing.")
    cut.write_bytes(b"")
    choose(page, cut)
    expect(page.get_by_role("alert")).to_contain_text("cut.jpg: the file is empty.")
    page.get_by_role("button", name="astronaut.png").click()
    page.get_by_label("Model").select_option("pixels")
    expect(rows(page).first).to_contain_text("%", timeout=PATIENCE)
    page.route("**/helmets/file", lambda route: route.fulfill(status=304))  # the server would send it again
    page.get_by_label("Model").select_option("helmets")
    expect(status(page)).to_have_text(COUNTS, timeout=PATIENCE)
    page.unroute("**/helmets/file")
    page.get_by_label("Model").select_option("pixels")
    expect(rows(page).first).to_contain_text("%", timeout=PATIENCE)
    page.route("**/helmets/file", lambda route: route.abort("connectionrefused"))  # nor is it needed
    page.get_by_label("Model").select_option("helmets")
    expect(status(page)).to_have_text(COUNTS, timeout=PATIENCE)


@pytest.mark.usefixtures("vendor")
def test_the_webcam_stays_on_this_computer(visit: Open) -> None:
    page = visit(permissions=["camera"])
    expect(page.get_by_label("Model")).to_be_enabled()
    page.get_by_label("On this computer").check()
    sent = posts(page)
    page.get_by_role("button", name="Start webcam").click()
    expect(page.locator("#timing")).to_contain_text("frames/s", timeout=PATIENCE)
    page.get_by_role("button", name="Stop webcam").click()
    expect(page.get_by_role("button", name="Save picture")).to_be_visible()
    assert sent == []


@pytest.mark.usefixtures("vendor")
def test_a_model_whose_regions_are_proposed_runs_on_the_server_alone(page: Page, photo: Path) -> None:
    def answer(route: Any) -> None:
        response = route.fetch()
        known = response.json()
        for model in known["models"]:
            model["proposals"] = 2000
        route.fulfill(response=response, json=known)

    fetched: list[str] = []
    page.on("request", lambda one: fetched.append(one.url) if one.url.endswith("/file") else None)
    page.route("**/v1/models", answer)
    page.reload()
    expect(page.get_by_label("Model")).to_be_enabled()
    page.get_by_label("On this computer").check()
    choose(page, photo)
    expect(page.get_by_role("alert")).to_contain_text("This model runs on the server alone", timeout=PATIENCE)
    assert fetched == []
    page.get_by_label("On the server").check()
    expect(status(page)).to_have_text(COUNTS, timeout=PATIENCE)


@pytest.mark.usefixtures("vendor")
def test_nothing_is_sent_from_the_moment_this_computer_is_chosen(page: Page, photo: Path) -> None:
    held: list[Any] = []
    page.route("**/vendor/*", lambda one: held.append(one) if one.request.method == "HEAD" else one.continue_())
    sent = posts(page)
    expect(page.get_by_label("Model")).to_be_enabled()
    page.get_by_label("On this computer").check()
    expect(page.locator("#where")).to_contain_text("Pictures stay on this computer.")
    choose(page, photo)
    page.wait_for_timeout(300)
    assert len(held) == 1
    held.pop().continue_()
    expect(page.locator("#timing")).to_contain_text("This computer", timeout=PATIENCE)
    assert sent == []


def test_a_place_that_is_left_while_it_is_asked_for_stays_left(page: Page, photo: Path) -> None:
    held: list[Any] = []
    page.route("**/vendor/*", lambda one: held.append(one))
    choose_and_wait(page, photo)
    page.get_by_label("On this computer").check()
    page.get_by_label("On the server").check()
    expect(page.locator("#where")).to_contain_text("Pictures are sent to this server")
    expect(page.locator("#timing")).to_contain_text("Server", timeout=PATIENCE)
    held.pop().fulfill(status=404)
    page.wait_for_timeout(300)
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.get_by_label("On the server")).to_be_checked()
    expect(page.locator("#where")).to_contain_text("Pictures are sent to this server")


def test_a_queue_stops_where_this_computer_is_chosen_in_vain(page: Page, photo: Path) -> None:
    slow: list[Any] = []
    page.route("**/v1/detect?*", lambda one: slow.append(one))
    page.route("**/vendor/**", lambda route: route.fulfill(status=404))
    choose(page, photo, photo)
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    page.get_by_label("On this computer").check(force=True)
    expect(page.get_by_role("alert")).to_contain_text("it is in onelook's released wheel")
    page.wait_for_timeout(300)
    assert len(slow) == 1
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()


def test_without_onnxruntime_web_the_page_says_what_to_do(page: Page, photo: Path) -> None:
    page.route("**/vendor/**", lambda route: route.fulfill(status=404))
    expect(page.get_by_label("Model")).to_be_enabled()
    page.get_by_label("On this computer").check(force=True)
    expect(page.get_by_role("alert")).to_contain_text("it is in onelook's released wheel")
    expect(page.get_by_label("On the server")).to_be_checked()
    choose_and_wait(page, photo)
    expect(page.locator("#timing")).to_contain_text("Server")


@pytest.fixture(scope="module")
def bare(browser: Any, address: str) -> Iterator[Page]:
    """A document of the server without anything on it, for the page's modules."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{address}healthz")
        yield page


def in_page(bare: Page, code: str, cases: list[Any]) -> list[Any]:
    """The body of an async function of `cases`, run in the browser; it may import the page's modules."""
    found: list[Any] = bare.evaluate(f"async (cases) => {{ {code} }}", cases)
    return found


@pytest.mark.parametrize("sampling", ["linear", "darknet"])
@pytest.mark.parametrize("resize", ["letterbox", "stretch", "crop"])
def test_pixels_and_boxes_are_placed_as_the_library_does(bare: Page, resize: str, sampling: str) -> None:
    random = np.random.default_rng(3)
    images: list[NDArray[np.uint8]] = []
    for height, width in ((1, 1), (7, 300), (64, 96), (128, 192), (33, 100), (150, 91)):
        small = random.integers(0, 256, (3, 4, 3), np.uint8)
        images.append(np.asarray(cv2.resize(small, (width, height)), np.uint8))
    box = [10.5, 3.0, 40.0, 60.0]
    cases = [
        {
            "pixels": base64.b64encode(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA).tobytes()).decode(),
            "width": image.shape[1],
            "height": image.shape[0],
            "how": {"resize": resize, "sampling": sampling, "crop": 0.875},
            "box": box,
        }
        for image in images
    ]
    code = """
        const { place } = await import("/page/placement.js");
        return cases.map(({ pixels, width, height, how, box }) => {
            const data = Uint8Array.from(atob(pixels), (letter) => letter.charCodeAt(0));
            const input = { data: new Uint8Array(64 * 96 * 3), width: 96, height: 64 };
            const placement = place({ data, width, height }, input, how, false);
            const pixelsOf = how.resize === "crop" ? [] : placement.pixels().map((side) => Array.from(side));
            return { input: Array.from(input.data), box: placement.toPicture(box), pixels: pixelsOf };
        });
    """
    for image, found in zip(images, in_page(bare, code, cases), strict=True):
        canvas = np.zeros((64, 96, 3), np.uint8)
        placement = place(image, canvas, resize, sampling, 0.875)
        drawn = np.array(found["input"]).reshape(canvas.shape)
        tolerance = 1 if sampling == "linear" else 4  # OpenCV's warps know 32 places between pixels
        assert np.abs(drawn - canvas).max() <= tolerance
        expected = placement.to_picture(np.array([box], np.float32))[0]
        np.testing.assert_allclose(found["box"], expected, rtol=1e-5, atol=1e-4)
        if resize != "crop":
            for mine, theirs in zip(found["pixels"], placement.pixels(), strict=True):
                assert mine == theirs.tolist()


@pytest.mark.parametrize(("width", "height", "factor"), [(601, 437, 4), (290, 200, 2), (130, 90, 1)])
def test_a_large_jpeg_is_reduced_as_the_library_does(bare: Page, width: int, height: int, factor: int) -> None:
    small = np.random.default_rng(4).integers(0, 256, (6, 8, 3), np.uint8)
    image = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    how = {"resize": "letterbox", "sampling": "linear", "crop": 1.0}
    reduced = picture.decode_reduced(
        data, "x.jpg", lambda width, height: reduction(width, height, (64, 96), "letterbox", "linear")
    )
    assert reduced.factor == factor
    canvas = np.zeros((64, 96, 3), np.uint8)
    place(reduced, canvas, "letterbox", "linear")
    code = """
        const { ENOUGH, place } = await import("/page/placement.js");
        const [{ jpeg, how }] = cases;
        const bytes = Uint8Array.from(atob(jpeg), (letter) => letter.charCodeAt(0));
        const bitmap = await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none" });
        const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
        context.drawImage(bitmap, 0, 0);
        const input = { data: new Uint8Array(64 * 96 * 3), width: 96, height: 64 };
        place(context.getImageData(0, 0, bitmap.width, bitmap.height), input, how, true);
        return [ENOUGH, ...input.data];
    """
    enough, *found = in_page(bare, code, [{"jpeg": base64.b64encode(data).decode(), "how": how}])
    difference = np.abs(np.array(found).reshape(canvas.shape) - canvas)
    assert enough == ENOUGH
    assert difference.max() <= 12
    assert difference.mean() < 1


def test_a_picture_is_cut_short_where_the_library_says_so(bare: Page) -> None:
    """Each beginning of a JPEG with a thumbnail and with something of the camera's behind it, of a PNG and of a WebP."""
    noise = np.random.default_rng(6).integers(0, 256, (9, 9, 3), np.uint8)
    jpeg, png, webp = (cv2.imencode(suffix, noise)[1].tobytes() for suffix in (".jpg", ".png", ".webp"))
    thumbnail = b"\xff\xe1" + (len(jpeg) + 2).to_bytes(2, "big") + jpeg
    files = [(jpeg[:2] + thumbnail + jpeg[2:], b"tail"), (png, b"tail"), (webp, b"")]
    cases = [base64.b64encode(whole + tail).decode() for whole, tail in files]
    code = """
        const { cutShort } = await import("/page/whole.js");
        return cases.map((text) => {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            return Array.from(bytes.subarray(7), (_, i) => cutShort(bytes.subarray(0, i + 8)) ?? "");
        });
    """
    for (whole, tail), name, found in zip(files, ("JPEG", "PNG", "WebP"), in_page(bare, code, cases), strict=True):
        data = whole + tail
        assert found == ["" if end >= len(whole) else name for end in range(8, len(data) + 1)]
        for end in range(8, len(data) + 1):
            with pytest.raises(onelook.SourceError) if end < len(whole) else nullcontext():
                picture.decode(data[:end])


def test_masks_are_packed_as_the_library_does(bare: Page) -> None:
    random = np.random.default_rng(5)
    cases = []
    for _ in range(40):
        height, width = random.integers(1, 12, 2)
        mask = (random.random((height, width)) < random.choice([0, 0.1, 0.5, 0.9, 1])).astype(np.uint8)
        rows_, columns = np.sort(random.integers(0, height, 20)), np.sort(random.integers(0, width, 25))
        text = rle.compress(rle.encode(mask, rows_, columns)).decode()
        cases.append(
            {
                "mask": mask.ravel().tolist(),
                "width": int(width),
                "rows": rows_.tolist(),
                "columns": columns.tolist(),
                "text": text,
                "whole": mask[rows_][:, columns].ravel(order="F").tolist(),
            }
        )
    large = rle.compress(np.array([3_000_000, 40_000_000, 1, 20, 500_000_000])).decode()
    code = """
        const { compress, encode, ends, has } = await import("/page/rle.js");
        return cases.map(({ mask, width, rows, columns, text, whole }) => [
            compress(encode(Uint8Array.from(mask), width, 1, rows, columns)),
            whole.every((inside, i) => has(ends(text), 20, Math.floor(i / 20), i % 20) === Boolean(inside)),
        ]);
    """
    for case, (text, same) in zip(cases, in_page(bare, code, cases), strict=True):
        assert text == case["text"]
        assert same
    code = 'const { compress, ends } = await import("/page/rle.js"); return cases.map((text) => compress(ends(text)));'
    assert in_page(bare, code, [large]) == [large]
