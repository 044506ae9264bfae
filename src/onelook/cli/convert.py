"""onelook convert."""

import sys
from pathlib import Path

import click

from onelook.cli.run import path_type
from onelook.errors import Error


@click.command()
@click.argument("files", nargs=-1, required=True, type=path_type, metavar="CFG WEIGHTS | FILE")
@click.option("--output", "-o", type=path_type, help="The model file; that of the weights with .onnx by default.")
@click.option("--names", help="Class names: coco, voc, imagenet, or a file of one name a line.")
@click.option("--size", type=int, help="Side of the input; the network's own by default.")
@click.option("--dynamic-size", is_flag=True, help="Take every multiple of 32 (detectors).")
@click.option("--batch", type=int, help="Pictures a run; any number by default.")
@click.option("--resize", help="letterbox, stretch or crop; as the network was trained by default.")
@click.option("--threshold", type=float, help="Default for the least score of a detector; 0.25 unless given.")
@click.option("--iou", type=float, help="Default for the overlap in suppression; 0.45 unless given.")
@click.option("--half", is_flag=True, help="Store the weights in half precision: half the bytes.")
def convert(
    files: tuple[Path, ...],
    output: Path | None,
    names: str | None,
    size: int | None,
    dynamic_size: bool,
    batch: int | None,
    resize: str | None,
    threshold: float | None,
    iou: float | None,
    half: bool,
) -> None:
    """Turn a trained network into one self-contained ONNX file.

    Darknet's detectors and classifiers are two files, .cfg and .weights; TensorFlow Lite's classifiers (MobileNetV1 and
    V2, .tflite) and onelook's checkpoints (.safetensors) are one. An output that ends in .safetensors is a checkpoint.
    """
    from onelook.conversion import convert as convert_model

    if len(files) > 2:
        raise Error(f"expected one file, or a .cfg and its .weights; found {len(files)} files")
    source = files[0] if len(files) == 1 else (files[0], files[1])
    path = convert_model(source, output, names, size, dynamic_size, batch, resize, threshold, iou, half)
    if names is None and len(files) == 2:
        print("note: without --names the classes are called 'class 0', 'class 1', ...", file=sys.stderr)
    print(path)
