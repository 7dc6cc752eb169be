"""``evaluation.json``, which the evaluation job writes and the gate reads."""

from typing import Annotated

from pydantic import AliasPath, Field

from shared.base import JobDocument, Share

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Scores(JobDocument):
    """The scores of one model on the test split.

    Attributes:
        latency_p95_ms: time for one photo, from bytes to answer.
        size: size of all networks of the model in bytes.
        calibration_error: expected calibration error.
        calibration_chance: the calibration error that correct probabilities would have on so few photos.
        rejected: share of the photos without a dog that the model recognizes as such; None without such photos.
    """

    top1: Share
    num_photos: int
    latency_p95_ms: Annotated[float, Field(validation_alias=AliasPath("latency", "both", "p95"))]
    size: Annotated[int, Field(validation_alias="bytes")]
    calibration_error: Annotated[Share, Field(validation_alias=AliasPath("calibration", "error_after"))]
    calibration_chance: Annotated[Share, Field(validation_alias=AliasPath("calibration", "chance"))]
    rejected: Annotated[Share | None, Field(validation_alias=AliasPath("dogs", "rejected", "share"))] = None


class Paired(JobDocument):
    """Number of photos that both models answered, and of those that only one of them named correctly."""

    num_photos: int
    only_challenger: int
    only_champion: int


class PairedBreed(Paired):
    """The same numbers for the photos of one breed."""

    breed: str


class Comparison(Paired):
    """Challenger and champion on the photos of the breeds that the champion knows.

    Attributes:
        unknown_to_champion: number of breeds that the champion does not know.
        slowdown: ratio of the challenger's to the champion's time for a photo, in the median.
    """

    unknown_to_champion: int
    slowdown: float
    per_breed: list[PairedBreed]


class Breed(JobDocument):
    """A class by the name of its folder, and its name for people."""

    label: Annotated[str, Field(validation_alias="class")]
    breed: str


class ChangedBreeds(JobDocument):
    """The breeds that only the champion knows, and those that only the challenger knows."""

    lost: list[Breed]
    new: list[Breed]


class Leak(JobDocument):
    """A photo that is in two splits."""

    photo: str
    also: str


class Distribution(JobDocument):
    """``ddp.json``: the training job's proof that its ranks trained one model together."""

    world_size: int
    num_train: int
    steps: int
    samples_per_rank: list[int]
    parameter_checksums: list[str]
    in_sync: bool


class Evaluation(JobDocument):
    """``evaluation.json``: the results of the evaluation job.

    Attributes:
        comparison: None if there is no champion, or if the champion knows none of the breeds.
        changed_breeds: None if there is no champion.
        ddp: None for a model that was trained elsewhere.
        manifest_sha256: SHA-256 of the manifest of the artifact that was judged, hexadecimal.
    """

    challenger: Scores
    champion: Scores | None
    comparison: Comparison | None
    changed_breeds: ChangedBreeds | None = None
    leaked: list[Leak]
    ddp: Distribution | None
    manifest_sha256: Digest


class Evaluated(JobDocument):
    """The evaluation job's ExitMessage, which SageMaker keeps and nobody who may write the bucket can change.

    Attributes:
        report_sha256: SHA-256 of ``evaluation.json``, hexadecimal.
    """

    report_sha256: Digest
