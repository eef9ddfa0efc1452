"""Data sets of the library `datasets`: by name from the Hugging Face hub, from a folder, or an open one.

datasets 5.2 (November 2026). `load_dataset` downloads a data set once, into its own cache, and reads it from there by
mapping files into memory. `save_to_disk` writes folders with `state.json`, or `dataset_dict.json` for several splits.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

from asyncinfer.data.arrow_table import ArrowTable
from asyncinfer.errors import ConfigError, InputError, MissingDependencyError, error_text
from asyncinfer.types.paths import expanded, is_file, is_folder

_ROWS = 256


class HubTable(ArrowTable):
    """A data set that `datasets` loads.

    Args:
        given: The name on the hub, or a folder.
        split: The split of a data set that has several.
    """

    def __init__(self, given: str, split: str, subset: str | None) -> None:
        self.name = given
        self._split, self._subset = split, subset
        self._data: Any = None

    def prepare(self) -> Generator[None]:
        if self._data is None:
            self._data = self._loaded(_datasets())
        yield from super().prepare()

    def _loaded(self, datasets: Any) -> Any:
        folder = expanded(self.name, "input.path")
        try:
            if is_file(folder / "state.json") or is_file(folder / "dataset_dict.json"):
                return self._one_split(datasets.load_from_disk(str(folder)))
            path = str(folder) if is_folder(folder) else self.name
            return datasets.load_dataset(path, self._subset, split=self._split)
        except (ConfigError, InputError):
            raise
        except Exception as error:  # The library raises errors of many kinds, also those of its downloads.
            why = error_text(error)
            if is_folder(folder):
                why = (
                    f"this is a folder without a saved data set ({why}). To read the files in it, give a pattern, such "
                    f"as {folder.joinpath('*.parquet')}"
                )
            raise InputError(f"{self.name}: the data set cannot be loaded: {why}") from None

    def _one_split(self, found: Any) -> Any:
        if not hasattr(found, "keys"):
            return found
        if self._split not in found:
            raise ConfigError(f"input.split: {self.name} has no split {self._split!r}; it has {', '.join(found)}")
        return found[self._split]

    def _batches(self) -> AbstractContextManager[tuple[Any, Iterator[Any]]]:
        return dataset_batches(self._data)


class DatasetTable(ArrowTable):
    """A `datasets.Dataset` that is open already."""

    def __init__(self, data: Any, name: str = "input") -> None:
        self.name = name
        self._data = data

    def _batches(self) -> AbstractContextManager[tuple[Any, Iterator[Any]]]:
        return dataset_batches(self._data)


def dataset_batches(data: Any) -> AbstractContextManager[tuple[Any, Iterator[Any]]]:
    """The schema and the batches of a `datasets.Dataset`. Images and audio stay encoded, as bytes or paths."""
    return nullcontext((data.features.arrow_schema, data.with_format("arrow").iter(_ROWS)))


def _datasets() -> Any:
    try:
        return import_module("datasets")
    except ImportError:
        raise MissingDependencyError("datasets", "data") from None
