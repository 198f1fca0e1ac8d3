from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.lab.cluster import Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for the tests of a module; each leaves it healthy."""
    with Cluster.start(tmp_path_factory.mktemp("lab"), seed=7) as running:
        yield running
