"""An engine with replicas, before any replica is started."""

from __future__ import annotations

import pickle
import sys
from importlib.util import find_spec
from typing import Any

import pytest
from pydantic import BaseModel

from asyncinfer import (
    ConfigError,
    Conversation,
    DistributedInferenceEngine,
    DistributedParams,
    GenerationParams,
    InferenceConfig,
    InferenceEngineType,
    MissingDependencyError,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteParams,
    ReplicaResources,
    build_engine,
)
from asyncinfer.distributed.rows import Call, PendingRow
from asyncinfer.engines import distributed as engine_module
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.engines.distributed import _gpus
from tests.distributed.engines import ScriptedEngine, model
from tests.fakes import question

# Ray reads the environment when it is imported, which other tests set first.
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")

YAML = """
engine: OPENAI
model: {model_name: m}
remote_params: {api_key: sk-secret, num_workers: 12}
distributed:
  backend: ray
  num_replicas: 4
  resources_per_replica: {num_gpus: 0.5, num_cpus: 2, custom: {fast_disk: 1}}
  address: 10.0.0.1:6379
  runtime_env: {env_vars: {HF_TOKEN: hf-secret}}
"""


def distributed(text: str = YAML, *overrides: str) -> DistributedInferenceEngine:
    engine = build_engine(InferenceConfig.from_str(text, overrides))
    assert isinstance(engine, DistributedInferenceEngine)
    return engine


async def key_of(engine: BaseInferenceEngine, conversation: Conversation) -> bytes:
    return (await engine._setup_for(None)).keys(conversation)


def test_configuration_makes_replicas_of_the_engine_that_it_names() -> None:
    engine = distributed()
    assert isinstance(engine._inner, OpenAIInferenceEngine)
    assert engine._distributed.num_replicas == 4
    assert engine._distributed.resources_per_replica == ReplicaResources(
        num_gpus=0.5, num_cpus=2, custom={"fast_disk": 1}
    )


def test_dotted_override_is_enough() -> None:
    overrides = ["distributed.num_replicas=3", "distributed.resources_per_replica.num_cpus=0"]
    engine = distributed("{engine: OPENAI, model: {model_name: m}}", *overrides)
    assert (engine._distributed.backend, engine._distributed.num_replicas) == ("ray", 3)


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("distributed.num_replicas=0", "distributed.num_replicas: should be"),
        ("distributed.replicas=2", "distributed.replicas: .*num_replicas"),
        ("distributed.backend=dask", "distributed.backend: should be"),
        ("distributed.resources_per_replica.num_gpus=-1", "distributed.resources_per_replica.num_gpus: should be"),
    ],
)
def test_wrong_setting_is_named(setting: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        InferenceConfig.from_str(YAML, [setting])


async def test_rows_have_the_same_keys_as_without_replicas() -> None:
    config = InferenceConfig.from_str(YAML)
    alone = build_engine(config.model_copy(update={"distributed": None}))
    assert await key_of(build_engine(config), question("q")) == await key_of(alone, question("q"))


async def test_replicas_of_an_api_share_its_workers_and_those_of_a_model_do_not() -> None:
    assert (await distributed().access()).semaphore.most == 12
    local = ScriptedEngine(model(slots=3))
    many = DistributedInferenceEngine(local, DistributedParams(num_replicas=4))
    assert (await many.access()).semaphore.most == 4 * (await local.access()).semaphore.most


async def test_wrong_settings_are_found_before_a_replica_starts() -> None:
    engine = distributed("{engine: REMOTE, model: {model_name: m}, distributed: {num_replicas: 2}}")
    with pytest.raises(ConfigError, match=r"remote_params\.api_url: not set"):
        await engine.agenerate("hello")


async def test_parameters_that_the_engine_does_not_support_are_named() -> None:
    engine = distributed()
    access = await engine.access(InferenceConfig(generation=GenerationParams(min_p=0.5)))
    assert access.dropped == ("min_p",)


def test_spec_builds_an_equal_engine() -> None:
    engine = distributed()
    spec = pickle.loads(pickle.dumps(engine.spec))
    built = spec.build()
    assert isinstance(built, DistributedInferenceEngine)
    assert (built._distributed, built.spec) == (engine._distributed, engine.spec)


def test_secrets_are_not_shown() -> None:
    config = InferenceConfig.from_str(YAML)
    for text in (repr(config), repr(distributed().spec)):
        assert "hf-secret" not in text
        assert "sk-secret" not in text


@pytest.mark.parametrize(
    ("options", "gpus"),
    [({}, 1), ({"tensor_parallel_size": 2}, 2), ({"tensor_parallel_size": 2, "pipeline_parallel_size": 4}, 8)],
)
def test_replica_of_a_model_that_is_split_needs_all_its_gpus(options: dict[str, Any], gpus: int) -> None:
    model = ModelParams(model_name="m", model_kwargs=options)
    assert _gpus(model, is_remote=False) == gpus
    assert _gpus(model, is_remote=True) == 0


def test_missing_ray_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("asyncinfer.distributed.ray_replicas.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'asyncinfer\[ray\]'"):
        distributed()


async def test_engine_that_was_never_used_is_closed() -> None:
    remote = RemoteParams(api_url="http://localhost:1/v1")
    engine = build_engine(
        InferenceConfig(
            ModelParams(model_name="m"), engine="REMOTE", remote_params=remote, distributed=DistributedParams()
        )
    )
    await engine.aclose()


async def test_replicas_share_the_permits_of_several_endpoints() -> None:
    urls = ["http://localhost:8001/v1", "http://localhost:8002/v1"]
    engine = build_engine(
        InferenceConfig(
            model=ModelParams(model_name="m"),
            engine=InferenceEngineType.REMOTE,
            remote_params=RemoteParams(endpoints=[{"api_url": url} for url in urls], num_workers=3),
            distributed=DistributedParams(num_replicas=2),
        )
    )
    access = await engine.access()
    assert engine._endpoint.size == 2
    assert access.engine.at(1) is not access.engine


async def test_replicas_get_the_schema_and_not_the_class_of_typed_answers() -> None:
    class Local(BaseModel):  # A replica could not import it.
        name: str

    typed = GenerationParams(response_model=Local)
    engine = distributed()
    access = await engine.access(InferenceConfig(generation=typed))
    settings = access.settings
    assert settings.generation.response_model is None
    assert settings.generation.guided_decoding is not None
    assert settings.generation.guided_decoding.schema_dict() == Local.model_json_schema()
    assert access.check is not None
    assert engine_module._recipe(distributed().spec).config.generation.response_model is None
    own = OpenAIInferenceEngine(ModelParams("m"), generation_params=typed)
    pickle.loads(pickle.dumps(engine_module._recipe(own.spec)))


def test_typed_answer_of_an_earlier_turn_is_not_sent_to_a_replica() -> None:
    asked = question("a").with_parsed(object)
    row = PendingRow(1, Call(1, distributed().settings), asked, False, 0, print)
    assert row.request().conversation.parsed is None
    assert asked.parsed is object
