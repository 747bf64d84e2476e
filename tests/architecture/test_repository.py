"""What a stranger who clones the repository must not stumble over."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

UNWANTED = {
    "a path of one machine": r"(?<![\w.$}~-])/(?:home|root|work|Users)/",
    "a registry's host": r"\b(?:pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|crates\.io|anaconda\.org)\b",
    "something left over": r"\b(?:TODO|FIXME|XXX|HACK)\b|(?i:\bcoming soon\b|\bnot (?:yet )?implemented yet\b)",
}


def tracked_files() -> list[Path]:
    """What is committed or would be; git is asked, so that ``.gitignore`` counts."""
    git = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("what", UNWANTED)
def test_no_file_contains(what: str) -> None:
    unwanted = re.compile(UNWANTED[what])
    found = []
    for path in tracked_files():
        if path == Path(__file__):
            continue  # the one file that has to name them
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if unwanted.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")

    assert found == []


def test_no_file_is_larger_than_a_reader_would_expect() -> None:
    large = [
        f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes"
        for path in tracked_files()
        if path.stat().st_size > 500_000
    ]

    assert large == []


def test_the_licence_is_the_whole_of_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text()

    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_ci_can_be_run() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
