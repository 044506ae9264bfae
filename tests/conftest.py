"""What the tests share: where real data lies when it is there, and small networks of every kind."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("ONELOOK_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """A path in the folder of real data and weights; the test is skipped where that is absent (a user's clone)."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"needs {name} in the folder of real data (ONELOOK_SHARED)")
        return path

    return find


NET = "[net]\nwidth=64\nheight=64\nchannels=3\n"


def conv(filters: int, size: int = 3, stride: int = 1, activation: str = "leaky", batch_normalize: int = 1) -> str:
    """A [convolutional] section."""
    return (
        f"[convolutional]\nbatch_normalize={batch_normalize}\nfilters={filters}\nsize={size}\nstride={stride}\npad=1\n"
        f"activation={activation}\n"
    )


BODY = NET + conv(8, stride=2) + conv(16, stride=2) + conv(16, stride=2) + conv(32, stride=2)

# One small detector for every kind of head, with the layers that stand before it in the papers' networks.
DETECTORS = {
    "v1": BODY
    + "[local]\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=leaky\n[dropout]\nprobability=.5\n"
    + "[connected]\noutput=208\nactivation=linear\n"
    + "[detection]\nclasses=3\ncoords=4\nside=4\nnum=2\nsqrt=1\nsoftmax=0\n",
    "v2": BODY
    + "[route]\nlayers=-2\n[reorg]\nstride=2\n[route]\nlayers=-1,-3\n"
    + conv(16, 1, activation="linear", batch_normalize=0)
    + "[region]\nanchors=1.0,1.5, 2.5,1.2\nclasses=3\ncoords=4\nnum=2\nsoftmax=1\n",
    "v3": BODY
    + conv(24, 1, activation="linear", batch_normalize=0)
    + "[yolo]\nmask=1,2,3\nanchors=5,8, 16,20, 30,16, 40,50\nclasses=3\nnum=4\n"
    + "[route]\nlayers=-3\n[upsample]\nstride=2\n[route]\nlayers=-1,2\n"
    + conv(8, 1, activation="linear", batch_normalize=0)
    + "[yolo]\nmask=0\nanchors=5,8, 16,20, 30,16, 40,50\nclasses=3\nnum=4\n",
    "v4": BODY
    + "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n"
    + conv(16, activation="mish")
    + "[maxpool]\nstride=1\nsize=5\n[shortcut]\nfrom=-3\nactivation=linear\n"
    + conv(16, 1, activation="linear", batch_normalize=0)
    + "[yolo]\nmask=0,1\nanchors=16,20, 30,16\nclasses=3\nnum=2\nscale_x_y=1.05\nnms_kind=greedynms\n",
    "new_coords": BODY
    + conv(16, 1, activation="logistic", batch_normalize=0)
    + "[yolo]\nmask=0,1\nanchors=16,20, 30,16\nclasses=3\nnum=2\nscale_x_y=2.0\nnew_coords=1\n",
}


@pytest.fixture(scope="session")
def darknet_files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """The cfg and weights of one of DETECTORS, with random weights that give scores from about 0 to 1."""
    import torch

    from onelook import darknet

    folder = tmp_path_factory.mktemp("darknet")

    def make(kind: str) -> tuple[Path, Path]:
        cfg, weights = folder / f"{kind}.cfg", folder / f"{kind}.weights"
        if not weights.exists():
            cfg.write_text(DETECTORS[kind])
            torch.manual_seed(3)
            network = darknet.Darknet(cfg)
            with torch.no_grad():
                for name, tensor in network.state_dict().items():
                    if name.endswith(("running_var", "norm.weight")):
                        tensor.uniform_(0.5, 1.5)
                    elif tensor.ndim > 1:
                        tensor.normal_(0.0, 1.5 * (tensor[0].numel()) ** -0.5)
                    elif tensor.is_floating_point():
                        tensor.normal_(0.0, 0.5)
            darknet.save_weights(network, weights)
        return cfg, weights

    return make


@pytest.fixture(scope="session")
def model_file(
    tmp_path_factory: pytest.TempPathFactory, darknet_files: Callable[[str], tuple[Path, Path]]
) -> Callable[..., Path]:
    """The model file of one of DETECTORS, made once for each set of options."""
    folder = tmp_path_factory.mktemp("models")
    made: dict[str, Path] = {}

    def make(kind: str = "v3", **options: object) -> Path:
        from onelook.conversion import convert

        key = f"{kind}-{sorted(options.items())}"
        if key not in made:
            options.setdefault("class_names", ("cat", "dog", "bird"))
            made[key] = convert(*darknet_files(kind), folder / f"{len(made)}.onnx", **options)  # type: ignore[arg-type]
        return made[key]

    return make
