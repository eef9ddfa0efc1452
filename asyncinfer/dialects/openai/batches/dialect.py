"""The dialect of a batch API in OpenAI's format, with the differences of a provider.

Sources, November 2026: openai 3.57 (`types/batch.py`, `types/batch_create_params.py`, `types/file_object.py`) and
OpenAI's guide "Batch API" for the limits and the lines of files; groq 1.7 and Groq's "Batch Processing" for its windows
and cursor; Parasail's "Batch" and openai-batch, its client, for its limits.
"""

from __future__ import annotations

from asyncinfer.dialects.batch import BatchDialect, FilesApi
from asyncinfer.dialects.openai.batches.files import delete_file, file_content, get_file, list_files
from asyncinfer.dialects.openai.batches.lines import answer, line
from asyncinfer.dialects.openai.batches.operations import cancel, find, listing, results, status, submit
from asyncinfer.dialects.openai.batches.quirks import CHAT, RESPONSES, BatchQuirks, WithQuirks

OPENAI = BatchQuirks(
    "OPENAI", paths=frozenset({CHAT, RESPONSES}), docs="https://developers.openai.com/api/docs/guides/batch"
)


def openai_batches(quirks: BatchQuirks = OPENAI) -> BatchDialect:
    """Return the dialect of a batch API with these differences."""
    return BatchDialect(
        line=WithQuirks(line, quirks),
        submit=WithQuirks(submit, quirks),
        status=WithQuirks(status, quirks),
        cancel=WithQuirks(cancel, quirks),
        listing=WithQuirks(listing, quirks),
        results=WithQuirks(results, quirks),
        answer=answer,
        limits=quirks.limits,
        find=WithQuirks(find, quirks),
        files=FilesApi(
            WithQuirks(list_files, quirks),
            WithQuirks(get_file, quirks),
            WithQuirks(delete_file, quirks),
            WithQuirks(file_content, quirks),
        ),
        docs=quirks.docs,
    )
