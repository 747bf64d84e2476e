"""A run as one HTML file, that opens offline with the views of the page and asks nobody for anything."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Generator
from hashlib import sha256
from typing import Any

from ..durable import StoredRun, document_of
from ..durable.records import encode_json
from .details import detail_of
from .page_files import SHELL, STYLE, bundled, page_file
from .picture import Picture
from .worth import worth_of

__all__ = ["trace"]

_ROWS_PER_BLOCK = 1_000
_DETAILS_PER_BLOCK = 32
_LINKS = (
    '<link rel="stylesheet" href="page/style.css">\n',
    '<script type="module" src="page/app.js"></script>\n',
)
_ESCAPES = ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026"))


def trace(run: StoredRun, *, live: bool) -> Generator[bytes]:
    """The file, piece by piece; ``live`` says whether a living process has the run, of which this is then one moment.

    What agents said is in it as JSON that no HTML parser finds a tag in, and its policy lets nothing but its own script
    run, and nothing be loaded.

    :raises JournalCorrupt: when a row can't be read, before the first piece.
    """
    picture = Picture(run.header)
    picture.take(run)
    worth = worth_of(document_of(run, live=live), picture)

    yield _head().encode()
    cursor = ""
    while True:
        page = picture.page(cursor, _ROWS_PER_BLOCK, live=live)
        yield _block("rows", page)
        if not page.more:
            break
        cursor = page.cursor
    yield _block("worth", worth)
    for first in range(0, len(picture.places), _DETAILS_PER_BLOCK):
        numbers = range(first, min(first + _DETAILS_PER_BLOCK, len(picture.places)))
        details = [detail_of(picture, n, chars=None, events=None) for n in numbers]
        yield _block("details", details, f' id="details-{first // _DETAILS_PER_BLOCK}"')
    yield _block("task", {"text": run.header.task, "per_block": _DETAILS_PER_BLOCK})
    yield _tail().encode()


def _block(kind: str, value: Any, attributes: str = "") -> bytes:
    """Data, which no browser runs or draws."""
    data = encode_json(value)
    for character, escape in _ESCAPES:
        data = data.replace(character, escape)
    return f'<script type="application/json" class="{kind}"{attributes}>'.encode() + data + b"</script>\n"


def _head() -> str:
    shell, style = page_file(SHELL), page_file(STYLE)
    style_link, script_link = _LINKS
    if shell.count(style_link) != 1 or shell.count(script_link) != 1 or shell.count("<head>\n") != 1:
        raise ValueError(f"{SHELL} has changed: it should name its style and its script once, as {_LINKS!r}")
    policy = (
        f"default-src 'none'; script-src '{_digest(bundled())}'; style-src '{_digest(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    shell = shell.replace("<head>\n", f'<head>\n<meta http-equiv="Content-Security-Policy" content="{policy}">\n')
    shell = shell.replace(script_link, "").replace(style_link, f"<style>{style}</style>\n")
    return shell.partition("</body>")[0]


def _tail() -> str:
    return f'<script type="module">{bundled()}</script>\n</body>\n</html>\n'


def _digest(text: str) -> str:
    """As a content security policy names what is inline."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
