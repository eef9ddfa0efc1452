"""The files of batch APIs: listed, read and deleted."""

from __future__ import annotations

import pytest

from asyncinfer import RequestError
from asyncinfer.dialects.batch import FileQuery, FilesApi
from tests.batch.fakes.apis import SERVERS, Api, Engine, running


def _files(api: Api) -> FilesApi:
    assert api.dialect.files is not None
    return api.dialect.files


def _store(api: Api, count: int) -> list[str]:
    """Store files, one per second, and return their ids."""
    stored = [api.server.store(f"{number}.jsonl", "batch", b"{}\n" * number) for number in range(count)]
    for place, file in enumerate(stored):
        file.created = 1_790_000_000 + place
    return [file.id for file in stored]


@pytest.mark.parametrize("engine", list(SERVERS))
async def test_file_is_listed_read_and_deleted(engine: Engine) -> None:
    async with running(engine) as api:
        files, [_, second] = _files(api), _store(api, 2)

        info = await api.do(files.get(api.context, second))
        content = await api.send(await api.do(files.content(api.context, second)))

        if engine is Engine.FIREWORKS:  # The API does not say more.
            assert (info.filename, info.bytes, info.purpose) == (second, 0, "dataset")
        else:
            assert (info.filename, info.bytes, info.purpose[:5]) == ("1.jsonl", 3, "batch")
        assert (info.id, info.created_at) == (second, 1_790_000_001)
        assert content.body == b"{}\n"
        assert await api.do(files.delete(api.context, second)) is True
        assert len((await api.do(files.listing(api.context, FileQuery()))).files) == 1
        with pytest.raises(RequestError) as failure:
            await api.do(files.get(api.context, second))
        assert failure.value.status_code == 404


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("engine", list(SERVERS))
async def test_pages_have_each_file_once(engine: Engine, order: str) -> None:
    async with running(engine) as api:
        ids = _store(api, 7)

        seen, after = list[str](), None
        while True:
            query = FileQuery(limit=3, order=order, after=after)
            page = await api.do(_files(api).listing(api.context, query))
            seen += [file.id for file in page.files]
            after = seen[-1]
            if not page.has_more:
                break

        assert seen == (ids if order == "asc" else ids[::-1])


async def test_all_numbered_pages_are_read() -> None:
    async with running(Engine.MISTRAL) as api:
        _store(api, 250)

        page = await api.do(_files(api).listing(api.context, FileQuery()))

        assert len({file.id for file in page.files}) == 250
        assert len(api.server.requests) == 3


@pytest.mark.parametrize("engine", [Engine.OPENAI, Engine.GROQ])
async def test_files_of_one_purpose_are_listed(engine: Engine) -> None:
    async with running(engine) as api:
        api.server.store("a.jsonl", "batch", b"")
        api.server.store("b.jsonl", "batch_output", b"")

        page = await api.do(_files(api).listing(api.context, FileQuery(purpose="batch_output")))

        assert [file.filename for file in page.files] == ["b.jsonl"]
