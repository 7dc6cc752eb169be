"""A folder or archive of labelled photos: its layout, its rules, and how to read it.

The layout is that of Udacity's dogImages: ``<split>/<class>/<photo>`` with the splits
``train``, ``valid`` and ``test``; a class folder may carry a number (``017.English_foxhound``).
An optional folder ``other`` beside the splits, flat or with folders of any name, holds photos that
show none of the classes: nothing trains on them, the evaluation asks whether they are told apart.
The same layout may lie in one ``.zip`` or ``.tar[.gz]``, which S3 moves far faster than
ten thousand small objects. A single folder around the three splits is looked through.

Standard library only: the Plan function, the training job, the evaluation and the laptop's
runner all read datasets with this package.
"""

from dataset.layout import (
    MAX_NAMED,
    OTHER,
    SPLITS,
    DatasetError,
    Listing,
    Photo,
    breed_name,
    listing,
)
from dataset.source import ReadError, Source, open_source

__all__ = [
    "MAX_NAMED",
    "OTHER",
    "SPLITS",
    "DatasetError",
    "Listing",
    "Photo",
    "ReadError",
    "Source",
    "breed_name",
    "listing",
    "open_source",
]
