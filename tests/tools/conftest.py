"""Commands leave nothing behind: no child, no zombie, no end of a pipe."""

from collections.abc import Iterator

import pytest

from .children import own_children, own_pipes


@pytest.fixture
def leaving_no_process() -> Iterator[None]:
    children, pipes = own_children(), own_pipes()
    yield
    assert own_children() - children == set()
    assert own_pipes() <= pipes
