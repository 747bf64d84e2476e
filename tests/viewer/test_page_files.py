"""The page as it is shipped: all of it is there, it asks nobody for anything, and it makes no markup of texts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import carpool.viewer
from carpool.viewer.page_files import MODULES, SHELL, STYLE, bundled, media_type, page_file
from carpool.viewer.rows import AgentRow, BurnPoint

FOLDER = Path(carpool.viewer.__file__).parent / "page"


def test_every_file_of_the_page_is_served_and_there_are_no_others() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {SHELL, STYLE, *MODULES}
    assert {media_type(name) for name in (SHELL, STYLE, *MODULES)} == {"text/html", "text/css", "text/javascript"}


@pytest.mark.parametrize("name", ["", "nothing.js", "../gate.py", "/etc/passwd", "page/app.js", "app.js\0"])
def test_there_is_no_other_file_to_be_had(name: str) -> None:
    with pytest.raises(LookupError, match="the page has no file"):
        page_file(name)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_never_makes_markup_or_code_of_a_text(name: str) -> None:
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|srcdoc"
    code = r"\beval\(|new Function|setTimeout\(\s*[\"'`]|javascript:|import\("

    assert re.findall(f"{markup}|{code}", page_file(name)) == []


@pytest.mark.parametrize("name", [SHELL, STYLE, *MODULES])
def test_no_file_names_a_place_elsewhere(name: str) -> None:
    text = page_file(name)
    namespaces = ("http://www.w3.org/2000/svg",)
    elsewhere = [url for url in re.findall(r"(?:https?:)?//[\w.-]+\.[\w./-]+", text) if url not in namespaces]

    assert elsewhere == []
    assert "@import" not in text
    assert "url(" not in text


def test_the_bundle_has_every_module_once_and_imports_nothing() -> None:
    text = bundled()

    assert [name for name in MODULES if f"const $_{Path(name).stem} = (() => {{" not in text] == []
    assert re.findall(r"^(?:import|export)\b", text, re.MULTILINE) == []
    assert "</script" not in text.lower()
    assert "<!--" not in text


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ('import { none } from "./elements.js";\n', "imports none from elements.js, which has none above it"),
        ('import { later } from "./later.js";\n', "imports later from later.js, which has none above it"),
        ('import * as all from "./elements.js";\n', "is of a form that can't be bundled"),
        ("export default 1;\n", "is of a form that can't be bundled"),
    ],
)
def test_a_module_that_can_not_be_bundled_is_named(monkeypatch: pytest.MonkeyPatch, first: str, reason: str) -> None:
    def file(name: str) -> str:
        return first if name == "amounts.js" else page_file(name)

    monkeypatch.setattr("carpool.viewer.page_files.page_file", file)

    with pytest.raises(ValueError, match=r"amounts\.js") as raised:
        bundled()
    assert reason in str(raised.value)


@pytest.mark.parametrize(("constant", "row"), [("COLUMNS", AgentRow), ("BURN", BurnPoint)])
def test_the_page_reads_the_columns_that_it_is_sent(constant: str, row: type) -> None:
    declared = re.search(rf"const {constant} = \[(.*?)\];", page_file("model.js"), re.DOTALL)
    assert declared is not None
    named = re.findall(r'"(\w+)"', declared[1])

    assert named == [re.sub(r"_(\w)", lambda found: found[1].upper(), name) for name in row.__struct_fields__]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_uses_what_it_imports(name: str) -> None:
    text = page_file(name)
    imports = re.findall(r"^import \{ (.*?) \} from .*$", text, re.MULTILINE)
    rest = re.sub(r"^import .*$", "", text, flags=re.MULTILINE)
    idle = [each for names in imports for each in names.split(", ") if not re.search(rf"\b{each}\b", rest)]

    assert idle == []
    assert re.match(r"// \S.*\n", text)
