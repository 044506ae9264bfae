"""onelook models."""

import dataclasses
import difflib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onelook.cli.show import as_json_option, busy, markdown, table
from onelook.conversion import need_torch_half
from onelook.errors import Error, MissingDependencyError

if TYPE_CHECKING:
    from onelook.architectures import Architecture
    from onelook.backbones import Backbone
    from onelook.nn.count import Layer
    from onelook.zoo import ZooModel


@click.command()
@click.argument("name", required=False)
@click.option("--layers", is_flag=True, help="Print a network layer by layer.")
@click.option("--alpha", type=float, help="With --layers: width multiplier of a MobileNet.")
@click.option("--size", type=int, help="With --layers: side of the picture; the paper's by default.")
@click.option("--measure", is_flag=True, help="Measure how long each network takes for a picture on this machine.")
@click.option(
    "--pictures",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Measure the accuracy of the networks whose trained weights are in the cache, on a folder of ImageNet's pictures.",
)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown.")
@as_json_option
def models(
    name: str | None,
    layers: bool,
    alpha: float | None,
    size: int | None,
    measure: bool,
    pictures: Path | None,
    as_markdown: bool,
    as_json: bool,
) -> None:
    """List the classification networks with what they cost, and the trained models that can be loaded by name.

    With NAME, only the network or model of that name.
    """
    name = None if name is None else name.lower()
    if layers:
        if measure or pictures:
            raise Error("--measure and --pictures do not go with --layers")
        _print_layers(name, alpha, size, as_markdown, as_json)
        return
    if alpha is not None or size is not None:
        raise Error("--alpha and --size go with --layers")
    from onelook import zoo

    if name in zoo.EMBEDDED:
        raise Error(f"{name} comes with onelook; 'onelook info {name}' says what it is")
    trained = [model for model in zoo.CATALOGUE.values() if name in (None, model.name)]
    if trained and name is not None:
        if measure or pictures:
            raise Error(f"{name} is a trained model; --measure and --pictures are for the networks")
        _print_model(trained[0], as_markdown, as_json)
        return
    if measure:
        need_torch_half("measuring networks")
    try:
        need_torch_half("listing the networks", ("torch",))
    except MissingDependencyError as missing:
        if name is not None:
            raise Error(f"no trained model is named {name[:64]!r}; the networks need torch: {missing}") from None
        if pictures:
            raise
        networks, note = [], f"note: {missing}"
    else:
        _check(name)
        networks, note = _networks(name, measure, pictures), ""
    if as_json:
        print(json.dumps({"networks": networks, "models": [_facts(model) for model in trained]}, ensure_ascii=False))
    else:
        if networks:
            _print_networks(networks, as_markdown)
        if networks and trained:
            print()
        if trained:
            _print_models(trained, as_markdown)
    if note:
        print(note, file=sys.stderr)


def _check(name: str | None) -> None:
    """Raises Error for a name of neither network nor model."""
    from onelook.backbones import ARCHITECTURES
    from onelook.zoo import CATALOGUE, EMBEDDED

    if name is not None and name not in ARCHITECTURES:
        close = difflib.get_close_matches(name[:64], [*ARCHITECTURES, *CATALOGUE, *EMBEDDED], cutoff=0.5)
        hint = f"closest: {', '.join(close)}" if close else "see 'onelook models'"
        raise Error(f"no network or model named {name[:64]!r}; {hint}")


def _show(as_markdown: bool) -> Callable[[tuple[str, ...], Sequence[tuple[str, ...]]], None]:
    return markdown if as_markdown else table


# ---- the networks ----------------------------------------------------------------------------------------------------


def _networks(name: str | None, measure: bool = False, pictures: Path | None = None) -> list[dict[str, Any]]:
    """What is known of each network, and what is measured of it."""
    from onelook.architectures import architectures, latency, measured

    found = architectures(name)
    rows = [_network(one) for one in found]
    if pictures and not any(one.weights_at_hand for one in found):
        names = ", ".join(one.published.weights for one in found if one.published.weights) or "none"
        raise Error(f"no trained weights are in the cache; there are such of {names}: 'onelook info NAME' brings them")
    if not measure and not pictures:
        return rows
    for one, facts in zip(found, rows, strict=True):
        with busy(f"measuring {one.published.name} at {one.published.size} pixels"):
            if pictures and one.weights_at_hand:
                top1, top5, count = measured(one, pictures)
                facts |= {"measured_top1": round(top1, 4), "measured_top5": round(top5, 4), "measured_pictures": count}
            if measure:
                facts["latency_ms"] = round(1000 * latency(one), 3)
    return rows


