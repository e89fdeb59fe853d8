from __future__ import annotations

import pytest

from tests.e2e.demo_run import DemoRun, run_demo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """One run of the demo, which takes minutes."""
    return run_demo(tmp_path_factory.mktemp("demo"))
