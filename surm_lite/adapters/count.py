"""How many numbers an adapted model trains, stores and deploys."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from surm_lite.adapters.attached import adapters_of, attachment
from surm_lite.adapters.held import saved_tensors
from surm_lite.adapters.names import named_parameters
from surm_lite.adapters.targets import is_kept


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
    """Of these, numbers in modules that ``adapt`` was told to keep, such as a new head."""
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
    inside = own | {id(t): t for stack in stacks for a in stack for t in a.tensors().values()}
    others = {key: found for key, found in named_parameters(model).items() if key not in inside}
    trained = {key: found for key, found in others.items() if found[0].requires_grad}
    attached = attachment(model)
    return Count(
        trained=sum(t.numel() for t in own.values() if t.requires_grad) + sum(p.numel() for p, _ in trained.values()),
        kept=sum(
            p.numel()
            for p, names in trained.values()
            if not attached.methods or any(is_kept(name, attached.keep) for name in names)
        ),
        stored=sum(t.numel() for t in saved_tensors(model).values()),
        deployed=sum(a.deployed() for stack in stacks for a in stack),
        base=sum(p.numel() for p, _ in others.values()),
    )
