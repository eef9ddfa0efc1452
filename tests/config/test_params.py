"""The parameter classes, as they are used from Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from asyncinfer import (
    AdaptiveConcurrencyParams,
    ConfigError,
    GenerationParams,
    GuidedDecodingParams,
    InferenceConfig,
    InferenceEngineType,
    ModelParams,
    RemoteParams,
)
from asyncinfer.config import merged


class TestDefaults:
    def test_defaults_that_differ_from_oumi(self) -> None:
        assert RemoteParams().num_workers == 50
        assert GenerationParams().use_cache is True
        assert GenerationParams().batch_size is None
        assert (GenerationParams().max_new_tokens, GenerationParams().temperature) == (1024, 0.0)

    def test_model_name_is_empty_by_default(self) -> None:
        assert InferenceConfig().model.model_name == ""


class TestRanges:
    @pytest.mark.parametrize(
        ("params", "bad"),
        [
            (GenerationParams, {"max_new_tokens": 0}),
            (GenerationParams, {"batch_size": 0}),
            (GenerationParams, {"num_beams": 0}),
            (GenerationParams, {"temperature": -0.1}),
            (GenerationParams, {"temperature": float("nan")}),
            (GenerationParams, {"top_p": 1.1}),
            (GenerationParams, {"top_p": float("nan")}),
            (GenerationParams, {"min_p": -0.1}),
            (GenerationParams, {"logit_bias": {1: 101}}),
            (GenerationParams, {"max_new_tokens": True}),
            (GenerationParams, {"seed": "many"}),
            (ModelParams, {"model_max_length": 0}),
            (ModelParams, {"torch_dtype_str": "float8"}),
            (ModelParams, {"processor_kwargs": {"model_name": "x"}}),
            (RemoteParams, {"num_workers": 0}),
            (RemoteParams, {"max_retries": -1}),
            (RemoteParams, {"requests_per_minute": 0}),
            (RemoteParams, {"input_tokens_per_minute": 0}),
            (RemoteParams, {"output_tokens_per_minute": 0}),
            (RemoteParams, {"politeness_policy": float("inf")}),
            (RemoteParams, {"connection_timeout": -1}),
            (RemoteParams, {"retry_backoff_base": 0}),
            (RemoteParams, {"retry_backoff_base": 31}),
            (AdaptiveConcurrencyParams, {"min_concurrency": 0}),
            (AdaptiveConcurrencyParams, {"max_concurrency": 4}),
            (AdaptiveConcurrencyParams, {"initial_concurrency_factor": 1.5}),
            (AdaptiveConcurrencyParams, {"concurrency_step": 0}),
            (AdaptiveConcurrencyParams, {"min_update_time": 0}),
            (AdaptiveConcurrencyParams, {"backoff_factor": 0}),
            (AdaptiveConcurrencyParams, {"recovery_threshold": 0.01}),
            (AdaptiveConcurrencyParams, {"min_window_size": 0}),
        ],
    )
    def test_value_out_of_range_is_an_error(self, params: type[BaseModel], bad: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=rf"^{params.__name__}: .*{next(iter(bad))}|_threshold"):
            params(**bad)

    def test_assigned_value_out_of_range_is_an_error(self) -> None:
        params = RemoteParams(api_key="sekret")  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValidationError, match="greater than or equal to 1") as caught:
            params.num_workers = 0
        assert "sekret" not in str(caught.value)

    def test_number_written_as_text_is_accepted(self) -> None:
        assert GenerationParams(max_new_tokens="64").max_new_tokens == 64  # pyright: ignore[reportArgumentType]


class TestMistakes:
    def test_message_suggests_the_nearest_key(self) -> None:
        with pytest.raises(ConfigError) as caught:
            GenerationParams(max_new_token=3, temperature=-1)  # pyright: ignore[reportCallIssue]
        assert str(caught.value).splitlines() == [
            "GenerationParams: temperature: should be greater than or equal to 0 (found -1)",
            "GenerationParams: max_new_token: unknown key; did you mean 'max_new_tokens'?",
        ]

    def test_message_names_the_path_within_groups(self) -> None:
        with pytest.raises(ConfigError, match=r"^InferenceConfig: model.compile: should be a valid boolean"):
            InferenceConfig(model={"compile": "perhaps"})  # pyright: ignore[reportArgumentType]

    def test_message_and_repr_do_not_show_the_key(self) -> None:
        with pytest.raises(ConfigError) as caught:
            RemoteParams(api_key=["sekret"], retry_backoff_base=60)  # pyright: ignore[reportArgumentType]
        assert "sekret" not in str(caught.value)
        assert "sekret" not in repr(RemoteParams(api_key="sekret"))  # pyright: ignore[reportArgumentType]


class TestNames:
    @pytest.mark.parametrize(
        ("name", "engine"),
        [
            *InferenceEngineType.__members__.items(),
            *((engine.value, engine) for engine in InferenceEngineType),
            ("gemini", InferenceEngineType.GOOGLE_GEMINI),
            ("Vertex", InferenceEngineType.GOOGLE_VERTEX),
            ("llamacpp", InferenceEngineType.LLAMACPP),
            ("remote-vllm", InferenceEngineType.REMOTE_VLLM),
        ],
    )
    def test_engine_names_and_aliases_are_accepted_in_any_case(self, name: str, engine: InferenceEngineType) -> None:
        assert InferenceConfig.from_str(f"engine: {name}").engine is engine
        assert InferenceEngineType(name) is engine

    @pytest.mark.parametrize(
        ("name", "dtype"),
        [
            ("auto", "auto"),
            ("f32", "float32"),
            ("float", "float32"),
            ("half", "float16"),
            ("f16", "float16"),
            ("BF16", "bfloat16"),
            ("double", "float64"),
            ("torch.float16", "float16"),
        ],
    )
    @pytest.mark.parametrize("key", ["torch_dtype_str", "torch_dtype"])
    def test_dtype_has_several_names(self, key: str, name: str, dtype: str) -> None:
        assert ModelParams(**{key: name}).torch_dtype_str == dtype  # pyright: ignore[reportArgumentType]

    def test_file_name_may_be_a_path_object(self) -> None:
        config = InferenceConfig(input_path=Path("in.jsonl"))  # pyright: ignore[reportArgumentType]
        assert config.input_path == "in.jsonl"

    @pytest.mark.parametrize(
        ("name", "value", "key", "meant"),
        [
            ("revision", "v1", "model_revision", "v1"),
            ("device_map", "cpu", "device_map", "cpu"),
            ("device_map", None, "device_map", None),
            ("torch_dtype", "bfloat16", "torch_dtype_str", "bfloat16"),
            ("attn_implementation", "sdpa", "attn_implementation", "sdpa"),
            ("trust_remote_code", True, "trust_remote_code", True),
        ],
    )
    def test_options_of_transformers_move_to_their_fields(self, name: str, value: Any, key: str, meant: Any) -> None:
        given = {name: value, "n_ctx": 8}
        for also in ({}, {key: "other"}):
            params = ModelParams(model_kwargs=given, **also)  # pyright: ignore[reportArgumentType]
            assert (getattr(params, key), params.model_kwargs) == (meant, {"n_ctx": 8})
        assert given == {name: value, "n_ctx": 8}

    @pytest.mark.parametrize(("name", "value"), [("device_map", {"": 0}), ("attn_implementation", {"": "sdpa"})])
    def test_options_that_do_not_fit_their_field_stay_options(self, name: str, value: Any) -> None:
        assert ModelParams(model_kwargs={name: value}).model_kwargs == {name: value}

    def test_wrong_option_is_reported_under_its_field(self) -> None:
        with pytest.raises(ConfigError, match="torch_dtype_str: should be one of"):
            ModelParams(model_kwargs={"torch_dtype": "float17"})


class Product(BaseModel):
    name: str


class TestGuidedDecoding:
    @pytest.mark.parametrize("schema", [Product, Product.model_json_schema(), json.dumps(Product.model_json_schema())])
    def test_schema_may_be_a_class_a_dict_or_text(self, schema: Any) -> None:
        assert GuidedDecodingParams(json=schema).json is schema

    def test_schema_that_cannot_be_written_as_json_is_an_error(self) -> None:
        deep: dict[str, Any] = {"type": "string"}
        for _ in range(300):
            deep = {"type": "object", "properties": {"inner": deep}}
        for schema in (deep, {"enum": [object()]}):
            with pytest.raises(ConfigError, match="json: cannot be written as JSON"):
                GuidedDecodingParams(json=schema)

    @pytest.mark.parametrize("schema", [3, ["a"], "no JSON", "[1]", int, Product(name="x")])
    def test_value_that_is_not_a_schema_is_an_error(self, schema: Any) -> None:
        with pytest.raises(ConfigError, match="json: should be a JSON schema"):
            GuidedDecodingParams(json=schema)

    def test_two_constraints_exclude_each_other(self) -> None:
        with pytest.raises(ConfigError, match="json and regex exclude each other"):
            GuidedDecodingParams(json={}, regex="a")


class TestMerging:
    def test_only_fields_that_are_set_override(self) -> None:
        base = GenerationParams(max_new_tokens=5, temperature=0.5)
        both = merged(base, GenerationParams(temperature=0.0))
        assert (both.max_new_tokens, both.temperature) == (5, 0.0)
        assert both.model_fields_set == {"max_new_tokens", "temperature"}

    def test_base_itself_is_returned_if_nothing_is_set(self) -> None:
        base = RemoteParams(num_workers=3)
        assert merged(base, RemoteParams()) is base

    def test_merging_changes_neither_object(self) -> None:
        base, call = ModelParams(model_name="a"), ModelParams(model_name="b")
        merged(base, call)
        assert (base.model_name, call.model_name) == ("a", "b")


class TestImpliedSampling:
    def test_temperature_above_0_implies_sampling(self) -> None:
        given = GenerationParams(temperature=0.7)
        assert given.with_implied_sampling().model_fields_set == {"temperature", "use_sampling"}
        assert given.with_implied_sampling().use_sampling
        assert not given.use_sampling

    @pytest.mark.parametrize("settings", [{}, {"temperature": 0}, {"temperature": None}, {"top_p": 0.5}])
    def test_other_settings_do_not_imply_sampling(self, settings: dict[str, Any]) -> None:
        given = GenerationParams(**settings)
        assert given.with_implied_sampling() is given

    def test_explicit_use_sampling_stays(self) -> None:
        assert not GenerationParams(temperature=0.7, use_sampling=False).with_implied_sampling().use_sampling
