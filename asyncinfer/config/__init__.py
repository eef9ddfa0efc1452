"""The parameter classes, and how they are read from YAML files and the command line."""

from asyncinfer.config.base import merged
from asyncinfer.config.batch import BatchParams
from asyncinfer.config.cost import CostPerMillion
from asyncinfer.config.data import InputFormat, InputParams, OutputFormat, OutputParams
from asyncinfer.config.distributed import DistributedParams, ReplicaResources
from asyncinfer.config.endpoint import EndpointParams
from asyncinfer.config.engine_type import InferenceEngineType
from asyncinfer.config.generation import GenerationParams, GuidedDecodingParams
from asyncinfer.config.inference import InferenceConfig
from asyncinfer.config.model import ModelParams
from asyncinfer.config.overrides import parse_cli_overrides
from asyncinfer.config.remote import AdaptiveConcurrencyParams, RemoteParams
from asyncinfer.config.telemetry import TelemetryParams

__all__ = [
    "AdaptiveConcurrencyParams",
    "BatchParams",
    "CostPerMillion",
    "DistributedParams",
    "EndpointParams",
    "GenerationParams",
    "GuidedDecodingParams",
    "InferenceConfig",
    "InferenceEngineType",
    "InputFormat",
    "InputParams",
    "ModelParams",
    "OutputFormat",
    "OutputParams",
    "RemoteParams",
    "ReplicaResources",
    "TelemetryParams",
    "merged",
    "parse_cli_overrides",
]
