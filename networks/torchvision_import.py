"""Import torchvision, even when its compiled operators do not fit the installed torch.

PyPI's torchvision is built for PyPI's torch, which includes CUDA. With a CPU build of torch its operators do not load.
The import then fails where it describes two of them, ``nms`` and ``qnms``, because nobody has declared them. Once they
are declared, the import works. Parts that need torchvision's own operators (detection, its decoders) still fail, but
no classifier needs them. Where the operators load, as beside PyPI's torch, nothing is declared.
"""

from functools import cache
from typing import Any

from torch.library import Library

# A declared operator exists only as long as this object.
_OPERATORS = Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]


@cache
def torchvision_models() -> Any:
    """Return the module ``torchvision.models``; the first call imports it, which takes two seconds."""
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in ("nms", "qnms"):
            _OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
        import torchvision
    return torchvision.models
