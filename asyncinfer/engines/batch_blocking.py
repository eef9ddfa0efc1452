"""The blocking twins of the methods for batch jobs and files of a provider."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from asyncinfer.aio import portal
from asyncinfer.config import InferenceConfig
from asyncinfer.engines.batch_async import AsyncBatchMethods
from asyncinfer.types.batch import BatchInfo, BatchListResponse, BatchResult, FileInfo, FileListResponse
from asyncinfer.types.conversation import Conversation, ConversationLike


class BatchMethods(AsyncBatchMethods):
    """Blocking methods for batch jobs, with the names of Oumi. Each runs its async method on an event loop in a thread
    of its own.
    """

    def infer_batch(
        self, conversations: Sequence[ConversationLike], inference_config: InferenceConfig | None = None
    ) -> str:
        """Submit conversations as one batch job of the provider.

        Blocks; `ainfer_batch` is the async method.

        Args:
            conversations: Each as `generate` takes it.
            inference_config: Settings for this job. Only those that are set explicitly override the engine's.

        Returns:
            The id of the job.

        Raises:
            ConfigError: The engine has no batch API, or a setting is wrong.
            InputError: A conversation is not valid, its request needs other settings than those of the job, or they are
                too many for one job; nothing was sent.
            RequestError: The API did not accept the job.
        """
        return portal.call(partial(self.ainfer_batch, conversations, inference_config))

    def get_batch_status(self, batch_id: str, inference_config: InferenceConfig | None = None) -> BatchInfo:
        """Return the state of a batch job.

        Blocks; `aget_batch_status` is the async method.

        Args:
            inference_config: Settings for this call. Only those that are set explicitly override the engine's.

        Raises:
            ConfigError: The engine has no batch API.
            RequestError: The API does not know the job, or refused the request.
        """
        return portal.call(partial(self.aget_batch_status, batch_id, inference_config))

    def list_batches(self, after: str | None = None, limit: int | None = None) -> BatchListResponse:
        """List batch jobs, a page at a time.

        Blocks; `alist_batches` is the async method.

        Args:
            after: `last_id` of the page before; None for the first page.
            limit: The most jobs of the page.

        Raises:
            ConfigError: The engine has no batch API.
            RequestError: The API refused the request.
        """
        return portal.call(partial(self.alist_batches, after, limit))

    def cancel_batch(self, batch_id: str) -> BatchInfo:
        """Cancel a batch job. Requests that are answered already are paid.

        Blocks; `acancel_batch` is the async method.

        Raises:
            ConfigError: The engine has no batch API.
            RequestError: The API refused the request.
        """
        return portal.call(partial(self.acancel_batch, batch_id))

    def get_batch_results(
        self,
        batch_id: str,
        conversations: Sequence[ConversationLike],
        inference_config: InferenceConfig | None = None,
    ) -> list[Conversation]:
        """Return the conversations of a completed batch job with their answers.

        Blocks; `aget_batch_results` is the async method.

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
        return portal.call(partial(self.aget_batch_results, batch_id, conversations, inference_config))

    def get_batch_results_partial(
        self,
        batch_id: str,
        conversations: Sequence[ConversationLike],
        inference_config: InferenceConfig | None = None,
    ) -> BatchResult:
        """Return the results of a batch job that has ended, without sending failed rows again.

        Blocks; `aget_batch_results_partial` is the async method.

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
        return portal.call(partial(self.aget_batch_results_partial, batch_id, conversations, inference_config))

    def list_files(
        self, purpose: str | None = None, limit: int | None = None, order: str = "desc", after: str | None = None
    ) -> FileListResponse:
        """List the files that the provider stores, a page at a time.

        Blocks; `alist_files` is the async method.

        Args:
            purpose: Only files with this purpose, such as `batch`.
            limit: The most files of the page.
            order: `desc`: the newest first. `asc`: the oldest first.
            after: The id of the last file of the page before; None for the first page.

        Raises:
            ConfigError: The provider has no files.
            RequestError: The API refused the request.
        """
        return portal.call(partial(self.alist_files, purpose, limit, order, after))

    def get_file(self, file_id: str) -> FileInfo:
        """Return the data of a file: its name, size, purpose and time.

        Blocks; `aget_file` is the async method.

        Raises:
            ConfigError: The provider has no files.
            RequestError: The API does not know the file, or refused the request.
        """
        return portal.call(partial(self.aget_file, file_id))

    def delete_file(self, file_id: str) -> bool:
        """Delete a file. Returns whether it was deleted.

        Blocks; `adelete_file` is the async method.

        Raises:
            ConfigError: The provider has no files.
            RequestError: The API refused the request.
        """
        return portal.call(partial(self.adelete_file, file_id))

    def get_file_content(self, file_id: str) -> str:
        """Return the content of a text file. All of it is in memory.

        Blocks; `aget_file_content` is the async method.

        Raises:
            ConfigError: The provider has no files.
            RequestError: The API does not know the file, or refused the request.
        """
        return portal.call(partial(self.aget_file_content, file_id))
