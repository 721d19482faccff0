"""Every page whose commands need the rehearsal, followed word for word: the tutorial first, in one rehearsal."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs_blocks import Copy, Page, pages, play

REHEARSED = [each for each in pages() if each.run == "rehearsal"]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    made = Copy(Path(tmp_path_factory.mktemp("docs")))
    yield made
    if made.deployed:
        made.command("down", "local")


@pytest.mark.parametrize("page", REHEARSED, ids=lambda page: page.name)
def test_a_page_does_what_it_says(page: Page, copy: Copy) -> None:
    if page is not REHEARSED[0] and not copy.deployed:  # this page alone, or what went before has failed
        copy.command("up", "local")
    play(page, copy)
