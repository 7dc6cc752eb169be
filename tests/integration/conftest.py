"""One laptop cloud for all integration tests."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.laptop import Cloud, serving_cloud


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One laptop cloud for all tests, with a bucket ``kennel``."""
    with serving_cloud(tmp_path_factory.mktemp("cloud") / "home") as running:
        yield running


@pytest.fixture(scope="session")
def sagemaker(cloud: Cloud) -> Any:
    return cloud.client("sagemaker")


@pytest.fixture(scope="session")
def s3(cloud: Cloud) -> Any:
    return cloud.client("s3")
