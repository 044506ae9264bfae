"""The worst mistakes of a detector on one page: a single HTML file with its pictures in it, that works offline."""

import base64
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from onelook.errors import SourceError
from onelook.metrics import Mistake
from onelook.metrics.mistakes import KINDS, counts
from onelook.runtime import picture
from onelook.runtime.picture import shown
from onelook.runtime.result import encode

if TYPE_CHECKING:
    from onelook.evaluation.result import DetectorEvaluation

OF_EACH = 24  # mistakes of a kind
SIDE = 280  # pixels of the longer side of a crop
MARGIN = 0.4  # around the boxes, of their longer side
LEAST = 48  # pixels of the picture that a crop shows at least
FOUND, OBJECT = (230, 159, 0), (86, 180, 233)  # Okabe and Ito's orange and sky blue

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1a1a1a; --soft: #5c5c5c; --card: #f3f3f3; }
@media (prefers-color-scheme: dark) { :root { --paper: #161616; --ink: #ececec; --soft: #a8a8a8; --card: #242424; } }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .2rem; }
p { margin: 0 0 .8rem; color: var(--soft); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: .8rem; }
figure { margin: 0; background: var(--card); border-radius: 6px; overflow: hidden; }
figure img { display: block; width: 100%; height: 12rem; object-fit: contain; background: #0003; }
figcaption { padding: .4rem .6rem .55rem; font-size: .85rem; overflow-wrap: anywhere; }
figcaption small { display: block; color: var(--soft); }
.found { border-bottom: 3px solid rgb(230 159 0); } .object { border-bottom: 3px solid rgb(86 180 233); }
nav a { color: inherit; margin-right: 1rem; }
"""


def mistakes_page(evaluation: "DetectorEvaluation") -> str:
    """The page, as HTML: of each kind of mistake the worst few, with what was found and what is there."""
    run, best = evaluation.run, evaluation.curve.best
    number = counts(evaluation.mistakes)
    title = f"Mistakes of {Path(run.model).name} on {run.dataset.path.name}, {run.dataset.split}"
    links = "".join(f'<a href="#{kind}">{kind} {count}</a>' for kind, count in number.items())
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(shown(title))}</title><style>{STYLE}</style></head><body>
<h1>{escape(shown(title))}</h1>
<p>At the threshold {best.threshold:.3f}, where F1 is greatest: precision {best.precision:.2f}, recall {best.recall:.2f}.
<span class="found">What was found</span>, <span class="object">what is there</span>.</p>
<nav>{links}</nav>
{"".join(_section(evaluation, kind, number[kind]) for kind in KINDS)}
</body></html>
"""


def _section(evaluation: "DetectorEvaluation", kind: str, count: int) -> str:
    worst = [mistake for mistake in evaluation.mistakes if mistake.kind == kind][:OF_EACH]
    order = "the largest" if kind == "missed" else "the surest"
    which = f"{count}, {order} {len(worst)} of them" if count > len(worst) else str(count)
    figures = "".join(_figures(evaluation, worst))
    head = f'<h2 id="{kind}">{kind.capitalize()}: {which}</h2><p>{KINDS[kind].capitalize()}.</p>'
    return f'{head}<div class="grid">{figures}</div>\n'


def _figures(evaluation: "DetectorEvaluation", mistakes: list[Mistake]) -> Iterator[str]:
    truths, finds, dataset = evaluation.truths, evaluation.finds, evaluation.run.dataset
    for mistake in mistakes:
        found = finds.boxes[mistake.find] if mistake.find >= 0 else None
        there = truths.boxes[mistake.truth] if mistake.truth >= 0 else None
        said = []
        if found is not None:
            name = escape(shown(dataset.names[finds.classes[mistake.find]]))
            said.append(f'<span class="found">{name} {finds.scores[mistake.find]:.2f}</span>')
        if there is not None:
            said.append(f'<span class="object">{escape(shown(dataset.names[truths.classes[mistake.truth]]))}</span>')
        if found is not None and there is not None:
            said.append(f"IoU {mistake.iou:.2f}")
        image = dataset.samples[mistake.picture].image
        data = _crop(image, found, there)
        source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}" if data else ""
        caption = f"{', '.join(said)}<small>{escape(shown(image.name))}</small>"
        yield f'<figure><img loading="lazy" alt="" src="{source}"><figcaption>{caption}</figcaption></figure>'


def _crop(image: Path, found: NDArray[np.float64] | None, there: NDArray[np.float64] | None) -> bytes:
    """The part of a picture around the boxes, with them drawn, as JPEG; nothing where the picture cannot be read."""
    try:
        pixels = picture.read(image)
    except SourceError:  # stored results can be scored without the pictures
        return b""
    boxes = np.array([box for box in (there, found) if box is not None])
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    margin = max(MARGIN * (high - low).max(), (LEAST - (high - low).max()) / 2)
    limits = np.array(pixels.shape[1::-1])
    x1, y1 = np.floor(low - margin).clip(0, limits - 1).astype(int)
    x2, y2 = np.ceil(high + margin).clip((x1 + 1, y1 + 1), limits).astype(int)
    scale = SIDE / max(x2 - x1, y2 - y1)
    size = (max(1, round((x2 - x1) * scale)), max(1, round((y2 - y1) * scale)))
    crop = cv2.resize(pixels[y1:y2, x1:x2], size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    for box, colour in ((there, OBJECT), (found, FOUND)):
        if box is not None:
            a, b, c, d = ((box - (x1, y1, x1, y1)) * scale).round().astype(int).tolist()
            cv2.rectangle(crop, (a, b), (c, d), (0, 0, 0), 4)  # a dark edge, seen on bright pictures
            cv2.rectangle(crop, (a, b), (c, d), colour, 2)
    return encode(np.asarray(crop, np.uint8), Path("x.jpg"))
