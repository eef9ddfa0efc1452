"""The async methods for batch jobs and files of a provider."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from asyncinfer.batch import single_job, single_results
from asyncinfer.batch.api import BatchApi
from asyncinfer.config import BatchParams, InferenceConfig
from asyncinfer.dialects.batch import FileQuery, FilesApi
from asyncinfer.engines.call_input import check_many, conversation_of
from asyncinfer.engines.core import EngineCore
from asyncinfer.errors import ConfigError
from asyncinfer.run.access import EngineAccess
from asyncinfer.types.batch import BatchInfo, BatchListResponse, BatchResult, BatchStatus, FileInfo, FileListResponse
from asyncinfer.types.conversation import Conversation, ConversationLike


class AsyncBatchMethods(EngineCore):
    """Batch jobs of the provider, one at a time. `arun` with `batch` sends any number of rows as jobs.

    Engines without a batch API raise ConfigError.
    """

    async def ainfer_batch(
        self, conversations: Sequence[ConversationLike], inference_config: InferenceConfig | None = None
    ) -> str:
        """Submit conversations as one batch job of the provider.

        Args:
            conversations: Each as `agenerate` takes it.
            inference_config: Settings for this job. Only those that are set explicitly override the engine's.

        Returns:
            The id of the job.

        Raises:
            ConfigError: The engine has no batch API, or a setting is wrong.
            InputError: A conversation is not valid, its request needs other settings than those of the job, or they are
                too many for one job; nothing was sent.
            RequestError: The API did not accept the job.
        """
        given = _conversations(conversations)
        access = await self.access(inference_config)
        return await single_job.submit(self._batch_with(access, inference_config), access, given)

    async def aget_batch_status(self, batch_id: str, inference_config: InferenceConfig | None = None) -> BatchInfo:
        """Return the state of a batch job.

        Args:
            inference_config: Settings for this call. Only those that are set explicitly override the engine's.

        Raises:
            ConfigError: The engine has no batch API.
            RequestError: The API does not know the job, or refused the request.
        """
        api = await self._batch(inference_config)
        return await api.client.do(api.dialect.status(api.client.context, batch_id))

    async def alist_batches(self, after: str | None = None, limit: int | None = None) -> BatchListResponse:
        """List batch jobs, a page at a time.

        Args:
            after: `last_id` of the page before; None for the first page.
            limit: The most jobs of the page.

        Raises:
            ConfigError: The engine has no batch API.
            RequestError: The API refused the request.
        """
        api = await self._batch()
        return await api.client.do(api.dialect.listing(api.client.context, after, limit))

    async def acancel_batch(self, batch_id: str) -> BatchInfo:
        """Cancel a batch job. Requests that are answered already are paid.

        Raises:
            ConfigError: The engine has no batch API.
            RequestError: The API refused the request.
        """
        api = await self._batch()
        return await api.client.do(api.dialect.cancel(api.client.context, batch_id))

    async def aget_batch_results(
        self,
        batch_id: str,
        conversations: Sequence[ConversationLike],
        inference_config: InferenceConfig | None = None,
    ) -> list[Conversation]:
        """Return the conversations of a completed batch job with their answers.

        Rows that failed in the job, or whose answers do not fit the `response_model` of the settings, are sent again,
        as single requests.

        Args:
            conversations: Those of the job, in any order.
            inference_config: Settings for this call. Only those that are set explicitly override the engine's.

        Returns:
            The conversations with their answers, in the order of `conversations`, as new objects.

        Raises:
            BatchError: The job has not ended, it failed, expired or was cancelled, or it has none of the conversations.
            InferenceFailedError: Rows failed again.
            ConfigError: The engine has no batch API.
            RequestError: The results cannot be read.
        """
        given = _conversations(conversations)
        access = await self.access(inference_config)
        api = self._batch_with(access, inference_config)
        info = await api.client.do(api.dialect.status(api.client.context, batch_id))
        if info.is_terminal and info.status is not BatchStatus.COMPLETED:
            raise single_results.not_completed(info)
        result = await single_results.results(api, access, info, given)
        found = dict(result.successful)
        if result.has_failures:
            again = await self.ainfer(
                [given[index] for index in result.failed_indices], _for_single_requests(inference_config)
            )
            found.update(zip(result.failed_indices, again, strict=True))
        return [found[index] for index in range(len(given))]

    async def aget_batch_results_partial(
        self,
        batch_id: str,
        conversations: Sequence[ConversationLike],
        inference_config: InferenceConfig | None = None,
    ) -> BatchResult:
        """Return the results of a batch job that has ended, without sending failed rows again.

        Of a job that expired or was cancelled, these are the answers that it has. An answer that does not fit the
        `response_model` of the settings is a failure.

        Args:
            conversations: Those of the job, in any order.
            inference_config: Settings for this call. Only those that are set explicitly override the engine's.

        Raises:
            BatchError: The job has not ended, it failed, or it has none of the conversations.
            ConfigError: The engine has no batch API.
            RequestError: The results cannot be read.
        """
        given = _conversations(conversations)
        access = await self.access(inference_config)
        api = self._batch_with(access, inference_config)
        info = await api.client.do(api.dialect.status(api.client.context, batch_id))
        return await single_results.results(api, access, info, given)

    async def alist_files(
        self, purpose: str | None = None, limit: int | None = None, order: str = "desc", after: str | None = None
    ) -> FileListResponse:
        """List the files that the provider stores, a page at a time.

        Args:
            purpose: Only files with this purpose, such as `batch`.
            limit: The most files of the page.
            order: `desc`: the newest first. `asc`: the oldest first.
            after: The id of the last file of the page before; None for the first page.

        Raises:
            ConfigError: The provider has no files.
            RequestError: The API refused the request.
        """
        api, files = await self._files()
        return await api.client.do(files.listing(api.client.context, FileQuery(purpose, limit, order, after)))

    async def aget_file(self, file_id: str) -> FileInfo:
        """Return the data of a file: its name, size, purpose and time.

        Raises:
            ConfigError: The provider has no files.
            RequestError: The API does not know the file, or refused the request.
        """
        api, files = await self._files()
        return await api.client.do(files.get(api.client.context, file_id))

    async def adelete_file(self, file_id: str) -> bool:
        """Delete a file. Returns whether it was deleted.

        Raises:
            ConfigError: The provider has no files.
            RequestError: The API refused the request.
        """
        api, files = await self._files()
        return await api.client.do(files.delete(api.client.context, file_id))

    async def aget_file_content(self, file_id: str) -> str:
        """Return the content of a text file. All of it is in memory.

        Raises:
            ConfigError: The provider has no files.
            RequestError: The API does not know the file, or refused the request.
        """
        api, files = await self._files()
        download = await api.client.do(files.content(api.client.context, file_id))
        return await api.client.text(download)

    # How the methods run

    @abstractmethod
    async def ainfer(
        self, input: Sequence[ConversationLike] | None = None, inference_config: InferenceConfig | None = None
    ) -> list[Conversation]:
        """Answer conversations with single requests."""

    async def _batch(self, config: InferenceConfig | None = None) -> BatchApi:
        """Return the batch API, with the settings of a call.

        Raises:
            ConfigError: The engine has no batch API.
        """
        return self._batch_with(await self.access(config), config)

    def _batch_with(self, access: EngineAccess, config: InferenceConfig | None) -> BatchApi:
        params = config.batch if config is not None else None
        return self._priced_batch_api(access, params or BatchParams())

    async def _files(self) -> tuple[BatchApi, FilesApi]:
        api = await self._batch()
        if api.dialect.files is None:
            raise ConfigError(f"{type(self).__name__}: the API of this provider has no files")
        return api, api.dialect.files


def _for_single_requests(config: InferenceConfig | None) -> InferenceConfig | None:
    """Return the settings without batch jobs and paths."""
    without = {"batch": None, "input_path": None, "output_path": None, "progress_path": None}
    return config.model_copy(update=without) if config is not None else None


def _conversations(given: Sequence[ConversationLike]) -> list[Conversation]:
    check_many(given, "conversations")
    return [conversation_of(conversation, None) for conversation in given]
