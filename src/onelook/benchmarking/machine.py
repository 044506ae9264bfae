"""What the figures were measured on."""

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from onelook.runtime.choice import processor_name
from onelook.runtime.session import processors

PACKAGES = ("onelook", "onnxruntime", "openvino", "opencv-python-headless", "numpy")


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine and its software."""

    processor: str
    """As the maker calls it."""
    processors: int
    """That this process may use."""
    system: str
    """The operating system and the kind of processor."""
    packages: dict[str, str]
    """Versions of Python and of what decides on speed."""

    def __str__(self) -> str:
        return f"{self.processor}, {self.processors} processor{'' if self.processors == 1 else 's'}"


def this_machine() -> Machine:
    """The one that this runs on."""
    packages = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return Machine(processor_name(), processors(), f"{platform.system()} {platform.machine()}", packages)
