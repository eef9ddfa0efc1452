"""Chains that answer in a given structure.

Source: `BaseChatModel.with_structured_output` of langchain-core 1.8, November 2026.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import Runnable, RunnableLambda, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from asyncinfer.integrations.langchain.tools import response_format_of

Method = Literal["function_calling", "json_schema", "json_mode"]
_Answers = Runnable[LanguageModelInput, AIMessage]
_Parser = Runnable[AIMessage, Any]


def structured(
    model: BaseChatModel, schema: dict[str, Any] | type | None, method: Method, strict: bool | None, include_raw: bool
) -> Runnable[LanguageModelInput, Any]:
    """Return a chain that calls the model, and parses its answer.

    Args:
        model: The chat model.
        schema, method, strict, include_raw: As in `AsyncInferChatModel.with_structured_output`.

    Raises:
        ValueError: The method needs a schema, and there is none.
    """
    traced: dict[str, Any] = {"kwargs": {"method": method, "strict": strict}, "schema": schema}
    if method == "function_calling":
        if schema is None:
            raise ValueError("schema: the method function_calling needs a schema")
        name = str(convert_to_openai_tool(schema)["function"]["name"])
        answers = model.bind_tools([schema], tool_choice=name, strict=strict, ls_structured_output_format=traced)
        return _parsed(answers, _calls_parser(schema, name), include_raw)
    if method == "json_schema":
        if schema is None:
            raise ValueError("schema: the method json_schema needs a schema")
        form = response_format_of(schema, strict)
    else:
        form = {"type": "json_object"}
    answers = model.bind(response_format=form, ls_structured_output_format=traced)
    return _parsed(answers, _text_parser(schema), include_raw)


def _calls_parser(schema: dict[str, Any] | type, name: str) -> _Parser:
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        return PydanticToolsParser(tools=[schema], first_tool_only=True)
    return JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)


def _text_parser(schema: dict[str, Any] | type | None) -> _Parser:
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        return PydanticOutputParser[Any](pydantic_object=schema)
    return JsonOutputParser()


def _parsed(answers: _Answers, parser: _Parser, include_raw: bool) -> Runnable[LanguageModelInput, Any]:
    """Return the chain. With `include_raw`, it returns the answer too, and an error of the parser as a value."""
    if not include_raw:
        return answers | parser
    parse = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=RunnableLambda(_nothing))
    failed = RunnablePassthrough.assign(parsed=RunnableLambda(_nothing))
    return RunnableMap[Any](raw=answers) | parse.with_fallbacks([failed], exception_key="parsing_error")


def _nothing(_: Any) -> None:
    return None