def _network(found: "Architecture") -> dict[str, Any]:
    published = found.published
    return {
        "name": published.name,
        **published.options,
        "size": published.size,
        "rho": round(published.size / 224, 2),
        "parameters": found.parameters,
        "published_parameters": published.parameters,
        "counted": found.counted,
        "multiply_adds": found.multiply_adds,
        "published_multiply_adds": published.multiply_adds,
        "bytes": found.bytes,
        "published_top1": published.top1,
        "published_top5": published.top5,
        "source": published.source,
        "weights": published.weights,
    }


def _print_networks(networks: list[dict[str, Any]], as_markdown: bool) -> None:
    """The published table: in Markdown with all digits and words, on a terminal within 80 columns."""
    accuracy = [one["measured_pictures"] for one in networks if "measured_top1" in one]
    time = any("latency_ms" in one for one in networks)
    head: tuple[str, ...] = ("network", "α", "px", "params", "printed", "MAdds", "printed", "MB", "top-1/5")
    if as_markdown:
        head = ("network", "α", "size", "parameters", "printed", "counted", "multiply-adds", "printed", "MB", "top-1/5")
    rows = []
    for one in networks:
        printed, counted = one["published_parameters"] or "", one["counted"] or ""
        if as_markdown:
            cost = [f"{one['parameters']:,}", printed, counted, f"{one['multiply_adds'] / 1e6:,.1f}M"]
        else:
            mark = counted[:1] if counted != "learned and statistics" else "s"
            mark += "↓" if counted.endswith("cut") else ""
            cost = [_short(one["parameters"]), f"{printed} {mark}".strip(), _short(one["multiply_adds"])]
        row = [one["name"], f"{one['alpha']:g}" if "alpha" in one else "", str(one["size"]), *cost]
        row += [one["published_multiply_adds"] or "", f"{one['bytes'] / 1e6:.0f}", _tops(one, "published")]
        row += [_tops(one, "measured") if "measured_top1" in one else ""] if accuracy else []
        row += [f"{one['latency_ms']:.2f}"] if time else []
        rows.append(tuple(row))
    _show(as_markdown)(head + (("measured",) if accuracy else ()) + (("ms",) if time else ()), rows)
    if as_markdown:
        print()  # without it the notes would be rows
    print(NOTES)
    if accuracy:
        print(f"measured: top-1/5 on {accuracy[0]} pictures, with the trained weights in the cache.")
    if time:
        print("ms: one picture on this machine, from pixels to probabilities, median.")


NOTES = """\
params: all that training learns, with 1000 classes. printed: as published, with
what was counted: l learned, s learned and statistics of batch normalisation,
w weights of convolutions and fully connected layers alone; ↓ cut, not rounded.
MAdds: multiply-adds of one picture. MB: the weights of the model file, float32.
top-1/5: published, on ImageNet val, percent."""


def _short(number: int) -> str:
    """4231976 as "4.23M", 300774272 as "300.8M"."""
    value, unit = (number / 1e9, "G") if number >= 1e9 else (number / 1e6, "M")
    return f"{value:.{2 if value < 10 else 1}f}{unit}"


def _tops(one: dict[str, Any], kind: str) -> str:
    """Top-1 and top-5 in percent."""
    tops = (100 * one[f"{kind}_top{k}"] + 1e-9 for k in (1, 5))  # a half goes up, also where it is 77.1499999
    return "/".join(f"{value:.1f}" for value in tops)


# ---- layers ----------------------------------------------------------------------------------------------------------


def _print_layers(name: str | None, alpha: float | None, size: int | None, as_markdown: bool, as_json: bool) -> None:
    """The layers of a network as the MobileNet paper prints them in Table 1."""
    need_torch_half("printing a network", ("torch",))
    rows = _layers(name, alpha, size)
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    total = {"type / stride": "total"} | {key: sum(row[key] for row in rows) for key in ("parameters", "multiply-adds")}
    previous, lines = "", []
    for row in (*rows, dict.fromkeys(rows[0], "") | total):
        block = row["block"]
        cells = [_number(value) for value in ({**row, "block": ""} if block == previous else row).values()]
        lines.append(tuple(cells if as_markdown else (cell.replace(" × ", "×") for cell in cells)))
        previous = block
    _show(as_markdown)(tuple(key.replace("multiply", "mult") for key in rows[0]), lines)


