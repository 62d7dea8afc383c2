"""The comparisons that the book shows: one definition for the long committed runs and for what a chapter runs live.

A pretrained ViT-S/14 (first 6 blocks, 56 px) learns a small data set. Unless an arm says otherwise it adapts the
query, key and value layers of every block: 18 layers of 384 x 384 with 768 trained numbers each (Toeplitz: 767).
"""

from __future__ import annotations

from dataclasses import replace

from surm_lite.comparison import Arm, Plan
from surm_lite.comparison.leaderboard import LEADERBOARD, LEADERBOARD_MNIST, LEADERBOARD_WIDE
from surm_lite.comparison.text import TEXT
from surm_lite.comparison.zoo_smoke import ZOO_SMOKE

RATES = (3e-4, 1e-3, 3e-3, 1e-2)

ARMS: dict[str, Arm] = {
    "lora": Arm("LoRA r=1", RATES, "lora", {"rank": 1}),
    "circulant": Arm("block-circulant b=192", RATES, "circulant", {"block": 192}),
    "toeplitz": Arm("Toeplitz", RATES, "toeplitz"),
    "kronecker": Arm("Kronecker", (1e-3, 3e-3, 1e-2, 3e-2), "kronecker"),
    "ldr": Arm("LDR r=1", RATES, "ldr"),
    "symmetric_toeplitz": Arm("SURM: product of symmetric Toeplitz", (3e-4, 1e-3, 3e-3), "symmetric_toeplitz"),
    "bottleneck": Arm("circulant behind the layer (GELU)", (1e-3, 3e-3, 1e-2, 3e-2), "bottleneck"),
    "full": Arm("full fine-tuning", (1e-5, 3e-5, 1e-4, 3e-4), "full", equal=False),
    "scratch": Arm("same net from scratch", (3e-4,), "full", pretrained=False, equal=False, seeds=(0,)),
}
"""Equal budgets: 768 numbers a layer, and the two ends of the scale."""

SIZES: dict[str, Arm] = {
    "circulant_384": Arm("circulant b=384", RATES, "circulant", {"block": 384}, equal=False),
    "lora_8": Arm("LoRA r=8", RATES, "lora", {"rank": 8}, equal=False),
    "circulant_24": Arm("block-circulant b=24", (3e-4, 1e-3, 3e-3), "circulant", {"block": 24}, equal=False),
}
"""Other budgets: half of it, and eight times as much."""

# Six layers with 2,304 numbers each, and nine with 1,536: both are the 13,824 numbers of circulant updates of q, k, v.
PLACES: dict[str, Arm] = {
    "projection": Arm("attention output", RATES, "circulant", {"block": 64}, ("attn.proj",)),
    "mlp": Arm("MLP", RATES, "circulant", {"block": 384}, ("mlp.fc1", "blocks.[3-5].mlp.fc2")),
}
"""The same number of trained numbers in other layers."""

PLANS: dict[str, Plan] = {
    "finetune_mnist5k": Plan("mnist5k", {name: arm for name, arm in ARMS.items() if name != "bottleneck"}),
    "finetune_sign_digits": Plan("sign_digits", {**ARMS, **SIZES, **PLACES}),
    "low_data": Plan(
        "sign_digits",
        {
            "head": Arm("linear head", (3e-3,), "head", equal=False),
            **{name: replace(ARMS[name], lrs=(1e-4, *RATES)) for name in ("lora", "circulant", "toeplitz")},
        },
        examples=(20, 100, 300, None),
        min_steps=32,
    ),
    "leaderboard": LEADERBOARD,
    "leaderboard_6144": LEADERBOARD_WIDE,
    "leaderboard_mnist5k": LEADERBOARD_MNIST,
    "text": TEXT,
    "zoo_smoke": ZOO_SMOKE,
}
"""What `surm-lite compare --plan NAME` runs."""
