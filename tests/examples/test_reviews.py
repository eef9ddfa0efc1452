"""The job from CSV to typed Parquet."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from asyncinfer import InferenceConfig, build_engine
from tests.examples.programs import EXAMPLES, ONE_THREAD, REPOSITORY, needs_smollm2


@pytest.mark.model
@needs_smollm2
def test_reviews_become_typed_columns_of_a_parquet_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    output = tmp_path / "answers.parquet"
    config = InferenceConfig.from_yaml(EXAMPLES / "reviews.yaml", [*ONE_THREAD, f"output.path={output}"])
    engine = build_engine(config)
    summary = engine.run(config)
    engine.close()
    assert (summary.completed, summary.failed) == (6, 0)
    answers = pl.read_parquet(output)
    assert answers.schema == {
        "id": pl.String,
        "product": pl.String,
        "sentiment": pl.String,
        "stars": pl.Int64,
        "finish_reason": pl.String,
        "prompt_tokens": pl.Int64,
        "completion_tokens": pl.Int64,
        "total_tokens": pl.Int64,
        "cached_tokens": pl.Int64,
    }
    assert answers["id"].to_list() == ["r1", "r2", "r3", "r4", "r5", "r6"]
    assert set(answers["sentiment"]) <= {"positive", "negative"}
    assert answers["stars"].is_between(1, 5).all()
