"""A vLLM that dies: everyone who waits hears of it as `EngineDead`, and so does who asks later."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, sys
import psutil
from tests.engine.conftest import MAX_MODEL_LEN, MODEL, make_request
from videopasta.config import VllmModel
from videopasta.engine import EngineDead
from videopasta.engine.vllm import VllmEngine


def break_step(engine):
    def step():
        raise MemoryError("no more memory")
    engine._driver._engine.step = step


def kill_core(engine):
    for child in psutil.Process().children(recursive=True):
        if "EngineCore" in child.name() or "EngineCore" in " ".join(child.cmdline()):
            child.kill()


async def main(in_process):
    config = VllmModel(model=MODEL, dtype="float32", max_model_len=MAX_MODEL_LEN, enforce_eager=True)
    engine = VllmEngine(config, video=False, in_process=in_process)
    await engine.generate(make_request())
    waiting = [asyncio.create_task(engine.generate(make_request(seed=n, max_tokens=3000))) for n in range(3)]
    await asyncio.sleep(0.3)
    (break_step if in_process else kill_core)(engine)
    for heard in await asyncio.gather(*waiting, return_exceptions=True):
        print("waited:", type(heard).__name__, heard)
    try:
        await engine.generate(make_request())
    except EngineDead as error:
        print("later:", type(error).__name__, error)
    sys.stdout.flush()
    import os
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] == "in_process"))
"""


@pytest.mark.parametrize("kind", ["in_process", pytest.param("own_processes", marks=pytest.mark.slow)])
def test_a_dead_engine_is_told_to_everyone(kind, tmp_path):
    """Three requests in flight and one afterwards; nobody waits for ever."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), kind], capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert done.stdout.count("waited: EngineDead") == 3, done.stdout + done.stderr
    assert done.stdout.count("later: EngineDead") == 1
    if kind == "in_process":
        assert done.stdout.count("no more memory") == 4
