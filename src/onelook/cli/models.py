"""onelook models."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onelook.cli.show import as_json_option, markdown, table
from onelook.errors import Error

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
    from onelook import zoo

    show = markdown if as_markdown else table
    if not layers and (alpha is not None or size is not None):
        raise Error("--alpha and --size go with --layers")
    if layers:
        _need_torch(f"printing {name or 'a network'}")
        rows = _layers(name, alpha, size)
        if as_json:
            print(json.dumps(rows, ensure_ascii=False))
        else:
            show(tuple(rows[0]), [tuple(map(_number, row.values())) for row in rows])
        return
    has_torch = importlib.util.find_spec("torch") is not None
    if measure or pictures:
        _need_torch("measuring networks")
    networks = _networks(name, measure, pictures) if has_torch else []
    trained = [model for model in zoo.CATALOGUE.values() if name in (None, model.name)]
    if name and not networks and not trained:
        known = f" or network ({', '.join(dict.fromkeys(n['name'] for n in _networks(None)))})" if has_torch else ""
        raise Error(f"no model{known} named {name[:64]!r}; see 'onelook models'")
    if as_json:
        facts = {"networks": networks, "models": [_facts(model) for model in trained]}
        print(json.dumps(facts, ensure_ascii=False))
        return
    if networks:
        head, rows_of_text, notes = _network_table(networks)
        show(head, rows_of_text)
        print(notes)
    if trained:
        print()
        show(("name", "task", "input", "classes", "weights", "published", "licence"), list(map(_model_row, trained)))
    if not has_torch:
        print('note: with torch, the networks are listed too; pip install "onelook[train]"', file=sys.stderr)


def _need_torch(why: str) -> None:
    from onelook.conversion import need_torch_half

    need_torch_half(why)


# ---- the networks ----------------------------------------------------------------------------------------------------


def _networks(name: str | None, measure: bool = False, pictures: Path | None = None) -> list[dict[str, Any]]:
    """What is known of each network."""
    from onelook.architectures import architectures, latency, measured

    rows = []
    for found in architectures(name):
        facts = _network(found)
        if pictures and found.weights_at_hand:
            top1, top5, count = measured(found, pictures)
            facts |= {"measured_top1": round(top1, 4), "measured_top5": round(top5, 4), "measured_pictures": count}
        if measure:
            facts["latency_ms"] = round(1000 * latency(found), 3)
        rows.append(facts)
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


def _network_table(networks: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]], str]:
    """Head, rows, and what is to be said below."""
    accuracy = any("measured_top1" in one for one in networks)
    time = any("latency_ms" in one for one in networks)
    head: tuple[str, ...] = (
        "network",
        "alpha",
        "size",
        "parameters",
        "printed",
        "counted",
        "multiply-adds",
        "printed",
        "MB",
        "top-1/5",
    )
    rows = []
    for one in networks:
        row = [
            one["name"],
            f"{one['alpha']:g}" if "alpha" in one else "",
            str(one["size"]),
            f"{one['parameters']:,}",
            one["published_parameters"] or "",
            one["counted"] or "",
            f"{one['multiply_adds'] / 1e6:,.1f}M",
            one["published_multiply_adds"] or "",
            f"{one['bytes'] / 1e6:.1f}",
            f"{one['published_top1']:.3f}/{one['published_top5']:.3f}",
        ]
        if accuracy:
            row.append(f"{one['measured_top1']:.3f}/{one['measured_top5']:.3f}" if "measured_top1" in one else "")
        if time:
            row.append(f"{one['latency_ms']:.2f}")
        rows.append(tuple(row))
    head += (("measured",) if accuracy else ()) + (("ms",) if time else ())
    return head, rows, NOTES


NOTES = """\
parameters: all that training learns, with 1000 classes. printed: the published figures.
counted: what was counted for them: learned = weights, biases, scale and shift of batch normalisation; statistics = its
  running mean and variance; cut = the digits are right, but were not rounded. Of multiply-adds, V2's 300M and 11M are
  cut too, and V1's 233M at 0.75 and Darknet-53's 9.35G (18.7 billion operations) come out in no way of counting.
MB: the weights of the model file, float32. top-1/5: published, on ImageNet's validation pictures."""


def _layers(name: str | None, alpha: float | None, size: int | None) -> list[dict[str, Any]]:
    """The layers of a network as the MobileNet paper prints them in Table 1."""
    import torch

    from onelook.backbones import ARCHITECTURES, create
    from onelook.nn.count import layers

    if name is None:
        raise Error(f"--layers needs the name of a network: {', '.join(ARCHITECTURES)}")
    options: dict[str, Any] = {} if alpha is None else {"alpha": alpha}
    with torch.device("meta"):
        if name == "vgg16" and size is not None:
            options["picture"] = size
        network = create(name, **options)
    sides = (size or network.size,) * 2
    if size is not None:
        network.check_size(sides)
    rows, previous = [], ""
    for layer in layers(network, sides):
        block = _block(network, layer.name)
        rows.append({"block": "" if block == previous else block, **_layer(layer)})
        previous = block
    end = rows[-1]["filter shape"].rpartition(" × ")[2]
    rows.append({"block": "", "type / stride": "Softmax / s1", "filter shape": "Classifier", "input size": f"1 × 1 × {end}",
                 "parameters": 0, "multiply-adds": 0})  # fmt: skip
    return rows


def _block(network: "Backbone", name: str) -> str:
    """The row of the body that a layer is in, where that row is of several layers: "3 InvertedResidual"."""
    from onelook.nn.conv import ConvBlock

    part, _, index = name.partition(".")
    number = index.partition(".")[0]
    if part != "body":
        return ""
    block = network.body[int(number)]
    return "" if isinstance(block, ConvBlock) or index == number else f"{int(number) + 1} {type(block).__name__}"


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
        "parameters": layer.weights + layer.biases,
        "multiply-adds": layer.multiply_adds,
    }


def _by(sides: tuple[int, ...]) -> str:
    return " × ".join(map(str, sides))


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


# ---- the trained models ----------------------------------------------------------------------------------------------


def _facts(model: "ZooModel") -> dict[str, Any]:
    facts = dataclasses.asdict(model)
    return {**facts, "classes": len(model.classes)}


def _model_row(model: "ZooModel") -> tuple[str, ...]:
    from onelook.zoo import Published

    published = model.published
    if published is None:
        score = "-"
    elif isinstance(published, Published):
        score = f"AP50 {published.ap50:.1f}, {published.dataset}"
    else:
        score = f"top-1/5 {published.top1:.1f}/{published.top5:.1f}, {published.dataset}"
    size, megabytes = f"{model.size} x {model.size}", f"{model.weights.size / 1e6:.1f} MB"
    return model.name, model.task, size, str(len(model.classes)), megabytes, score, model.licence
