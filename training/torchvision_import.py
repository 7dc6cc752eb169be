"""``import torchvision``, also beside a torch that torchvision's compiled operators were not built for.

PyPI's torchvision is built for PyPI's torch, which brings CUDA. Beside a CPU build of torch its operators do not
load, and the import fails where it describes two of them, ``nms`` and ``qnms``, that were never declared. Once they
are, the import works; what needs an operator of torchvision's own (detection, its decoders) does not, and no
classifier does. Where the operators load, as in AWS's images, nothing is declared.
"""

from functools import cache
from typing import Any

from torch.library import Library

_OPERATORS = Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]  # what it defines lives as long as it


@cache
def torchvision_models() -> Any:
    """The module ``torchvision.models``; imported at first use, for it takes two seconds."""
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in ("nms", "qnms"):
            _OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
        import torchvision
    return torchvision.models
