"""What all documents have in common; see ``shared.contracts``."""

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """A document that Kennel itself writes. Unknown fields are refused; values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class JobDocument(BaseModel):
    """A document that a job writes. It may contain more fields than its readers need."""

    model_config = ConfigDict(frozen=True, extra="ignore")
