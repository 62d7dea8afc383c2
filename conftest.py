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
def randn(rng):
    """Seeded Gaussian tensors in float64."""
    return lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=rng)


@pytest.fixture
def draw(rng):
    """Seeded random members of a family, by name, in float64."""
    from surm_lite.matrices import FAMILIES  # here: the shape checker must be installed before the package is imported

    return lambda name, m=12, n=None, **budget: FAMILIES[name].random(
        m, n, dtype=torch.float64, generator=rng, **budget
    )


@pytest.fixture
def own_errors():
    """Switches the shape checker off, so that bad input meets the library's own validation."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
