"""Data sets of the library `datasets`."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncinfer.errors import ConfigError, InputError
from tests.data.tables import opened, read

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.filterwarnings("ignore")  # Of the library.


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


DATA = {"text": ["a", "b", None], "label": [0, 1, 0]}
ROWS = [{"text": "a", "label": 0}, {"text": "b", "label": 1}, {"text": None, "label": 0}]


def test_saved_data_set_is_read(tmp_path: Path) -> None:
    datasets.Dataset.from_dict(DATA).save_to_disk(tmp_path / "saved")
    assert read(tmp_path / "saved") == ROWS
    assert opened(tmp_path / "saved").column_names() == ("text", "label")


def test_split_of_a_saved_data_set_is_chosen(tmp_path: Path) -> None:
    splits = {"train": datasets.Dataset.from_dict(DATA), "test": datasets.Dataset.from_dict({"text": ["c"]})}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    assert read(tmp_path / "saved") == ROWS
    assert read(tmp_path / "saved", split="test") == [{"text": "c"}]
    with pytest.raises(ConfigError, match="input.split: .* has no split 'dev'; it has train, test"):
        opened(tmp_path / "saved", split="dev")


def test_folder_of_files_is_read(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    datasets.Dataset.from_dict(DATA).to_parquet(tmp_path / "files" / "train.parquet")
    assert read(tmp_path / "files") == ROWS


def test_images_stay_encoded(tmp_path: Path) -> None:
    image = {"bytes": b"\x89PNG", "path": None}
    features = datasets.Features({"photo": datasets.Image()})
    data = datasets.Dataset.from_list([{"photo": image}], features=features)
    data.save_to_disk(tmp_path / "saved")
    assert read(tmp_path / "saved") == [{"photo": image}]


def test_folder_without_data_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: the data set cannot be loaded") as error:
        opened(tmp_path / "empty")
    assert "this is a folder without a saved data set" in str(error.value)
    assert f"give a pattern, such as {tmp_path / 'empty'}/*.parquet" in str(error.value)


def test_current_folder_without_data_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^\.: .*a folder without a saved data set .*such as \*\.parquet$"):
        opened(".")


def test_unknown_name_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(path: str, *_: object, **__: object) -> None:
        raise FileNotFoundError(f"Dataset '{path}' doesn't exist on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(InputError, match="no/such: the data set cannot be loaded: .*doesn't exist on the Hub"):
        opened("no/such", format="datasets")


def test_name_subset_and_split_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def load(path: str, subset: str, *, split: str) -> object:
        asked.extend((path, subset, split))
        return datasets.Dataset.from_dict(DATA)

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert read("owner/name", format="datasets", subset="de", split="test") == ROWS
    assert asked == ["owner/name", "de", "test"]
