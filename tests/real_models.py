"""Models as people have them: transformers' from a folder, timm's fused qkv, split q, k, v; small, seeded, offline."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from torch import nn

from surm_lite import models

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
MLP = {"intermediate_size": 32}
PICTURE = {"image_size": 16, "patch_size": 8}
TEXT = {"vocab_size": 50, "max_position_embeddings": 12}

# kind -> class, class of the config, its arguments, target patterns: square and rectangular layers
HF = {
    "vit": ("ViTForImageClassification", "ViTConfig", SMALL | MLP | PICTURE | {"num_labels": 3}, ("q_proj", "fc1")),
    "dinov2": ("Dinov2ForImageClassification", "Dinov2Config", SMALL | PICTURE | {"mlp_ratio": 2, "num_labels": 3},
               ("attention.*_proj", "fc2")),
    "dinov2 backbone": ("Dinov2Model", "Dinov2Config", SMALL | PICTURE | {"mlp_ratio": 2}, ("v_proj", "fc1")),
    "bert": ("BertForSequenceClassification", "BertConfig", SMALL | MLP | TEXT | {"num_labels": 3},
             ("query", "intermediate.dense")),
}  # fmt: skip
OWN = {"fused qkv": ("qkv", "fc2"), "split qkv": ("k_proj", "v_proj", "fc1")}
KINDS = [*HF, *OWN]
TARGETS = {kind: entry[-1] for kind, entry in HF.items()} | OWN
each_kind = pytest.mark.parametrize("kind", KINDS)


@cache
def folder(kind):
    """Where a model of transformers lies after `save_pretrained`, made once."""
    transformers = pytest.importorskip("transformers", reason="needs the extra [hf]")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    name, config, arguments, _ = HF[kind]
    path = Path(mkdtemp()) / kind.replace(" ", "_")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        getattr(transformers, name)(getattr(transformers, config)(**arguments)).save_pretrained(path)
    return path


def real(kind):
    """A fresh copy of the model, in eval mode."""
    if kind in HF:
        path = folder(kind)
        import transformers

        return getattr(transformers, HF[kind][0]).from_pretrained(path)
    config = models.ViTConfig(image_size=16, patch_size=8, channels=3, num_classes=3, width=16, depth=2, heads=2,
                              mean=(0.5,) * 3, std=(0.5,) * 3)  # fmt: skip
    model = models.ViT(config, generator=torch.Generator().manual_seed(0)).eval()
    return models.split_qkv(model) if kind == "split qkv" else model


def inputs(kind):
    """Four pictures, or four sentences of which one is shorter."""
    generator = torch.Generator().manual_seed(1)
    if kind == "bert":
        mask = torch.ones(4, 7, dtype=torch.int64)
        mask[1, 5:] = 0
        return {"input_ids": torch.randint(50, (4, 7), generator=generator), "attention_mask": mask}
    return {"images" if kind in OWN else "pixel_values": torch.randn(4, 3, 16, 16, generator=generator)}


def answer(model, kind):
    """What the model says: logits, or the pooled features of a bare backbone."""
    with torch.no_grad():
        out = model(**inputs(kind))
    return out if isinstance(out, torch.Tensor) else out["logits" if "logits" in out else "pooler_output"]


def move(parameters, scale=0.1):
    """Random numbers in place of the start values, as after training."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in parameters:
            p.copy_((scale * torch.randn(p.shape, generator=generator)).to(p))


def linears(model):
    return {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
