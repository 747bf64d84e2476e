"""Requests of three protocols, read into one form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .script import Asked

__all__ = ["read_chat", "read_messages", "read_responses"]


def read_chat(number: int, headers: Mapping[str, str], body: dict[str, Any]) -> Asked:
    """OpenAI chat completions."""
    system: list[str] = []
    messages: list[tuple[str, str]] = []
    for each in body["messages"]:
        if each["role"] in ("system", "developer"):
            system.append(_text(each["content"]))
        elif each["role"] == "assistant":
            functions = [call["function"] for call in each.get("tool_calls") or ()]
            said = [_text(each.get("content") or ""), *(f"{each['name']} {each['arguments']}" for each in functions)]
            messages.append(("assistant", " ".join(filter(None, said))))
        else:
            messages.append((each["role"], _text(each["content"])))
    return Asked(
        number=number,
        protocol="chat",
        model=body["model"],
        stream=bool(body.get("stream")),
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        system="\n".join(system),
        messages=messages,
        tools=[tool["function"]["name"] for tool in body.get("tools") or ()],
        marked=[],
        headers=headers,
        body=body,
    )


def read_responses(number: int, headers: Mapping[str, str], body: dict[str, Any]) -> Asked:
    """OpenAI responses."""
    system = [body["instructions"]] if body.get("instructions") else []
    messages: list[tuple[str, str]] = []
    asked = body["input"]
    for each in [{"role": "user", "content": asked}] if isinstance(asked, str) else asked:
        kind = each.get("type", "message")
        if kind == "function_call":
            messages.append(("assistant", f"{each['name']} {each['arguments']}"))
        elif kind == "function_call_output":
            messages.append(("tool", _text(each["output"])))
        elif each.get("role") in ("system", "developer"):
            system.append(_text(each["content"]))
        elif kind == "message":
            messages.append((each["role"], _text(each["content"])))
    return Asked(
        number=number,
        protocol="responses",
        model=body["model"],
        stream=bool(body.get("stream")),
        max_tokens=body.get("max_output_tokens"),
        system="\n".join(system),
        messages=messages,
        tools=[tool["name"] for tool in body.get("tools") or () if tool["type"] == "function"],
        marked=[],
        headers=headers,
        body=body,
    )


def read_messages(number: int, headers: Mapping[str, str], body: dict[str, Any]) -> Asked:
    """Anthropic messages."""
    marked: list[str] = []
    seen: list[str] = []
    for tool in body.get("tools") or ():
        _see(tool, json.dumps({key: tool[key] for key in tool if key != "cache_control"}), seen, marked)
    system_blocks = body.get("system") or []
    if isinstance(system_blocks, str):
        system_blocks = [{"type": "text", "text": system_blocks}]
    for block in system_blocks:
        _see(block, block["text"], seen, marked)
    messages: list[tuple[str, str]] = []
    for message in body["messages"]:
        blocks = message["content"]
        if isinstance(blocks, str):
            blocks = [{"type": "text", "text": blocks}]
        for block in blocks:
            role, text = message["role"], _block_text(block)
            messages.append(("tool" if block["type"] == "tool_result" else role, text))
            _see(block, f"{role} {text}", seen, marked)
    return Asked(
        number=number,
        protocol="messages",
        model=body["model"],
        stream=bool(body.get("stream")),
        max_tokens=body["max_tokens"],
        system="\n".join(block["text"] for block in system_blocks),
        messages=messages,
        tools=[tool["name"] for tool in body.get("tools") or ()],
        # A mark at the top of a request stands for one at its very end.
        marked=[*marked, "\n".join(seen)] if body.get("cache_control") else marked,
        headers=headers,
        body=body,
    )


def _see(block: dict[str, Any], text: str, seen: list[str], marked: list[str]) -> None:
    seen.append(text)
    if block.get("cache_control"):
        marked.append("\n".join(seen))


def _block_text(block: dict[str, Any]) -> str:
    if block["type"] == "text":
        return block["text"]
    if block["type"] == "tool_use":
        return f"{block['name']} {json.dumps(block['input'])}"
    if block["type"] == "tool_result":
        return _text(block.get("content") or "")
    return ""


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)
