"""Answers in the words of three protocols: as one JSON body, or as the events of a stream."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .ledger import Entry
from .script import Answer, Asked, Refuse, count_tokens

__all__ = ["Said", "body", "pieces", "refusal", "said"]


@dataclass(frozen=True)
class Said:
    """What is answered, once the token limit has cut it off."""

    asked: Asked
    entry: Entry
    text: str
    tools: list[tuple[str, str, str]]
    """(id, name, arguments as text)"""
    cut_off: bool
    usage: dict[str, int] | None

    @property
    def id(self) -> str:
        return f"answer-{self.asked.number}"

    def finish(self, stop: str, tools: str, length: str) -> str:
        return length if self.cut_off else tools if self.tools else stop

    def parts(self) -> list[str]:
        """The text as a stream has it: word by word."""
        return re.findall(r"\S+\s*", self.text)


def said(asked: Asked, answer: Answer, entry: Entry) -> Said:
    """Cut ``answer`` off where the request's limit is, and enter what it used."""
    room = asked.max_tokens if asked.max_tokens is not None else 10**9
    text, used = _within(answer.text, room)
    cut_off = text != answer.text
    tools: list[tuple[str, str, str]] = []
    for place, (name, arguments) in enumerate(answer.tools):
        written = arguments if isinstance(arguments, str) else json.dumps(arguments)
        used += count_tokens(f"{name} {written}") + 4
        if used > room:
            used, cut_off = room, True
            break
        tools.append((f"call-{asked.number}-{place}", name, written))
    entry.input_tokens = asked.input_tokens() if answer.input_tokens is None else answer.input_tokens
    entry.output_tokens = used if answer.output_tokens is None else answer.output_tokens
    entry.reported = answer.usage == "true"
    usage: dict[str, int] | None = {"input": entry.input_tokens, "output": entry.output_tokens}
    if answer.usage == "missing":
        usage = None
    elif answer.usage == "zero":
        usage = {"input": 0, "output": 0}
    elif isinstance(answer.usage, dict):
        usage = answer.usage
    return Said(asked, entry, text, tools, cut_off, usage)


def _within(text: str, room: int) -> tuple[str, int]:
    used = count_tokens(text)
    if used <= room:
        return text, used
    kept = ""
    for part in re.findall(r"\S+\s*", text):
        if count_tokens(kept + part) > room:
            break
        kept += part
    return kept, room


