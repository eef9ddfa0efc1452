"""The example configurations of this repository, which `-c` accepts by name."""

from __future__ import annotations

from pathlib import Path

from asyncinfer.types.paths import is_file

# A clone of the repository has this folder next to the package. An installed package has no examples.
FOLDER = Path(__file__).parents[2] / "examples"


def example_names() -> dict[str, Path]:
    """Return the files of the examples, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def config_path(given: str) -> str:
    """Return the file of the example with this name. Any other text, and the path of a file, is returned unchanged."""
    example = example_names().get(given.lower())
    return given if example is None or is_file(Path(given)) else str(example)


def show_examples() -> None:
    """Print the names of the examples and their files."""
    examples = example_names()
    for name, path in examples.items():
        print(f"{name:<12} {path}")
    if not examples:
        print("There are no examples here. A clone of the repository has some.")
