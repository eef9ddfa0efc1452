"""Where the rows of a run come from, how each becomes a conversation, and where the answers go."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from asyncinfer.config.base import Count, OptionalPath, Params
from asyncinfer.config.generation import GenerationParams
from asyncinfer.config.problems import nearest_name
from asyncinfer.config.prompt_template import check_template
from asyncinfer.errors import ConfigError
from asyncinfer.types.answer import ANSWER_METADATA, FAILURE
from asyncinfer.types.field_types import NONE

Template = Annotated[str, AfterValidator(check_template)]
Character = Annotated[str, Field(min_length=1, max_length=1)]

# The metadata that a run writes itself. A column of such a name would be lost.
_RESERVED = frozenset((*ANSWER_METADATA, FAILURE, "row_key"))


class InputFormat(StrEnum):
    """A format of input files."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"
    DATASETS = "datasets"
    OPENAI_BATCH = "openai_batch"


class OutputFormat(StrEnum):
    """A format of output files."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class InputParams(Params):
    """The rows of a run. Without a `prompt`, each row is a conversation, with a column `messages`."""

    path: OptionalPath = NONE
    """A file, a pattern such as `data/*.parquet`, a URL, the folder of a data set, or with `format: datasets` the name
    of one on the Hugging Face hub."""
    format: InputFormat | None = None
    """The format of the file; null: that of the extension, and JSONL for an unknown extension."""
    prompt: Template | None = None
    """A Jinja template for the message of the user. Its variables are the columns of a row; `row` has all of them."""
    system: Template | None = None
    """A Jinja template for the system prompt."""
    images: str | None = None
    """The column with the image of a row: a path, a URL, bytes, or a list of these."""
    id: str | None = None
    """The column whose values become the ids of the conversations."""
    model_name: str | None = None
    """The column with the name of the model that answers a row; null or empty: the model of the call."""
    generation: dict[str, str] = Field(default_factory=dict)
    """Columns with settings of single rows, by the name of the setting: `{temperature: heat}` takes `temperature` from
    the column `heat`. Where it is null or empty, the setting of the call is in effect."""
    keep: list[str] | None = None
    """The columns that the output has beside the answer; null: all columns if the output is rows, otherwise none."""
    split: str = "train"
    """The split of a data set of the Hugging Face hub."""
    subset: str | None = None
    """The subset (configuration) of a data set of the Hugging Face hub."""
    delimiter: Character | None = None
    """The character between two fields of a CSV file; null: a tab in `.tsv` files, otherwise a comma."""

    @model_validator(mode="after")
    def _check_prompt(self) -> Self:
        if self.prompt is None and (self.system is not None or self.images is not None):
            name = "system" if self.system is not None else "images"
            raise ValueError(f"{name} needs a prompt: set input.prompt too")
        return self

    @field_validator("generation")
    @classmethod
    def _check_settings(cls, columns: dict[str, str]) -> dict[str, str]:
        known = GenerationParams.model_fields
        if unknown := next((name for name in columns if name not in known), None):
            raise ValueError(f"{unknown} is no setting of generation{nearest_name(unknown, known)}")
        return columns

    @field_validator("keep")
    @classmethod
    def _check_repeats(cls, columns: list[str] | None) -> list[str] | None:
        if repeated := next((name for name in columns or () if (columns or []).count(name) > 1), None):
            raise ValueError(f"the column {repeated!r} occurs twice; name each column once")
        return columns

    def check_metadata(self) -> None:
        """Raise a ConfigError if a column to keep cannot become metadata of a conversation."""
        if lost := sorted(_RESERVED.intersection(self.keep or ())):
            raise ConfigError(
                f"input.keep: the metadata of an answer have the name {lost[0]!r} already; rename that column, or "
                "write rows (output.rows: true)"
            )


class OutputParams(Params):
    """How the output is written."""

    path: OptionalPath = NONE
    """The file for the answers; the same as `output_path`."""
    format: OutputFormat | None = None
    """The format of the file; null: that of the extension, and JSONL for an unknown extension. The extension of
    a table format that is not written, such as `.arrow` or `.xlsx`, is an error."""
    shards: Count | None = None
    """How many rows of the input a shard has. Each shard is written as soon as all of its rows are finished, in the
    folder and the format of the output, with a name such as `out-00000-of-00012.jsonl`; null: no shards."""
    rows: bool | None = None
    """Write rows, with the columns of the input and the answer, and not conversations; null: true for CSV and
    Parquet."""

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        if self.rows is False and self.format not in (None, OutputFormat.JSONL):
            raise ValueError(f"rows: a {self.format.value} file cannot hold conversations; leave `rows` out")
        return self
