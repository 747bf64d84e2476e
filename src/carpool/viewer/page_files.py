"""The files of the page as they are shipped: its markup, its style, and its modules, in the order they build on."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["MODULES", "SHELL", "STYLE", "bundled", "media_type", "page_file"]

SHELL = "index.html"
STYLE = "style.css"
MODULES = (
    "elements.js",
    "amounts.js",
    "sources.js",
    "model.js",
    "list.js",
    "timescale.js",
    "timeline.js",
    "tree.js",
    "burn.js",
    "overview.js",
    "texts.js",
    "happened.js",
    "detail.js",
    "worth.js",
    "notes.js",
    "keys.js",
    "run.js",
    "runs.js",
    "app.js",
)
"""Each imports only from those before it."""

_FOLDER = Path(__file__).parent / "page"
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_IMPORT = re.compile(r'^import \{ ([^}]*) \} from "\./([\w-]+\.js)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (async function\*? |function\*? |class |const )(\w+)", re.MULTILINE)


def page_file(name: str) -> str:
    """The text of a file of the page.

    :raises LookupError: for what is none of them.
    """
    if name not in (SHELL, STYLE, *MODULES):
        raise LookupError(f"the page has no file {name!r}")
    return (_FOLDER / name).read_text(encoding="utf-8")


def media_type(name: str) -> str:
    return _MEDIA_TYPES[Path(name).suffix]


def bundled() -> str:
    """All modules as one script, each still in a scope of its own.

    :raises ValueError: for a module that imports what is not above it, or in a form that is not known here.
    """
    parts: list[str] = []
    exports: dict[str, list[str]] = {}
    for module in MODULES:
        text = page_file(module)
        for names, source in _IMPORT.findall(text):
            if missing := set(names.split(", ")) - set(exports.get(source, ())):
                raise ValueError(
                    f"{module} imports {', '.join(sorted(missing))} from {source}, which has none above it"
                )
        exports[module] = [name for _, name in _EXPORT.findall(text)]
        text = _EXPORT.sub(r"\1\2", _IMPORT.sub(_taken, text))
        if left := re.search(r"^(?:import|export)\b.*", text, re.MULTILINE):
            raise ValueError(f"{module}: {left[0]!r} is of a form that can't be bundled")
        parts.append(f"const {_scope(module)} = (() => {{\n{text}return {{ {', '.join(exports[module])} }};\n}})();\n")
    return "".join(parts)


def _taken(found: re.Match[str]) -> str:
    return f"const {{ {found[1]} }} = {_scope(found[2])};"


def _scope(module: str) -> str:
    return f"$_{Path(module).stem}"
