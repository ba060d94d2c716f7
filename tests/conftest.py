"""Shared by all tests: where the real clips lie, and homes of their own for Ray and the tiny models."""

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
REAL_CLIPS = REPOSITORY.parent / "shared" / "data" / "videos"

# Ray writes a token below HOME, the tiny models are cached there; both must be set before either is imported.
_HOME = tempfile.mkdtemp(prefix="videopasta-home-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["HOME"] = _HOME
os.environ["HF_HUB_OFFLINE"] = "1"
# What a shell starts in the background ignores Ctrl-C, and so does all below it: what a test sends one to would go on.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Of `cluster/test_dashboards.py`."""
    parser.addoption("--boards", help="draw the dashboards, as the proof's run fills them, into this folder")


@pytest.fixture(scope="module")
def ray_folder() -> Iterator[Path]:
    """A folder for a Ray of the module's own, with a short path: Ray's sockets must fit in 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix="vp-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def real_clips() -> Path:
    """The folder of real videos beside the checkout."""
    if not REAL_CLIPS.is_dir():
        pytest.skip(f"no real clips in {REAL_CLIPS}")
    return REAL_CLIPS
