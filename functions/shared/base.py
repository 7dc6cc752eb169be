"""What all documents have in common; see ``shared.contracts``."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]


class Document(BaseModel):
    """A document that Kennel itself writes, or a person. Values never change.

    Unknown fields are refused, and numbers that JSON does not have.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class JobDocument(BaseModel):
    """A document that a job writes. It may contain more fields than its readers need."""

    model_config = ConfigDict(frozen=True, extra="ignore")
