"""Fixtures that several test modules share."""

import pytest
import torch
from jaxtyping import config


@pytest.fixture(autouse=True)
def doctest_torch(doctest_namespace):
    """Docstring examples may say ``torch`` without importing it."""
    doctest_namespace["torch"] = torch


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def own_errors():
    """Switches the shape checker off, so that bad input meets the library's own validation."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
