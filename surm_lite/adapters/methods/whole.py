"""Methods that wrap no layer: they train parameters of the model itself."""

from __future__ import annotations

from dataclasses import dataclass

from surm_lite.adapters.base import Method


@dataclass
class Full(Method):
    """Every weight is trained.

    Raises:
        ValueError: ``targets`` are given; there are no layers to choose.

    Cost:
        m n numbers a layer, and as many in the file.

    Example:
        >>> Full().n_params(768, 768)
        589824

    Source:
        The reference that every other method is held against.

    Taught in:
        21_finetune_vit
    """

    name = "full"
    paper = "full fine-tuning"
    wraps = False
    keep = ("*",)
    lr = 3e-5

    def n_params(self, m: int, n: int) -> int:
        return m * n


@dataclass
class Head(Method):
    """Only the modules of ``keep`` are trained: a linear probe, by gradient descent.

    Raises:
        ValueError: ``targets`` are given; there are no layers to choose.

    Cost:
        No number in any layer.

    Example:
        >>> Head().n_params(768, 768)
        0

    Source:
        What the frozen features alone can tell.

    Taught in:
        21_finetune_vit, 22_what_moves_accuracy
    """

    name = "head"
    paper = "linear probing"
    wraps = False
    lr = 3e-2

    def n_params(self, m: int, n: int) -> int:
        return 0


@dataclass
class BitFit(Method):
    """Every bias is trained, those of norms included.

    Raises:
        ValueError: ``targets`` are given; there are no layers to choose.

    Cost:
        m numbers a layer.

    Example:
        >>> BitFit().n_params(768, 768)
        768

    Source:
        Ben Zaken, Goldberg and Ravfogel (2022), section 3.

    Taught in:
        18_lora_adapters
    """

    name = "bitfit"
    paper = "Ben Zaken et al. 2022, arXiv 2106.10199"
    wraps = False
    keep = ("bias",)
    lr = 1e-2

    def n_params(self, m: int, n: int) -> int:
        return m
