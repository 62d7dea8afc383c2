"""What trained updates look like: rank, spectrum, size and direction, and which structure fits the full one.

A pretrained ViT-S/14 learns 1,000 digits by the plan `finetune_mnist5k`, at the learning rates which that comparison
chose, in half its epochs: three seeds of full fine-tuning, one of each structured method. Measured are the updates of
the 18 query, key and value layers that the methods adapt; full fine-tuning changes the other layers too.

    python benchmarks/trained_updates.py    # benchmarks/results/trained_updates.json; about five minutes of one core

Finished runs are kept in runs/trained_updates and are not trained again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import surm_lite as sl
from surm_lite.adapters import methods_of
from surm_lite.adapters.additive import Additive
from surm_lite.comparison import Comparison
from surm_lite.comparison.plans import PLANS
from surm_lite.data import load

HERE = Path(__file__).parent
RESULT = HERE / "results" / "trained_updates.json"
KEPT = HERE.parent / "runs" / "trained_updates"
PLAN = "finetune_mnist5k"
RUNS = (
    ("full", 0), ("circulant", 0), ("toeplitz", 0), ("lora", 0), ("kronecker", 0), ("ldr", 0), ("full", 1), ("full", 2),
)  # fmt: skip
QUERY_KEY_VALUE = ("q_proj", "k_proj", "v_proj")
INDICES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 368, 380, 384)
"""Which singular values are kept, counted from 1."""


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """The adapted (or adaptable) layers by short names such as "5.v": block 5, value."""
    found = {}
    for name, module in model.named_modules():
        parts = name.split(".")
        if parts[-1] in QUERY_KEY_VALUE:
            found[f"{parts[1]}.{parts[-1][0]}"] = module
    return found


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The frozen weight of each layer, or the trained one where the whole model is trained, in float64."""
    plain = {k: m.linear if isinstance(m, Additive) else m for k, m in layers_of(model).items()}
    return {name: layer.weight.detach().double().clone() for name, layer in plain.items()}


def train(arm: str, seed: int, epochs: int, lr: float) -> dict[str, Any]:
    """One run: losses, accuracy, and the update of each layer without the rounding of a merged weight."""
    plan = replace(PLANS[PLAN], epochs=epochs)
    data = load(plan.data)
    model = plan.build(arm, data, seed=seed)
    before = weights(model)
    record = sl.train(
        model, data, epochs=epochs, evaluate_every=epochs, lr=lr, head_lr=plan.head_lr, batch_size=plan.batch_size,
        seed=seed, device="cpu", progress=False,
    )  # fmt: skip
    if methods_of(model):
        # Products in float64: the rank of an update is that of its structure, not of float32 rounding.
        adapters = {name: m for name, m in layers_of(model).items() if isinstance(m, Additive)}
        updates = {name: adapter.operator().to(torch.float64).to_dense().detach() for name, adapter in adapters.items()}
    else:
        updates = {name: after - before[name] for name, after in weights(model).items()}
    return {"before": before, "updates": updates, "loss": record.loss, "test": record.test_score}


def measure(update: Tensor, before: Tensor) -> dict[str, Any]:
    """Rank, spectrum, size and direction of one update."""
    s = torch.linalg.svdvals(update)
    energy = (s.square().cumsum(0) / s.square().sum()).tolist()
    after = before + update
    size, base = float(update.norm()), float(before.norm())
    return {
        "rank": int((s > s[0] * len(s) * torch.finfo(torch.float32).eps).sum()),
        "k50": 1 + sum(share < 0.5 for share in energy),
        "k90": 1 + sum(share < 0.9 for share in energy),
        "k99": 1 + sum(share < 0.99 for share in energy),
        "largest": rounded(s[0]),
        "spectrum": [rounded(s[k - 1] / s[0]) for k in INDICES],
        "norm": rounded(size),
        "ratio": rounded(size / base),
        "aligned": rounded((update * before).sum() / (size * base)),
        "turned": rounded(1 - (after * before).sum() / (after.norm() * base)),
    }


def rounded(value: Tensor | float) -> float:
    """Four digits, and nothing below 1e-12."""
    value = float(value)
    return 0.0 if abs(value) < 1e-12 else float(f"{value:.4g}")


def errors(updates: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    """The relative error of every family at the price of LoRA with rank 1."""
    rankings = sl.which_structure(updates)
    return {layer: {fit.family: rounded(fit.error) for fit in ranking} for layer, ranking in rankings.items()}


def shuffled(updates: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """Rows and columns in a random order: the same singular values, and no structure that needs the order."""
    rng = torch.Generator().manual_seed(seed)
    return {
        layer: W[torch.randperm(len(W), generator=rng)][:, torch.randperm(W.shape[1], generator=rng)]
        for layer, W in updates.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=2)
    epochs = parser.parse_args().epochs
    torch.set_num_threads(1)
    KEPT.mkdir(parents=True, exist_ok=True)
    rates = {arm.arm: arm.lr for arm in Comparison.from_json(HERE / "results" / f"{PLAN}.json").summary()}

    runs = []
    for arm, seed in RUNS:
        path = KEPT / f"{arm}-epochs{epochs}-seed{seed}.pt"
        if not path.exists():
            torch.save(train(arm, seed, epochs, rates[arm]), path)
        made = torch.load(path)
        layers = {name: measure(S, made["before"][name]) for name, S in made["updates"].items()}
        about = {"arm": arm, "seed": seed, "lr": rates[arm], "test": made["test"]}
        about |= {"loss": [round(value, 5) for value in made["loss"]], "layers": layers}
        if arm == "full":
            about["errors"] = errors(made["updates"])
            if seed == 0:
                about["errors_shuffled"] = errors(shuffled(made["updates"]))
        runs.append(about)
        print(f"{arm} seed {seed}: test {made['test']:.3f}", flush=True)

    about = {"plan": PLAN, "epochs": epochs, "budget": 768, "indices": INDICES, "size": 384}
    rows = ",\n".join(json.dumps(run) for run in runs)
    RESULT.write_text(f'{{"about": {json.dumps(about)},\n"runs": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    main()
