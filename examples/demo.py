"""Find objects in the photographs that the wheel of scikit-image carries, and save the pictures with their boxes.

python examples/demo.py [MODEL]

Without a model it is the one that comes with onelook, which finds helmets and heads.
"""

import importlib.util
import sys
from pathlib import Path

import onelook
from onelook.runtime.writers import run_folder

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png")


def main(model: str = "helmets") -> None:
    """Detect, print what is found, save."""
    scikit_image = importlib.util.find_spec("skimage")
    if scikit_image is None or scikit_image.origin is None:
        sys.exit("error: the photographs are in the package scikit-image; pip install --no-deps scikit-image")
    folder = Path(scikit_image.origin).parent / "data"
    output = run_folder(name="demo")
    detector = onelook.load(model)
    for name in PHOTOGRAPHS:
        detections = detector(folder / name)
        found = ", ".join(f"{one.name} {one.score:.2f}" for one in detections) or "nothing"
        print(f"{detections.save(output / name)}: {found}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
