"""Read a folder or archive of labelled photos and check its layout.

The layout is the one of Udacity's dogImages: ``<split>/<class>/<photo>`` with the splits
``train``, ``valid`` and ``test``. The name of a class folder may begin with a number
(``017.English_foxhound``). An optional folder ``other`` beside the splits, flat or with folders of
any name, contains photos that show none of the classes. Training ignores them; the evaluation
measures whether the model recognizes them as no dog. The same layout may be packed into one
``.zip`` or ``.tar[.gz]``, which S3 transfers far faster than ten thousand small objects. Folders
around the three splits are skipped, and splits that are not there are taken from ``train`` by a
fixed rule.

``dataset.photo_bytes`` says what the bytes of one photo mean. The package uses the standard library
alone, because the Plan function, the training job, the evaluation and the laptop's runner all read
datasets with it. ``dataset.other_formats``, which the jobs decode with, is the exception.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataset.layout import (
        MAX_NAMED,
        OTHER,
        SPLITS,
        DatasetError,
        LeftOut,
        Listing,
        Photo,
        Reason,
        breed_name,
        listing,
    )
    from dataset.source import ReadError, Source, open_source

__all__ = [
    "MAX_NAMED",
    "OTHER",
    "SPLITS",
    "DatasetError",
    "LeftOut",
    "Listing",
    "Photo",
    "ReadError",
    "Reason",
    "Source",
    "breed_name",
    "listing",
    "open_source",
]
_OF_SOURCE = ("ReadError", "Source", "open_source")


def __getattr__(name: str) -> Any:
    """Import a name on first use: the model server reads no dataset, and its start has no time for what it needs not.

    See "The cold start, again" in docs/decisions/serving.md.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module("dataset.source" if name in _OF_SOURCE else "dataset.layout"), name)
    globals()[name] = value
    return value
