"""A network as a model file: what it finds in onnxruntime is what it finds in torch."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

import naive
from onelook.export import export_detector
from onelook.nms import nms
from onelook.runtime.session import open_session

FOUND = 60  # detections a picture before suppression


def finds_the_same(
    network: nn.Module, size: tuple[int, int], folder: Path, other: tuple[int, int] | None = None
) -> None:
    """Asserts it, for batches of one and three pictures of noise, with random weights of three classes.

    With another size the file is to take any, and three pictures are of that one.
    """
    torch.manual_seed(0)
    network.load_state_dict(naive.random_state(network))
    network.eval()
    path = export_detector(network, folder / "x.onnx", ("a", "b", "c"), size, dynamic_size=other is not None)
    session = open_session(path, "onnxruntime")
    for batch, own in ((1, size), (3, other or size)):
        images = np.random.default_rng(batch).integers(0, 256, (batch, *own, 3), np.uint8)
        with torch.no_grad():
            raw = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
            boxes, scores = network.decode(raw, own)  # type: ignore[operator]
        threshold = float(scores.flatten().sort(descending=True).values[FOUND * batch - 1 : FOUND * batch + 1].mean())
        picture, box, label = (scores > threshold).nonzero().unbind(1)
        boxes, scores = boxes[picture, box], scores[picture, box, label]
        kept = nms(boxes, scores, 0.45, label, picture)
        kept = kept[picture[kept].argsort(stable=True)]
        found = session.run(images, threshold, 0.45)
        assert len(kept) > 3 * batch
        assert found[3].tolist() == picture[kept].tolist()
        assert found[2].tolist() == label[kept].tolist()
        np.testing.assert_allclose(found[1], scores[kept], atol=1e-4)
        np.testing.assert_allclose(found[0], boxes[kept], atol=1e-2, rtol=1e-4)
