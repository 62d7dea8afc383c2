"""How many numbers an adapted model trains, stores and deploys."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from .attach import adapters_of
from .io import saved_tensors


@dataclass(frozen=True)
class Count:
    """Counts of numbers in an adapted model; it prints as a sentence.

    Example:
        >>> print(Count(trained=55_296, kept=0, stored=55_296, deployed=0, base=85_800_000))
        trained 55,296 of 85,800,000 (0.064 %), 0 of them in kept modules; stored 55,296; deployed +0

    Taught in:
        21_finetune_vit
    """

    trained: int
    """Numbers an optimiser changes: adapters and kept modules."""
    kept: int
    """Of these, numbers in kept modules, such as a new head."""
    stored: int
    """Numbers in the file that ``save_adapter`` writes: adapters with their state, and kept modules."""
    deployed: int
    """Numbers that the finished model has more than the base model: 0 where every method merges."""
    base: int
    """Numbers of the base model."""

    def __str__(self) -> str:
        share = 100 * self.trained / self.base
        return (
            f"trained {self.trained:,} of {self.base:,} ({share:.2g} %), {self.kept:,} of them in kept modules; "
            f"stored {self.stored:,}; deployed +{self.deployed:,}"
        )


def count(model: nn.Module) -> Count:
    """Counts what an adapted model trains, stores and deploys.

    Args:
        model: any model, adapted, merged or neither; numbers, not bytes, are counted.

    Returns:
        A Count with ``trained``, ``kept``, ``stored``, ``deployed`` and ``base``. Merging changes none of them.

    Example:
        >>> from surm_lite.adapters import adapt
        >>> model = adapt(nn.Sequential(nn.Linear(6, 4)), "toeplitz", targets="0")
        >>> count(model)
        Count(trained=9, kept=0, stored=9, deployed=0, base=28)
        >>> print(count(model))
        trained 9 of 28 (32 %), 0 of them in kept modules; stored 9; deployed +0

    Taught in:
        21_finetune_vit, 24_what_it_costs
    """
    stacks = [adapter.stack() for adapter in adapters_of(model).values()]
    own = {id(t): t for stack in stacks for a in stack for t in a.own().values()}
    others = {id(p): p for p in model.parameters() if id(p) not in own}
    kept = sum(p.numel() for p in others.values() if p.requires_grad)
    stay = {id(t): t for stack in stacks for a in stack if not a.method.mergeable for t in a.own().values()}
    return Count(
        trained=sum(t.numel() for t in own.values() if t.requires_grad) + kept,
        kept=kept,
        stored=sum(t.numel() for t in saved_tensors(model).values()),
        deployed=sum(t.numel() for t in stay.values()),
        base=sum(p.numel() for p in others.values()),
    )
