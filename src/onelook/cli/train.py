"""onelook train."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from onelook.cli.run import path_type
from onelook.cli.show import stoppable
from onelook.errors import Error


@click.command()
@click.argument("data", required=False, type=path_type)
@click.option(
    "--model",
    default="mobilenet_yolo",
    show_default=True,
    help="mobilenet_yolo, yolo_v1, yolo_v2, yolo_v3, ssd, ssdlite, retinanet, m2det, fast_rcnn, faster_rcnn, mask_rcnn, "
    "localizer; deeplab_v3 for a segmenter; or a backbone's name for a classifier.",
)
@click.option("--backbone", help="Of a detector, a name that 'onelook models' lists; the model's own by default.")
@click.option("--alpha", type=float, help="Width multiplier of a MobileNet.")
@click.option(
    "--weights",
    type=path_type,
    multiple=True,
    help="To start from: a .tflite or .safetensors file; given twice, Darknet's .cfg and .weights.",
)
@click.option("--size", type=int, help="Side of the network's input; mostly a multiple of 32.  [default: 320]")
@click.option("--epochs", type=int, help="Times that each picture is seen.  [default: 100]")
@click.option("--batch", type=int, help="Pictures a step.  [default: 8]")
@click.option("--accumulate", type=int, help="Steps whose gradients are added up.  [default: 1]")
@click.option("--optimizer", help="adamw or sgd.  [default: adamw]")
@click.option("--learning-rate", type=float, help="The highest one.  [default: 0.005]")
@click.option("--backbone-rate", type=float, help="The backbone's share of it.  [default: 1, with --weights 0.1]")
@click.option("--precision", help="float32, bfloat16 or float16.  [default: bfloat16 where it is fast]")
@click.option("--multi-scale", type=float, help="Share by which the size changes, 0 to 0.9.  [default: 0]")
@click.option("--mosaic", type=float, help="Probability of a picture made of four.  [default: 0.5]")
@click.option("--upside-down", type=float, help="Probability of mirroring top and bottom.  [default: 0]")
@click.option("--patience", type=int, help="Evaluations without progress after which training ends.  [default: never]")
@click.option("--workers", type=int, help="Threads that load pictures; as many as there are processors by default.")
@click.option("--seed", type=int, help="Of everything random.  [default: 0]")
@click.option(
    "--paper", is_flag=True, help="As in the paper: YOLOv3's loss; the augmentation of YOLOv1 and Fast R-CNN."
)
@click.option("--box-loss", help="squared, iou, giou, diou or ciou.")
@click.option("--focal", help="Focal loss for objectness or classes (YOLOv3).")
@click.option("--gamma", type=float, help="Of the focal loss.")
@click.option("--focal-alpha", type=float, help="Of the focal loss, 0 to 1.")
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Of the network: levels=4, width=128, roi=align, 'scales=[...]'; again for more. See docs/training.md.",
)
@click.option("--tree", type=path_type, help="Of the classes, for yolo_v2 (YOLO9000): a line a class, 'name parent'.")
@click.option("--classified", type=path_type, help="Pictures of a class each for yolo_v2 too: a folder a class.")
@click.option("--split", default="train", show_default=True, help="To train on.")
@click.option("--validation", default="val", show_default=True, help="The split to measure on; 'none' for none.")
@click.option("--output", "-o", type=path_type, help="Folder of the run; a new one in runs/ by default.")
@click.option("--device", help="cpu, cuda, ...; a GPU where there is one.")
@click.option(
    "--resume", type=path_type, metavar="RUN", help="Go on with the run in this folder; no other argument but --device."
)
def train(
    data: Path | None,
    model: str,
    backbone: str | None,
    alpha: float | None,
    weights: tuple[Path, ...],
    size: int | None,
    mosaic: float | None,
    upside_down: float | None,
    paper: bool,
    box_loss: str | None,
    focal: str | None,
    gamma: float | None,
    focal_alpha: float | None,
    options: tuple[str, ...],
    tree: Path | None,
    classified: Path | None,
    split: str,
    validation: str,
    output: Path | None,
    device: str | None,
    resume: Path | None,
    **settings: Any,
) -> int:
    """Train a detector, segmenter or classifier on labelled pictures: VOC, COCO, Open Images, YOLO text, ImageNet folders.

    Writes the model file best.onnx, the best network's weights, the state to go on from, and curves for TensorBoard. With
    several GPUs or machines: torchrun --nproc-per-node 8 -m onelook train DATA ...
    """
    from onelook.conversion import need_torch_half

    need_torch_half("training", ("torch", "onnx", "onnxscript", "safetensors", "tflite", "tensorboard"))
    from onelook import training

    if (data is None) == (resume is None):
        raise Error("expected either DATA to train on, or --resume RUN")
    if resume is not None:
        context = click.get_current_context()
        for one in context.command.params:
            given = context.get_parameter_source(one.name or "") == ParameterSource.COMMANDLINE
            if given and one.name not in ("resume", "device"):
                raise Error(f"--resume goes on as the run was begun: leave out {one.opts[0]}, or begin another")
    with stoppable() as stop:
        if resume is not None:
            result = training.resume(resume, device, stop=stop.is_set)
        else:
            assert data is not None
            chosen = {name: value for name, value in settings.items() if value is not None}
            if size is not None:
                chosen["size"] = (size, size)
            how = training.Settings(**chosen)
            wanted = {"mosaic": mosaic, "upside_down": upside_down}
            changes: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
            how = replace(how, augmentation=replace(how.augmentation, **changes))
            if len(weights) > 2:
                raise Error(f"expected one file of weights, or a .cfg and its .weights; found {len(weights)} files")
            start = weights[0] if len(weights) == 1 else (weights[0], weights[1]) if weights else None
            switches = {"box": box_loss, "focal": focal, "gamma": gamma, "alpha": focal_alpha}
            switches = {name: value for name, value in switches.items() if value is not None}
            result = training.train(
                data,
                model,
                backbone,
                alpha,
                start,
                how,
                paper,
                switches,
                dict(map(_option, options)),
                tree,
                classified,
                split,
                None if validation == "none" else validation,
                output,
                device,
                stop=stop.is_set,
            )
    if stop.is_set():
        print(f"interrupted; go on with: onelook train --resume {result.folder}", file=sys.stderr)
        return 130
    if result.model is not None:
        print(result.model)
    return 0


def _option(text: str) -> tuple[str, Any]:
    """Name and value: of JSON, or a word."""
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise Error(f"expected an option as NAME=VALUE; found {text[:64]!r}")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value
