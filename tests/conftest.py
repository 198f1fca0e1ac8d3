"""Options of the test run; pytest takes them from here alone."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cases", metavar="DIR", help="run the PromQL conformance cases in DIR (promqltest files)")
