from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.lab.cluster import Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all playbooks; each test leaves it healthy."""
    with Cluster.start(tmp_path_factory.mktemp("playbooks"), seed=11) as running:
        yield running
