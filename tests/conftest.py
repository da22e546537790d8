"""What holds for all tests."""

from pathlib import PurePosixPath

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

# Before anything imports a route.
import support.held  # noqa: F401


class ByModule(LoadScopeScheduling):  # type: ignore[misc] # it brings no types
    """Hands modules to processes; those of `tests/clients` all to one, where they play together."""

    def _split_scope(self, nodeid: str) -> str:
        module = PurePosixPath(nodeid.partition("::")[0])
        return str(module.parent if module.parent.name == "clients" else module)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByModule:
    return ByModule(config, log)
