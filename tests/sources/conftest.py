from __future__ import annotations

from collections.abc import Iterator

import pytest
from served import Served


@pytest.fixture
def served() -> Iterator[Served]:
    server = Served()
    yield server
    server.close()
