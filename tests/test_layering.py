"""Which part of the package may import which, and what a start costs."""

import ast
import subprocess
import sys
from pathlib import Path

import onelook
from onelook.loading import APART

PACKAGE = Path(onelook.__file__).parent
TORCH_HALF = ("torch", "onnx", "onnxscript", "onnxruntime.quantization")

# module or package -> what it may import of onelook
ALLOWED = {
    "errors": set(),
    "names": {"errors"},
    "rle": set(),
    "options": {"errors"},
    "data": {"data", "errors", "names", "rle", "runtime"},
    "metrics": {"data", "errors", "metrics", "runtime"},
    "evaluation": {"data", "errors", "evaluation", "loading", "metrics", "names", "rle", "runtime"},
    "benchmarking": {"benchmarking", "data", "errors", "evaluation", "loading", "metrics", "runtime"},
    "checkpoint": {"backbones", "errors", "runtime"},
    "tflite": {"backbones", "checkpoint", "errors", "nn", "segmenters", "tflite"},
    "architectures": {"backbones", "errors", "export", "loading", "metrics", "names", "nn", "runtime", "zoo"},
    "runtime": {"errors", "names", "rle", "runtime"},
    "zoo": {"errors", "names", "zoo"},
    "boxes": set(),
    "nms": {"boxes"},
    "losses": {"boxes"},
    "nn": {"nn"},
    "backbones": {"backbones", "errors", "nn", "options"},
    "detectors": {
        "backbones",
        "boxes",
        "checkpoint",
        "detectors",
        "errors",
        "losses",
        "nms",
        "nn",
        "options",
        "runtime",
    },
    "segmenters": {"backbones", "errors", "losses", "nn", "options", "segmenters"},
    "trained": {"checkpoint", "detectors", "errors", "runtime", "segmenters"},
    "darknet": {"backbones", "checkpoint", "darknet", "errors", "nn"},
    "export": {"errors", "export", "nn", "runtime"},
    "conversion": {
        "__version__",
        "backbones",
        "checkpoint",
        "darknet",
        "detectors",
        "errors",
        "export",
        "names",
        "nn",
        "segmenters",
        "tflite",
        "trained",
    },
    "training": {
        "__version__",
        "backbones",
        "checkpoint",
        "conversion",
        "darknet",
        "data",
        "detectors",
        "errors",
        "metrics",
        "names",
        "nms",
        "nn",
        "runtime",
        "segmenters",
        "tflite",
        "trained",
        "training",
    },
    "scale": {"errors", "loading", "runtime", "scale"},
    "serve": {"__version__", "errors", "loading", "runtime", "serve"},
    "loading": {"__version__", "conversion", "errors", "runtime", "zoo"},
    "cli": {
        "__version__",
        "architectures",
        "backbones",
        "benchmarking",
        "cli",
        "conversion",
        "data",
        "errors",
        "evaluation",
        "loading",
        "nn",
        "runtime",
        "scale",
        "serve",
        "training",
        "zoo",
    },
    "__main__": {"cli"},
    "__init__": {"benchmarking", "conversion", "errors", "evaluation", "loading", "runtime", "training"},
}


def imported(path: Path) -> set[str]:
    """The parts of onelook that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("onelook.")}
        elif isinstance(node, ast.ImportFrom) and node.module == "onelook":
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("onelook."):
            found.add(str(node.module).split(".")[1])
    return found


def test_arrows_go_one_way() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        assert part in ALLOWED, f"{path}: say in ALLOWED what {part} may import"
        assert imported(path) <= ALLOWED[part], path


def test_what_the_cache_does_not_look_at_has_no_part_in_a_conversion() -> None:
    """Else a converter that was mended would leave its users the files of before."""
    reached, found = set[str](), {"conversion"}
    while found:
        reached |= found
        found = set().union(*(ALLOWED.get(part, set()) for part in found)) - reached
    assert {"darknet", "detectors", "export", "nn", "runtime", "tflite"} <= reached
    assert not reached & APART
    assert set(ALLOWED) >= APART


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh Python has loaded after some code."""
    script = f"import sys\n{code}\nprint(*sys.modules, sep='\\n')"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_import_onelook_loads_nothing_heavy() -> None:
    assert not loaded_after("import onelook") & {"numpy", "cv2", "onnxruntime", "torch", "rich", "click", "asyncio"}


def test_detecting_never_imports_torch(model_file: "object", tmp_path: Path) -> None:
    path = model_file("v3")  # type: ignore[operator]
    code = f"""
import numpy as np, onelook
import onelook.cli, onelook.runtime.writers, onelook.runtime.draw, onelook.zoo.download
detector = onelook.load({str(path)!r})
image = np.zeros((40, 60, 3), np.uint8)
detector(image).save({str(tmp_path / "x.png")!r})
list(detector.stream([image] * 3))
"""
    assert not {module for module in loaded_after(code) if module.split(".")[0] in TORCH_HALF}


def test_every_public_name_is_there() -> None:
    assert all(getattr(onelook, name) is not None for name in onelook.__all__)
    assert set(onelook.__all__) <= set(dir(onelook))


def test_without_torch_what_needs_it_says_so_in_one_line() -> None:
    code = "import sys; sys.modules['torch'] = None\nfrom onelook import data, metrics\nfrom onelook import darknet"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = 'MissingDependencyError: torch is not installed, and onelook.darknet needs it; pip install "onelook[train]"'
    assert done.stderr.splitlines()[-1] == f"onelook.errors.{said}"


def test_what_stands_alone_is_there_at_once() -> None:
    code = "import onelook; print(onelook.boxes.iou.__name__, onelook.nms.nms.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "iou nms\n"
