"""Whole networks against OpenCV's own reader of Darknet files, where that still exists."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from onelook.darknet import Darknet, save_weights

needs_opencv_4 = pytest.mark.skipif(
    not hasattr(cv2.dnn, "readNetFromDarknet"), reason="OpenCV 5 reads no Darknet files"
)


@needs_opencv_4
@pytest.mark.parametrize("name", ["yolov2-tiny", "yolov2", "yolov3-tiny", "yolov3-spp", "yolov4-tiny", "yolov4"])
def test_heads_get_the_numbers_that_opencv_computes(shared: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    """OpenCV's [yolo] and [region] layers give decoded rows: x, y, w, h relative to the input, objectness, scores."""
    text = shared(f"cfg/{name}.cfg").read_text()
    cfg, weights = tmp_path / "net.cfg", tmp_path / "net.weights"
    cfg.write_text(text)
    torch.manual_seed(0)
    network = Darknet(cfg).eval()
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if key.endswith(("norm.bias", "conv.bias")):
                tensor.normal_(0, 0.3)
            elif key.endswith("running_mean"):
                tensor.normal_(0, 0.1)
    save_weights(network, weights)
    side = 160
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    theirs = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
    theirs.setInput(cv2.dnn.blobFromImage(image, 1 / 255, (side, side)))
    outputs = theirs.forward(theirs.getUnconnectedOutLayersNames())
    rows = np.concatenate([out.reshape(-1, out.shape[-1]) for out in outputs])
    with torch.no_grad():
        raw = network(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
        boxes, scores = (x[0].numpy() for x in network.decode(raw, (side, side)))
    mine = np.concatenate(((boxes[:, :2] + boxes[:, 2:]) / 2 / side, (boxes[:, 2:] - boxes[:, :2]) / side), axis=1)
    assert rows.shape == (len(mine), 5 + network.classes)
    # OpenCV lists cell by cell, onelook anchor by anchor; and OpenCV gives 0 for scores up to 0.2.
    nearest = np.abs(mine[:, None] - rows[None, :, :4]).sum(-1).argmin(1)
    np.testing.assert_allclose(mine, rows[nearest, :4], rtol=1e-3, atol=1e-4)
    doubtful = np.abs(scores - 0.2) < 1e-3
    expected = np.where(doubtful, scores * (scores > 0.2), rows[nearest, 5:])
    np.testing.assert_allclose(scores * (scores > 0.2), expected, rtol=5e-3, atol=1e-4)
    assert (expected > 0).any() or network.classes > 20
