"""SURM's experiment with adapters on sentences, made fair: structured ones beside dense ones of as few numbers.

MiniLM learns whether a snippet of a film review is kind, 4,000 of them in two epochs. Bottlenecks stand where Houlsby
et al. put them, behind attention and behind the MLP of each layer, and updates on its queries and values.
"""

from __future__ import annotations

from surm_lite.comparison.plan import Arm, Plan

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
PLACES, SECOND = ("output.dense",), ("[0-9].output.dense",)
"""Both places of a layer, and the one that Pfeiffer et al. keep."""
QV = ("query", "value")

TEXT = Plan(
    "movie_snippets",
    {
        "houlsby": Arm("dense bottleneck, reduction 16", RATES, "bottleneck", {"structure": "dense"}, PLACES),
        "pfeiffer": Arm("dense bottleneck, MLP alone", RATES, "bottleneck", {"structure": "dense"}, SECOND),
        "width_1": Arm(
            "dense bottleneck, width 1", RATES, "bottleneck", {"structure": "dense", "reduction": 384}, PLACES
        ),
        **{
            f"bottleneck_{name}": Arm(f"{label} bottleneck", RATES, "bottleneck", {"structure": name}, PLACES)
            for name, label in {
                "circulant": "circulant", "kronecker": "Kronecker", "symmetric_toeplitz": "symmetric Toeplitz",
                "ldr": "LDR",
            }.items()
        },
        "lora_1": Arm("LoRA r=1", RATES, "lora", {"rank": 1}, QV),
        "lora_8": Arm("LoRA r=8", RATES, "lora", {"rank": 8}, QV),
        "circulant": Arm("circulant", RATES, "circulant", {}, QV),
        "toeplitz": Arm("Toeplitz", RATES, "toeplitz", {}, QV),
        "kronecker": Arm("Kronecker", (1e-3, 3e-3, 1e-2, 3e-2), "kronecker", {}, QV),
        "ldr": Arm("LDR r=1", RATES, "ldr", {"rank": 1}, QV),
        "full": Arm("full fine-tuning", (1e-5, 3e-5, 1e-4, 3e-4), "full", equal=False),
        "head": Arm("linear head", (1e-3, 3e-3, 1e-2, 3e-2), "head", equal=False),
    },
    model="minilm",
    epochs=2,
    frozen=False,
    widen=2,
)  # fmt: skip
