"""What runs code that is read as data is not called, but where it is ours."""

import ast
from collections.abc import Iterator

import pytest

from tests.conftest import REPOSITORY

ALLOWED = {
    ("videopasta/video/worker.py", "pickle.loads"): "the decoder process reads what its parent asks",
}
_CALLS = {
    "eval", "exec", "pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads",
    "marshal.load", "marshal.loads", "dill.load", "joblib.load", "shelve.open", "yaml.load", "yaml.load_all",
    "yaml.full_load", "yaml.unsafe_load", "os.system", "os.popen", "torch.hub.load", "pandas.read_pickle",
}  # fmt: skip
_SOURCES = [path for folder in ("videopasta", "ray_jobs", "benchmarks") for path in (REPOSITORY / folder).rglob("*.py")]


def dangerous(source: str) -> Iterator[str]:
    """The calls in `source` that may run what they read."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if (
            name in _CALLS
            or (name == "torch.load" and given.get("weights_only") != "True")
            or (name in ("np.load", "numpy.load") and given.get("allow_pickle", "False") != "False")
            or given.get("shell", "False") != "False"
            or given.get("trust_remote_code") == "True"
        ):
            yield name


def test_nothing_that_is_read_is_run():
    """No pickle, no YAML objects, no shell, no code of a model's repository by default."""
    found = {(str(path.relative_to(REPOSITORY)), name) for path in _SOURCES for name in dangerous(path.read_text())} - {
        ("videopasta/config/generate.py", "VllmModel")
    }  # the paper's query writer; told of at each start
    assert len(_SOURCES) > 50
    assert found == set(ALLOWED)


@pytest.mark.parametrize(
    "call",
    [
        "eval(text)", "pickle.loads(data)", "torch.load(file)", "torch.load(file, weights_only=False)",
        "yaml.load(file)", "np.load(file, allow_pickle=True)", "subprocess.run(text, shell=True)",
        "os.system(text)", "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)  # fmt: skip
def test_dangerous_call_is_seen(call: str):
    """Each of those that are looked for."""
    assert list(dangerous(f"def f():\n    return {call}\n"))
    assert not list(dangerous("torch.load(file, weights_only=True)\nyaml.safe_load(file)\nnp.load(file)"))
