"""What runs code that is read as data is not called, but where it is ours."""

import ast
from collections.abc import Iterator

import pytest

from tests.conftest import REPOSITORY

ALLOWED = {
    ("videopasta/video/worker.py", "pickle.loads"): "the decoder process reads what its parent asks",
    ("videopasta/config/generate.py", "videopasta.config.models.VllmModel"): (
        "the paper's query writer has code of its own; told of at each start"
    ),
}
_CALLS = {
    "eval", "exec", "pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads",
    "marshal.load", "marshal.loads", "dill.load", "dill.loads", "joblib.load", "shelve.open", "yaml.load",
    "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "os.system", "os.popen", "torch.hub.load",
    "pandas.read_pickle",
}  # fmt: skip
_SOURCES = [path for folder in ("videopasta", "ray_jobs", "benchmarks") for path in (REPOSITORY / folder).rglob("*.py")]


def dangerous(source: str) -> Iterator[str]:
    """The calls in `source` that may run what they read, by their full names."""
    tree = ast.parse(source)
    imported = _imported(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        first, *others = ast.unparse(node.func).split(".")
        name = ".".join((imported.get(first, first), *others)).removeprefix("builtins.")
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if (
            name in _CALLS
            or (name == "torch.load" and given.get("weights_only") != "True")
            or (name == "numpy.load" and given.get("allow_pickle", "False") != "False")
            or given.get("shell", "False") != "False"
            or given.get("trust_remote_code") == "True"
        ):
            yield name


def _imported(tree: ast.AST) -> dict[str, str]:
    """What each name that is imported anywhere in a file stands for."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {one.asname: one.name for one in node.names if one.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return names


def test_nothing_that_is_read_is_run():
    """No pickle, no YAML objects, no shell, no code of a model's repository by default."""
    found = {(str(path.relative_to(REPOSITORY)), name) for path in _SOURCES for name in dangerous(path.read_text())}
    assert len(_SOURCES) > 50
    assert found == set(ALLOWED)


@pytest.mark.parametrize(
    "call",
    [
        "eval(text)", "pickle.loads(data)", "torch.load(file)", "torch.load(file, weights_only=False)",
        "yaml.load(file)", "numpy.load(file, allow_pickle=True)", "subprocess.run(text, shell=True)",
        "os.system(text)", "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)  # fmt: skip
def test_dangerous_call_is_seen(call: str):
    """Each of those that are looked for."""
    assert list(dangerous(f"def f():\n    return {call}\n"))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from pickle import loads\nloads(data)", "pickle.loads"),
        ("from pickle import loads as read\nread(data)", "pickle.loads"),
        ("import pickle as p\np.load(file)", "pickle.load"),
        ("def f():\n    from pickle import Unpickler\n    return Unpickler(file)", "pickle.Unpickler"),
        ("from torch import load\nload(file)", "torch.load"),
        ("from torch import hub\nhub.load(name)", "torch.hub.load"),
        ("import torch.hub as h\nh.load(name)", "torch.hub.load"),
        ("import pandas as pd\npd.read_pickle(file)", "pandas.read_pickle"),
        ("from pandas import read_pickle as table\ntable(file)", "pandas.read_pickle"),
        ("import numpy as n\nn.load(file, allow_pickle=True)", "numpy.load"),
        ("from numpy import load\nload(file, allow_pickle=flag)", "numpy.load"),
        ("from os import system as do\ndo(text)", "os.system"),
        ("import builtins\nbuiltins.eval(text)", "eval"),
    ],
)
def test_dangerous_call_is_seen_by_any_name(source: str, name: str):
    """A module or function that is imported under another name, at the top or in a function."""
    assert list(dangerous(source)) == [name]


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(file, weights_only=True)", "yaml.safe_load(file)", "numpy.load(file)", "json.loads(text)",
        "from json import loads\nloads(text)", "from torch import load\nload(file, weights_only=True)",
        "from safetensors.torch import load\nload(data)", "from .pickle import loads\nloads(data)", "model.eval()",
    ],
)  # fmt: skip
def test_harmless_call_is_none(source: str):
    """What only reads, and what has but a part of the name."""
    assert not list(dangerous(source))
