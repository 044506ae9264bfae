"""onelook info."""

import json
from typing import Any

import click

from onelook.cli.show import as_json_option, table


@click.command()
@click.argument("model")
@as_json_option
def info(model: str, as_json: bool) -> None:
    """Say what a model file is: task, classes, input, size, where it comes from."""
    from onelook.loading import load

    found = load(model, engine="onnxruntime").info
    height, width = found.size
    detector = found.task == "detect"
    facts: dict[str, Any] = {
        "file": str(found.path),
        "bytes": found.path.stat().st_size,
        "task": found.task,
        **({"masks": found.masks, "proposals": found.proposals} if detector else {}),
        "classes": list(found.names),
        "input": {"width": width, "height": height, "dynamic_size": found.dynamic_size, "batch": found.batch},
        "resize": found.resize,
        "crop": found.crop,
        **({"score_threshold": found.score_threshold, "iou_threshold": found.iou_threshold} if detector else {}),
        "parameters": found.parameters,
        "multiply_adds": found.multiply_adds,
        "origin": found.origin,
    }
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    shown = ", ".join(found.names[:10]) + (", ..." if len(found.names) > 10 else "")
    resize = f"crop of {found.crop:.1%}" if found.resize == "crop" else found.resize
    rows = {
        "file": f"{found.path} ({found.path.stat().st_size / 1e6:.1f} MB)",
        "task": found.task + (", with the mask of each object" if found.masks else ""),
        "classes": f"{len(found.names)}: {shown}",
        "input": f"{width} x {height}{' or any multiple of 32' if found.dynamic_size else ''}, {resize}, "
        f"{found.batch or 'any number of'} pictures a run",
        **({"regions": f"up to {found.proposals} a picture, by selective search"} if found.proposals else {}),
        **({"thresholds": f"score {found.score_threshold}, IoU {found.iou_threshold}"} if detector else {}),
        "parameters": f"{found.parameters:,}",
        "multiply-adds": f"{found.multiply_adds:,}",
        **found.origin,
    }
    table((), [(key, str(value)) for key, value in rows.items()])
