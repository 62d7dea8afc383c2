"""Where LoRA starts when it takes something of the weight, or of its gradient, to begin with."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

GAMMA = 16.0
"""Of LoRA-GA: the larger, the smaller its start."""


def pissa(weight: Tensor, rank: int, scale: float) -> tuple[Tensor, Tensor]:
    """``scale B A`` is the best rank-r approximation of the weight, shared out evenly between B and A.

    No more than the rank of the weight: a column of B and a row of A that are both zero would never train.
    """
    U, s, Vh = torch.linalg.svd(weight, full_matrices=False)
    r = min(rank, int((s > s[0] * max(weight.shape) * torch.finfo(s.dtype).eps).sum()))
    root = (s[:r] / scale).sqrt()
    return U[:, :r] * root, root[:, None] * Vh[:r]


def olora(weight: Tensor, rank: int, scale: float) -> tuple[Tensor, Tensor]:
    """B the first r columns of Q, A the first r rows of R, of the weight's ``Q R``."""
    Q, R = torch.linalg.qr(weight)
    return Q[:, :rank], R[:rank]


def lora_ga(gradient: Tensor, rank: int, scale: float) -> tuple[Tensor, Tensor]:
    """A the first r right singular vectors of the gradient, B the next r left ones.

    The first step of gradient descent then goes along the best rank-2r approximation of the gradient.
    """
    U, _, Vh = torch.linalg.svd(gradient, full_matrices=False)
    size = len(gradient) ** 0.25 / sqrt(GAMMA)
    return size * U[:, rank : 2 * rank], size * Vh[:rank]


STARTS = {"pissa": pissa, "olora": olora, "lora_ga": lora_ga}
