"""The leaderboard: every method once, at what it can say in few numbers, at three rates and with three seeds.

A pretrained ViT-S/14 learns Sign digits, its query, key and value layers adapted: 18 layers of 384 x 384, with at most
1,540 trained numbers each. What cannot be so small runs in its smallest form, and what compresses the layer in a form
worth having; neither keeps the budget (`equal=False`), so neither is ranked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surm_lite.comparison.plan import Arm, Plan, next_rate

BUDGET = 1_540

FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("LoRA r=2", {"rank": 2}),
    "circulant": ("block-circulant b=96", {"block": 96}),
    "toeplitz": ("Toeplitz", {}),
    "c3a": ("C3A b=96", {"block_size": 96}),
    "gralora": ("GraLoRA r=2", {"rank": 2}),
    "dora": ("DoRA r=1", {"rank": 1}),
    "symmetric_toeplitz": ("SURM: product of symmetric Toeplitz", {}),
    "kronecker": ("Kronecker 48 x 24", {"a_shape": (48, 24)}),
    "ldr": ("LDR r=2", {"rank": 2}),
    "lorapro": ("LoRA-Pro r=2", {"rank": 2}),
    "miss": ("MiSS r=4", {"rank": 4}),
    "monarch": ("Monarch, 2 blocks", {"nblocks": 2}),
    "loldu": ("LoLDU", {}),
    "gora": ("GoRA r=2", {"rank": 2, "rank_min": 1}),
    "adalora": ("AdaLoRA 2 to 1", {"init_r": 2, "target_r": 1}),
    "bora": ("BoRA r=1", {"rank": 1}),
    "head": ("linear head", {}),
    "full": ("full fine-tuning", {}),
    "bitfit": ("BitFit", {}),
    "bottleneck": ("circulant behind the layer (GELU)", {}),
    "vera": ("VeRA r=1156", {"rank": 1156}),
    "fourierft": ("FourierFT, 1540 places", {"n_frequency": 1540}),
    "oft": ("OFT b=8", {"oft_block_size": 8}),
    "cdvft": ("CDVFT b=192", {"block": 192}),
    "singlora": ("SingLoRA r=4", {"rank": 4}),
    "bat": ("Bat r=4", {"rank": 4}),
    "loha": ("LoHa r=1", {"rank": 1}),
    "lokr": ("LoKr r=4", {"rank": 4, "decompose_factor": 2}),
    "elalora": ("ElaLoRA 1+1", {"rank": 1, "slack": 1}),
    "ardlora": ("ARD-LoRA 1 to 2", {"rank": 1, "rank_max": 2}),
    "randlora": ("RandLoRA r=129", {"rank": 129, "alpha": 2580.0}),
    "bone": ("Bone r=4, along rows", {"rank": 4, "axis": "row"}),
    "trp": ("TRP", {}),
    "cuttlefish": ("Cuttlefish", {}),
    "lord": ("LoRD r=96: half the weights", {"rank": 96}),
    "lokh": ("LoKH", {}),
    "lorae": ("LoRAE", {}),
}
"""The form of each method, those first that one asks for first."""
UNRANKED = ("full", "trp", "cuttlefish", "lord", "lokh", "lorae")

WIDE_BUDGET = 6_144

WIDE_FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("LoRA r=8", {"rank": 8}),
    "circulant": ("block-circulant b=24", {"block": 24}),
    "gralora": ("GraLoRA r=8", {"rank": 8}),
    "dora": ("DoRA r=7", {"rank": 7}),
    "lorapro": ("LoRA-Pro r=8", {"rank": 8}),
    "miss": ("MiSS r=16", {"rank": 16}),
    "ldr": ("LDR r=8", {"rank": 8}),
    "gora": ("GoRA r=8", {"rank": 8, "rank_min": 1}),
    "monarch": ("Monarch, 8 blocks", {"nblocks": 8}),
    "bat": ("Bat r=16", {"rank": 16}),
}
"""Four times the numbers, for ten of them."""


FIRST_RATES = {
    "c3a": 0.3, "loldu": 3e-3, "adalora": 3e-3, "elalora": 3e-3, "head": 3e-3, "full": 1e-4, "vera": 1e-2,
    "fourierft": 3e-2, "loha": 5e-3, "trp": 3e-4, "cuttlefish": 3e-4, "lord": 3e-4,
}  # fmt: skip
"""Where a search of the rate begins, if not at 1e-3. Where it ended on the main board is the method's own `lr`."""


def _arms(forms: Mapping[str, tuple[str, Mapping[str, Any]]]) -> dict[str, Arm]:
    """Three rates to begin with."""
    return {
        name: Arm(label, (next_rate(lr, False), lr, next_rate(lr, True)), name, options, equal=name not in UNRANKED)
        for name, (label, options) in forms.items()
        for lr in [FIRST_RATES.get(name, 1e-3)]
    }


LEADERBOARD = Plan("sign_digits", _arms(FORMS), widen=2, elsewhere="mnist5k")
LEADERBOARD_WIDE = Plan("sign_digits", _arms(WIDE_FORMS), widen=2, elsewhere="mnist5k")
LEADERBOARD_MNIST = Plan(
    "mnist5k", _arms({name: FORMS[name] for name in ("lora", "toeplitz", "gralora", "dora", "lorapro")}), widen=2
)
"""Five arms on data that the package carries: who has no Sign digits repeats these."""