def refusal(asked: Asked, refuse: Refuse) -> dict[str, Any]:
    if asked.protocol == "messages":
        kinds = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error"}
        kinds |= {402: "billing_error", 404: "not_found_error", 429: "rate_limit_error", 529: "overloaded_error"}
        kind = kinds.get(refuse.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": refuse.message}, "request_id": "req-1"}
    kind = "insufficient_quota" if refuse.code == "insufficient_quota" else "requests"
    return {"error": {"message": refuse.message, "type": kind, "param": None, "code": refuse.code}}


def body(what: Said) -> dict[str, Any]:
    """The whole answer as one JSON value."""
    return {"chat": _chat, "responses": _response, "messages": _message}[what.asked.protocol](what)


def pieces(what: Said) -> Iterator[str]:
    """The answer as server-sent events."""
    return {"chat": _chat_stream, "responses": _response_stream, "messages": _message_stream}[what.asked.protocol](what)


# OpenAI chat completions


def _chat_usage(what: Said) -> dict[str, Any]:
    if what.usage is None:
        return {}
    given, taken = what.usage["input"], what.usage["output"]
    return {
        "usage": {
            "prompt_tokens": given,
            "completion_tokens": taken,
            "total_tokens": given + taken,
            "prompt_tokens_details": {"cached_tokens": what.entry.cache_read},
        }
    }


def _chat_calls(what: Said) -> list[dict[str, Any]]:
    return [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, name, arguments in what.tools
    ]


def _chat(what: Said) -> dict[str, Any]:
    message = {"role": "assistant", "content": what.text or None}
    if what.tools:
        message["tool_calls"] = _chat_calls(what)
    finish = what.finish("stop", "tool_calls", "length")
    choices = [{"index": 0, "finish_reason": finish, "message": message}]
    head = {"id": what.id, "object": "chat.completion", "created": 1, "model": what.asked.model}
    return head | {"choices": choices} | _chat_usage(what)


def _chat_stream(what: Said) -> Iterator[str]:
    head = {"id": what.id, "object": "chat.completion.chunk", "created": 1, "model": what.asked.model}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
        return _data(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    for part in what.parts():
        yield chunk({"role": "assistant", "content": part})
    for place, call in enumerate(_chat_calls(what)):
        arguments = call["function"]["arguments"]
        call["function"]["arguments"] = ""
        yield chunk({"role": "assistant", "tool_calls": [{"index": place, **call}]})
        yield chunk({"tool_calls": [{"index": place, "function": {"arguments": arguments}}]})
    yield chunk({}, what.finish("stop", "tool_calls", "length"))
    if (what.asked.body.get("stream_options") or {}).get("include_usage") and what.usage is not None:
        yield _data(head | {"choices": []} | _chat_usage(what))
    yield "data: [DONE]\n\n"


# OpenAI responses


def _response(what: Said, *, status: str | None = None) -> dict[str, Any]:
    ended = status is None
    usage = None
    if ended and what.usage is not None:
        given, taken = what.usage["input"], what.usage["output"]
        usage = {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": what.entry.cache_read},
            "output_tokens": taken,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": given + taken,
        }
    return {
        "id": what.id,
        "object": "response",
        "created_at": 1,
        "model": what.asked.model,
        "status": status or ("incomplete" if what.cut_off else "completed"),
        "incomplete_details": {"reason": "max_output_tokens"} if what.cut_off and ended else None,
        "error": None,
        "instructions": None,
        "metadata": {},
        "output": _response_items(what) if ended else [],
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": usage,
    }


def _response_items(what: Said) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if what.text or not what.tools:
        content = [{"type": "output_text", "text": what.text, "annotations": []}]
        items.append(_item(what, content, "completed"))
    for call_id, name, arguments in what.tools:
        items.append(_call_item(call_id, name, arguments, "completed"))
    return items


def _item(what: Said, content: list[Any], status: str) -> dict[str, Any]:
    return {"type": "message", "id": f"msg-{what.id}", "role": "assistant", "status": status, "content": content}


def _call_item(call_id: str, name: str, arguments: str, status: str) -> dict[str, Any]:
    return {
        "type": "function_call",
        "id": f"fc-{call_id}",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": status,
    }


def _response_stream(what: Said) -> Iterator[str]:
    count = 0

    def event(kind: str, **fields: Any) -> str:
        nonlocal count
        count += 1
        return f"event: {kind}\n" + _data({"type": kind, "sequence_number": count - 1, **fields})

    yield event("response.created", response=_response(what, status="in_progress"))
    place = 0
    if what.text or not what.tools:
        where = {"item_id": f"msg-{what.id}", "output_index": 0, "content_index": 0}
        part = {"type": "output_text", "text": "", "annotations": []}
        yield event("response.output_item.added", output_index=0, item=_item(what, [], "in_progress"))
        yield event("response.content_part.added", **where, part=part)
        for delta in what.parts():
            yield event("response.output_text.delta", **where, delta=delta, logprobs=[])
        yield event("response.output_text.done", **where, text=what.text, logprobs=[])
        yield event("response.content_part.done", **where, part=part | {"text": what.text})
        yield event("response.output_item.done", output_index=0, item=_response_items(what)[0])
        place = 1
    for index, (call_id, name, arguments) in enumerate(what.tools, place):
        where = {"item_id": f"fc-{call_id}", "output_index": index}
        yield event("response.output_item.added", output_index=index, item=_call_item(call_id, name, "", "in_progress"))
        yield event("response.function_call_arguments.delta", **where, delta=arguments)
        yield event("response.function_call_arguments.done", **where, name=name, arguments=arguments)
        item = _call_item(call_id, name, arguments, "completed")
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.incomplete" if what.cut_off else "response.completed", response=_response(what))


# Anthropic messages


def _message_usage(what: Said) -> dict[str, int]:
    if what.usage is None:
        return {}
    read, write = what.entry.cache_read, what.entry.cache_write
    return {
        "input_tokens": max(what.usage["input"] - read - write, 0),  # without the cached ones, as this protocol has it
        "output_tokens": what.usage["output"],
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": write,
    }


def _message(what: Said) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if what.text:
        content.append({"type": "text", "text": what.text})
    for call_id, name, arguments in what.tools:
        content.append({"type": "tool_use", "id": call_id, "name": name, "input": _parsed(arguments)})
    head = {"id": what.id, "type": "message", "role": "assistant", "model": what.asked.model, "content": content}
    stop = what.finish("end_turn", "tool_use", "max_tokens")
    usage = _message_usage(what)
    return head | {"stop_reason": stop, "stop_sequence": None} | ({"usage": usage} if usage else {})


def _message_stream(what: Said) -> Iterator[str]:
    def event(kind: str, **fields: Any) -> str:
        return f"event: {kind}\n" + _data({"type": kind, **fields})

    usage = _message_usage(what)
    whole = _message(what)
    start = whole | {"content": [], "stop_reason": None}
    if usage:
        start["usage"] = usage | {"output_tokens": 1}
    yield event("message_start", message=start)
    index = 0
    if what.text:
        yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        for part in what.parts():
            yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": part})
        yield event("content_block_stop", index=0)
        index = 1
    for place, (call_id, name, arguments) in enumerate(what.tools, index):
        block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
        yield event("content_block_start", index=place, content_block=block)
        yield event("content_block_delta", index=place, delta={"type": "input_json_delta", "partial_json": arguments})
        yield event("content_block_stop", index=place)
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    last = {"usage": {"output_tokens": usage["output_tokens"]}} if usage else {}
    yield event("message_delta", delta=delta, **last)
    yield event("message_stop")


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def _data(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"
