"""The example of batch jobs with files in the user's storage."""

from __future__ import annotations

from pathlib import Path

from asyncinfer import InferenceConfig, build_engine
from asyncinfer.dialects.batch_steps import BatchContext
from asyncinfer.dialects.storage import StoragePath, required_storage

EXAMPLE = Path(__file__).parents[2] / "examples" / "batch_storage.yaml"


def test_example_has_valid_settings() -> None:
    config = InferenceConfig.from_yaml(EXAMPLE)
    assert config.batch is not None
    context = BatchContext("https://h", "https://h", storage=config.batch.storage)
    assert required_storage(context, "s3") == StoragePath("s3", "my-bucket", "jobs")
    assert build_engine(config).engine_type == "BEDROCK"
