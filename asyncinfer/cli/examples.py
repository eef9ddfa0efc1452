"""The example configurations of this repository, which `-c` accepts by name."""

from __future__ import annotations

from pathlib import Path

from asyncinfer.types.paths import is_file

# A clone of the repository has this folder next to the package. An installed package has no examples.
FOLDER = Path(__file__).parents[2] / "examples"


def example_names() -> dict[str, Path]:
    """Return the files of the examples, by name."""
    if not (FOLDER.parent / "pyproject.toml").is_file():
        return {}  # The package is installed. The folder may belong to another package.
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def config_path(given: str) -> str:
    """Return the file of the example with this name. The path of a file, and any other text, is returned unchanged."""
    if is_file(Path(given)):
        return given
    return str(example_names().get(given.lower(), given))


def show_examples() -> None:
    """Print the names of the examples and their files."""
    examples = example_names()
    for name, path in examples.items():
        print(f"{name:<12} {path}")
    if not examples:
        print("There are no examples here. A clone of the repository has some.")
