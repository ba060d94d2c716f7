import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["videopasta.cluster", "videopasta.config", "videopasta.prompts"])
def test_package_imports_without_what_is_heavy(package: str):
    """A configuration is checked at once, and where none of the heavy packages is installed."""
    heavy = ["torch", "ray", "vllm", "av", "transformers", "numpy", "pyarrow"]
    code = f"import sys, {package}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
