"""What the tests share: where real data lies when it is there, and the files of small networks of every kind."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from networks import DETECTORS, TREE

# A worker of pytest-xdist has one processor to itself: if each took them all, they would be in each other's way.
if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {processors[int(os.environ["PYTEST_XDIST_WORKER"][2:]) % len(processors)]})

# CI tries the same examples every time, so that a change is judged by what it changes; elsewhere new ones are tried.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("local", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")

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
            (folder / "9.tree").write_text(TREE)
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
            if kind != "tree":
                options.setdefault("class_names", ("cat", "dog", "bird"))
            made[key] = convert(darknet_files(kind), folder / f"{len(made)}.onnx", **options)  # type: ignore[arg-type]
        return made[key]

    return make


@pytest.fixture(scope="session")
def classifier_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The model file of a classifier of four classes, whose every pixel counts, for pictures of 48 x 32.

    It takes seven eighths of the largest part. Its metadata can be changed.
    """
    import onnx
    import torch
    from torch import nn

    from onelook.export import export_classifier

    folder = tmp_path_factory.mktemp("classifiers")
    made: dict[int | None, Path] = {}

    def make(batch: int | None = None, **metadata: str) -> Path:
        if batch not in made:
            layer, random = nn.Linear(3 * 32 * 48, 4), torch.Generator().manual_seed(3)
            for parameter in layer.parameters():
                nn.init.normal_(parameter, 0, 0.02, random)
            network = nn.Sequential(nn.Flatten(), layer, nn.Softmax(1))
            grey, path = (127.5,) * 3, folder / f"{batch}.onnx"
            names = ("cat", "dog", "bird", "=1+1")
            made[batch] = export_classifier(network, path, names, (32, 48), grey, grey, batch, crop=0.875)
        if not metadata:
            return made[batch]
        model = onnx.load(made[batch])
        known = {entry.key: entry.value for entry in model.metadata_props}
        onnx.helper.set_model_props(model, {**known, **metadata})
        path = folder / f"changed-{len(list(folder.iterdir()))}.onnx"
        onnx.save(model, path)
        return path

    return make
