"""The access key of the account's root. Each start of the cloud makes a new one, so nobody can know it beforehand."""

import json
import os
import secrets
from pathlib import Path
from typing import NamedTuple

FILE = "root.json"


class RootKey(NamedTuple):
    """An access key.

    Attributes:
        id: The access key's id.
        secret: The secret that signs requests.
    """

    id: str
    secret: str


def make(home: Path) -> RootKey:
    """Return a new key, after writing it into the cloud's folder, where only this user can read it."""
    key = RootKey(f"AKIA{secrets.token_hex(8).upper()}", secrets.token_hex(20))
    file = os.open(home / FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(file, "w", encoding="utf-8") as stream:
        json.dump({"AccessKeyId": key.id, "SecretAccessKey": key.secret}, stream)
    return key


def read(home: Path) -> RootKey:
    """Return the key of the cloud that has this folder.

    Raises:
        OSError: There is no key.
        ValueError: The file is no key's.
    """
    document = json.loads((home / FILE).read_text(encoding="utf-8"))
    try:
        return RootKey(document["AccessKeyId"], document["SecretAccessKey"])
    except (TypeError, KeyError):
        raise ValueError(f"{home / FILE} has no access key") from None
