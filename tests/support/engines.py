"""Engines in tests: a test that needs a library skips without it, and fails where the library is promised."""

import os

import pytest

from msr.meta.engines.available import why_not

ENGINES = ("higher", "learn2learn")


def need(engine: str) -> None:
    """Skip the running test if the library is absent, or fail it where ``MSR_REQUIRE_ENGINES=higher,…`` names it."""
    reason = why_not(engine)
    if reason is not None:
        required = os.environ.get("MSR_REQUIRE_ENGINES", "").split(",")
        (pytest.fail if engine in required else pytest.skip)(reason)
