"""`asyncinfer serve`: serves an engine with OpenAI's API."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from asyncinfer.cli.commands.options import Config, Engine, LogFormat, LogLevel, Model, Verbose, set_up_logging
from asyncinfer.cli.commands.settings import load_config
from asyncinfer.cli.exit_codes import exit_code


def serve(
    context: typer.Context,
    config: Config = None,
    engine: Engine = None,
    model: Model = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on. 0: any free port.", min=0, max=65535)] = 8000,
    api_key_env: Annotated[
        list[str] | None,
        typer.Option(
            "--api-key-env",
            help="An environment variable with the keys that clients may use, separated by commas. Repeatable.",
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow a server without keys that other machines can reach.")
    ] = False,
    max_concurrency: Annotated[
        int | None,
        typer.Option(help="Maximum number of answers in progress. By default, what the engine answers at once."),
    ] = None,
    max_queue: Annotated[
        int, typer.Option(help="Maximum number of requests that wait; further ones get status 429.")
    ] = 256,
    max_body_mib: Annotated[int, typer.Option("--max-body-mib", help="Maximum size of a request, in MiB.")] = 32,
    max_images: Annotated[int, typer.Option(help="Maximum number of images and documents in one request.")] = 16,
    model_name: Annotated[
        list[str] | None,
        typer.Option("--served-model-name", help="The name of the model for clients. Repeatable."),
    ] = None,
    any_model: Annotated[
        bool, typer.Option("--any-model", help="Accept every name of a model, and pass it on to a remote engine.")
    ] = False,
    allow_image_urls: Annotated[
        bool,
        typer.Option(
            "--allow-image-urls", help="Accept http and https URLs of public addresses for images and documents."
        ),
    ] = False,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host",
            help="A host name by which clients may reach a server without keys, besides localhost. Repeatable.",
        ),
    ] = None,
    pass_field: Annotated[
        list[str] | None,
        typer.Option("--pass-field", help="A field of requests to pass on to the API of a remote engine. Repeatable."),
    ] = None,
    shutdown_grace: Annotated[
        float, typer.Option(help="Seconds that running answers get to finish when the server is stopped.")
    ] = 30.0,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "text",
    verbose: Verbose = False,
) -> None:
    """Serve an engine with OpenAI's API. Needs the extra `serve`.

    Every setting can be overridden with its dotted path: --generation.max_new_tokens 64
    """

    async def run() -> int:
        from asyncinfer.cli.serve import keys_in_variables, run_server
        from asyncinfer.serve.settings import ServerSettings

        settings = ServerSettings(
            api_keys=keys_in_variables(api_key_env or ()),
            model_names=tuple(model_name or ()),
            any_model=any_model,
            max_concurrency=max_concurrency,
            max_queue=max_queue,
            max_body_bytes=max_body_mib * 2**20,
            max_images=max_images,
            allow_image_urls=allow_image_urls,
            passed_fields=frozenset(pass_field or ()),
            allowed_hosts=frozenset(allowed_host) if allowed_host else None,
            shutdown_grace=shutdown_grace,
        )
        loaded = load_config(config, context.args, {"engine": engine, "model.model_name": model})
        return await run_server(loaded, settings, host, port, insecure)

    set_up_logging(log_level, log_format)
    raise typer.Exit(exit_code(lambda: asyncio.run(run()), verbose=verbose))
