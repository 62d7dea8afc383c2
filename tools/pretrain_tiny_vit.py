"""Pretrains the tiny ViT that the package ships, on Fashion-MNIST, and writes it with a card that says how.

    python tools/pretrain_tiny_vit.py

About a quarter of an hour on one CPU core. Needs the four files of Fashion-MNIST (see `surm_lite.data.load`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from surm_lite.data import flip_and_shift, load
from surm_lite.models.vit import ViT, ViTConfig
from surm_lite.training.train import train

WEIGHTS = Path(__file__).parent.parent / "surm_lite" / "models" / "weights"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = load("fashion_mnist", seed=args.seed)
    std, mean = (value.item() / 255 for value in torch.std_mean(data.train.inputs.float()))
    config = ViTConfig(mean=(round(mean, 4),), std=(round(std, 4),))
    model = ViT(config, generator=torch.Generator().manual_seed(args.seed))
    record = train(
        model,
        data,
        epochs=args.epochs,
        lr=1.5e-3,
        batch_size=128,
        weight_decay=0.05,
        schedule="onecycle",
        seed=args.seed,
        device=args.device,
        clip=1.0,
        augment=flip_and_shift,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    weights = args.out / "tiny_vit.safetensors"
    save_file({name: value.half().cpu().contiguous() for name, value in model.state_dict().items()}, weights)
    command = f"python tools/pretrain_tiny_vit.py --epochs {args.epochs} --seed {args.seed} --threads {args.threads}"
    card = {
        "model": "tiny ViT of surm_lite, pretrained on Fashion-MNIST (MIT licence) by this project",
        "command": command,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "config": config.__dict__,
        "options": record.options,
        "data": record.data,
        "train_score": record.train_score,
        "validation_score": record.validation_score,
        "test_score": record.test_score,
        "seconds": record.seconds,
        "device": record.device,
        "versions": record.versions,
    }
    (args.out / "tiny_vit.json").write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps(card["validation_score"]), card["test_score"])


if __name__ == "__main__":
    main()
