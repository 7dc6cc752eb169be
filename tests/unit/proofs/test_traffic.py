"""How the load of drills is signed."""

from pathlib import Path
from typing import Any

import pytest

from cloud.core import root_key
from local.laptop import Laptop
from proofs.drills import traffic


def test_a_load_of_minutes_is_signed_anew_before_its_signature_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SageMaker takes a signature for five minutes."""
    key, sent, moments = root_key.make(tmp_path), list[dict[str, str]](), iter([0.0, 59.0, 61.0, 600.0])

    def post(_pool: Any, _url: str, _photo: bytes, headers: dict[str, str]) -> int:
        sent.append(headers)
        return 200

    monkeypatch.setattr(traffic, "_post", post)
    monkeypatch.setattr(traffic.time, "monotonic", lambda: next(moments))
    send = traffic.to_endpoint(Laptop(5599, 1, files=tmp_path), "kennel", b"photo")
    assert [send() for _ in range(4)] == [200] * 4
    first, second, third, fourth = (id(headers) for headers in sent)
    assert first == second
    assert len({second, third, fourth}) == 3
    assert f"Credential={key.id}/" in sent[0]["Authorization"]
