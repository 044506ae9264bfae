"""What training starts from: weights of a backbone, or of a whole detector, that were trained before."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from onelook import checkpoint, darknet, tflite
from onelook.darknet import classifier
from onelook.errors import CheckpointError
from onelook.trained import is_trained, load

Weights = str | Path | tuple[str | Path, str | Path]


def read_weights(source: Weights) -> tuple[str, dict[str, Tensor]]:
    """The weights in a file, or in two of Darknet's.

    Args:
        source: a classifier in TensorFlow Lite's format; a checkpoint of onelook's, of a classifier or a detector; or the
            cfg and weights of a Darknet classifier that is one of our backbones.

    Returns:
        The name of the network; its weights by name, those of a classifier as `backbone.*`.

    Raises:
        CheckpointError, DarknetError: a file that cannot be read, or holds another network.
    """
    if isinstance(source, tuple):
        network = darknet.Darknet(source[0], device="meta")
        darknet.load_weights(network, source[1])
        found = classifier.checkpoint(network)
    elif Path(source).suffix == ".tflite":
        found = tflite.load(source)
    elif is_trained(Path(source)):
        about, whole = load(source)
        return about.name, whole.state_dict()
    elif Path(source).suffix == ".safetensors":
        found = checkpoint.load(source)
    else:
        raise CheckpointError(
            f"{source}: expected a .tflite or .safetensors file, or two files: Darknet's .cfg and .weights"
        )
    weights = {f"backbone.{key}": tensor for key, tensor in _of_own_pixels(found).items()}
    return found.name, weights


def _of_own_pixels(found: checkpoint.Checkpoint) -> dict[str, Tensor]:
    """The weights of a classifier for pixels as the class of its network normalises them, where the file has others.

    VGG-16 takes the mean of the training pictures alone from each pixel; Darknet's file of it is for pixels from -1 to 1.
    The first convolution makes up for that, exactly but for the border, where zeros lie around other pixels than before.
    """
    network, weights = found.network, found.network.state_dict()
    mean, std, file_mean, file_std = (torch.tensor(x) for x in (network.mean, network.std, found.mean, found.std))
    first = next(name for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
    weight, bias, norm = (f"{first}.weight", f"{first}.bias", f"{first.removesuffix('conv')}norm.running_mean")
    shift = weights[weight].sum((2, 3)) @ ((mean - file_mean) / file_std)
    weights[weight] = weights[weight] * (std / file_std)[:, None, None]
    if bias in weights:
        weights[bias] = weights[bias] + shift
    else:
        weights[norm] = weights[norm] - shift
    return weights


def load_weights(network: nn.Module, source: Weights) -> int:
    """Gives a network the weights that were trained before, those of its own names and shapes.

    Args:
        network: with a `backbone`; changed in place.
        source: see `read_weights`.

    Returns:
        How many of its tensors have got new values.

    Raises:
        CheckpointError: the backbone is another one, so that nothing, or not all of it, fits.
    """
    name, weights = read_weights(source)
    own = network.state_dict()
    fitting = {key: tensor for key, tensor in weights.items() if key in own and own[key].shape == tensor.shape}
    missing = [key for key in own if key.startswith("backbone.body") and key not in fitting]
    if missing:
        raise CheckpointError(f"{source}: has the weights of {name}, which is not the backbone that is trained")
    network.load_state_dict(fitting, strict=False)
    return len(fitting)


@torch.inference_mode()
def recalibrate(network: nn.Module, pictures: Iterable[Tensor]) -> None:
    """Gives every batch normalisation the statistics of these pictures, without changing what the network computes.

    In a TensorFlow Lite file batch normalisation is folded into the convolutions: there its mean is 0 and its variance
    1, whatever comes in. Training, which takes the statistics of each batch, would begin with another function.

    Args:
        network: changed in place; left in evaluation mode.
        pictures: batches as its forward takes them.
    """
    sums: dict[nn.BatchNorm2d, list[Tensor]] = {}

    def count(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        x = inputs[0].double()
        found = torch.stack((x.mean((0, 2, 3)), x.square().mean((0, 2, 3))))
        sums.setdefault(norm, []).append(found)  # type: ignore[arg-type]

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(count) for norm in norms]
    network.eval()
    for batch in pictures:
        network(batch)
    for hook in hooks:
        hook.remove()
    for norm, found in sums.items():
        mean, square = torch.stack(found).mean(0)
        _restate(norm, mean, (square - mean.square()).clamp(min=0))


def _restate(norm: nn.BatchNorm2d, mean: Tensor, var: Tensor) -> None:
    """Other statistics, and the weights and biases that make up for them."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    norm.bias.copy_(norm.bias.double() + gain * (mean - norm.running_mean.double()))
    norm.weight.copy_(gain * (var + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
