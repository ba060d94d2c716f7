"""Lets the registry's torchvision, which links CUDA, be imported beside a torch without CUDA.

``import torchvision`` registers fake kernels for ``torchvision::nms`` and ``qnms``; its own C++ library, which
would have defined these operators, fails to load without CUDA, and the import dies with "operator
torchvision::nms does not exist". Defining the two schemas first is enough: nothing here calls them, and the
video processors of transformers only need torchvision's resize, which is plain torch.

vLLM inspects each model in a child process of its own, so this must run in *every* process of the environment:
the wheel carries ``videopasta-torchvision.pth``, which imports this module when Python starts. That costs
nothing until something imports torchvision, and does nothing beside a CUDA torch.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _DefineOperatorsFirst(MetaPathFinder):
    """Finds nothing: it only acts just before torchvision is found by the ordinary finders."""

    _library: Any = None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "torchvision":
            return None
        sys.meta_path.remove(self)
        import torch

        if torch.version.cuda is None and not hasattr(torch.ops.torchvision, "nms"):
            library = torch.library.Library("torchvision", "DEF")
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            type(self)._library = library  # the definitions live as long as this object
        return None


if "torchvision" not in sys.modules:
    sys.meta_path.insert(0, _DefineOperatorsFirst())
