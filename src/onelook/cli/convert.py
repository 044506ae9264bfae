"""onelook convert."""

import sys
from pathlib import Path
from typing import Any

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
@click.option("--threshold", type=float, help="Default for the score that objects must be above; 0.25 unless given.")
@click.option("--iou", type=float, help="Default for the overlap in suppression; 0.45 unless given.")
@click.option("--half", is_flag=True, help="Store the weights in half precision: half the bytes.")
@click.option("--int8", is_flag=True, help="Make a model compute in int8; needs --calibrate.")
@click.option("--calibrate", type=path_type, metavar="DATA", help="For --int8: a dataset, or a folder of pictures.")
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
    int8: bool,
    calibrate: Path | None,
) -> None:
    """Turn a trained network into one self-contained ONNX file.

    Darknet's detectors and classifiers are two files, .cfg and .weights; TensorFlow Lite's classifiers (MobileNetV1 and
    V2) and DeepLabv3 (.tflite), and onelook's checkpoints (.safetensors), are one. An output that ends in .safetensors
    is a checkpoint.

    With --int8, FILE is a model file, or anything else that 'onelook detect --model' takes, and so is what is written;
    DATA, pictures like those that the model is for, is best what it was trained on, and not what it is measured on.
    """
    from onelook.conversion import convert as convert_model

    if int8 or calibrate is not None:
        others = (names, size, batch, resize, threshold, iou, dynamic_size or None, half or None)
        if not int8 or calibrate is None:
            raise Error(
                "--int8 needs --calibrate DATA, pictures like those that the model is for, and --calibrate is for --int8"
            )
        if any(option is not None for option in others):
            raise Error("--int8 goes with --calibrate and --output alone; the model keeps all else that it has")
        print(_quantise(files, calibrate, output))
        return
    if len(files) > 2:
        raise Error(f"expected one file, or a .cfg and its .weights; found {len(files)} files")
    source = files[0] if len(files) == 1 else (files[0], files[1])
    path = convert_model(source, output, names, size, dynamic_size, batch, resize, threshold, iou, half)
    if names is None and (len(files) == 2 or _is_unnamed(path)):
        print("note: without --names the classes are called 'class 0', 'class 1', ...", file=sys.stderr)
    print(path)


def _is_unnamed(path: Path) -> bool:
    """Whether what was written is a model file whose classes are mere numbers."""
    from onelook.runtime.session import open_session

    return path.suffix == ".onnx" and open_session(path, "onnxruntime").info.names[0] == "class 0"


def _quantise(files: tuple[Path, ...], data: Path, output: Path | None) -> Path:
    """Writes a model file in int8; says on stderr what became of it."""
    from onelook.cli.show import busy
    from onelook.conversion import quantise
    from onelook.loading import model_file

    source = files[0] if len(files) == 1 else files
    with busy("Calibrating"):
        found = quantise(model_file(source), _pictures(data), output)  # type: ignore[arg-type]
    agreement = ", ".join(f"{value:.1f} dB in {engine}" for engine, value in found.agreement.items())
    kept = f" ({found.in_float} that could be stay float)" if found.in_float else ""
    note = f"{found.quantised} of {found.convolutions} convolutions in int8{kept}; raw maps agree with float to"
    print(f"{note} {agreement}; {found.pictures} pictures", file=sys.stderr)
    return found.path


def _pictures(data: Path) -> Any:
    """The files of a dataset's part to train on, or else what is in a folder."""
    from onelook.data import read, splits
    from onelook.errors import DataError

    try:
        known = splits(data)
    except DataError:
        return data
    train = [name for name in known if name.startswith("train")]
    return [sample.image for sample in read(data, (*train, *known)[0]).samples]