def _layers(name: str | None, alpha: float | None, size: int | None) -> list[dict[str, Any]]:
    import torch

    from onelook.backbones import ARCHITECTURES, create
    from onelook.nn.count import layers

    if name is None:
        raise Error(f"--layers needs the name of a network: {', '.join(ARCHITECTURES)}")
    options: dict[str, Any] = {}
    if alpha is not None:
        if name in ARCHITECTURES and not name.startswith("mobilenet"):
            raise Error(f"{name} has no width multiplier; --alpha is for the MobileNets")
        options["alpha"] = alpha
    if name == "vgg16" and size is not None:
        options["picture"] = size
    with torch.device("meta"):
        network = create(name, **options)
    sides = (network.size if size is None else size,) * 2
    if size is not None:
        network.check_size(sides)
    rows = [{"block": _block(network, layer.name), **_layer(layer)} for layer in layers(network, sides)]
    classes = rows[-1]["filter shape"].rpartition(" × ")[2]
    rows.append({"block": "", "type / stride": "Softmax / s1", "filter shape": "Classifier",
                 "input size": f"1 × 1 × {classes}", "parameters": 0, "multiply-adds": 0})  # fmt: skip
    return rows


def _block(network: "Backbone", name: str) -> str:
    """The row of the body that a layer is in, where that row is of several layers: "3 InvertedResidual"."""
    from onelook.nn.conv import ConvBlock

    part, _, index = name.partition(".")
    number = index.partition(".")[0]
    if part != "body":
        return ""
    block = network.body[int(number)]
    kind = type(block).__name__
    short = {"DepthwiseSeparable": "Separable", "InvertedResidual": "Inverted"}.get(kind, kind)
    return "" if isinstance(block, ConvBlock) or index == number else f"{int(number) + 1} {short}"


def _layer(layer: "Layer") -> dict[str, Any]:
    channels = str(layer.output[0])
    if layer.type == "Conv dw":
        shape = f"{_by(layer.kernel)} × {channels} dw"
    elif layer.type == "Conv":
        shape = f"{_by(layer.kernel)} × {layer.input[0]} × {channels}"
    elif layer.type == "FC":
        shape = f"{layer.input[0]} × {channels}"
    else:
        shape = f"Pool {_by(layer.kernel)}"
    maps = (*layer.input[1:], layer.input[0]) if len(layer.input) == 3 else (1, 1, layer.input[0])
    return {
        "type / stride": f"{layer.type} / s{layer.stride}",
        "filter shape": shape,
        "input size": _by(maps),
        "parameters": layer.parameters,
        "multiply-adds": layer.multiply_adds,
    }


def _by(sides: tuple[int, ...]) -> str:
    return " × ".join(map(str, sides))


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


# ---- the trained models ----------------------------------------------------------------------------------------------


def _print_models(trained: list["ZooModel"], as_markdown: bool) -> None:
    rows = []
    for model in trained:
        megabytes = model.weights.size / 1e6
        row = model.name, model.task, str(model.size), str(len(model.classes))
        rows.append((*row, f"{megabytes:.{1 if megabytes < 100 else 0}f}", _published(model)))
    _show(as_markdown)(("name", "task", "px", "classes", "MB", "published"), rows)
    if as_markdown:
        print()
    print(
        "published: AP50 of detectors, top-1/5 of classifiers, percent. 'onelook models NAME'\ntells licence and source. "
        "One model comes with onelook and needs no download: 'helmets', see\n'onelook info helmets'."
    )


def _print_model(model: "ZooModel", as_markdown: bool, as_json: bool) -> None:
    """One model, with all that is known of it."""
    if as_json:
        print(json.dumps({"networks": [], "models": [_facts(model)]}, ensure_ascii=False))
        return
    rows = [
        ("name", model.name),
        ("family", model.family),
        ("task", model.task),
        ("input", f"{model.size} x {model.size}"),
        ("classes", f"{len(model.classes)}: {'; '.join(model.classes[:5])}; ..."),
        ("licence", model.licence),
        *((file.name, f"{file.size / 1e6:.1f} MB, {file.url}") for file in model.files),
        ("published", _published(model)),
        ("source", model.published.source if model.published else "-"),
    ]
    _show(as_markdown)(("", "") if as_markdown else (), rows)


def _facts(model: "ZooModel") -> dict[str, Any]:
    return {**dataclasses.asdict(model), "classes": len(model.classes)}


def _published(model: "ZooModel") -> str:
    from onelook.zoo import Published

    published = model.published
    if published is None:
        return "-"
    if isinstance(published, Published):
        return f"{published.ap50:.1f} {published.dataset}"
    return f"{published.top1:.1f}/{published.top5:.1f} {published.dataset}"
