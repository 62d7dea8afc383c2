"""What the adapter tests share: every method with the options that change it, a small model, a watch on the paths."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from surm_lite.adapters import METHODS, adapt, additive, trainable_parameters
from surm_lite.adapters.merged import linear_sum

DOUBLE = {"dtype": torch.float64}

# name, options: every method with its defaults, and the options that change its structure
CASES = [(name, {}) for name in METHODS] + [
    ("lora", {"rank": 3, "rslora": True}),
    ("circulant", {"block": 1}),
    ("circulant", {"product": True, "alpha": 2.0}),
    ("kronecker", {"a_shape": (1, 1)}),
    ("ldr", {"rank": 2}),
    *[("bottleneck", {"structure": s}) for s in ("toeplitz", "symmetric_toeplitz", "kronecker", "ldr", "lora")],
]
MERGEABLE = [case for case in CASES if METHODS[case[0]].mergeable]


def ids(case):
    name, options = case
    return name + "".join(f"-{k}={v}" for k, v in options.items())


def each(cases):
    return pytest.mark.parametrize("case", cases, ids=ids)


class Block(nn.Module):
    def __init__(self, d=8):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.qkv = nn.Linear(d, 3 * d)
        self.proj = nn.Linear(d, d)
        self.fc1 = nn.Linear(d, 2 * d)
        self.fc2 = nn.Linear(2 * d, d, bias=False)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        x = x + self.proj(torch.softmax(q @ k.mT, -1) @ v)
        return x + self.fc2(torch.relu(self.fc1(x)))


class Model(nn.Module):
    def __init__(self, d=8):
        super().__init__()
        self.embed = nn.Conv2d(1, d, 2, 2)
        self.blocks = nn.ModuleList(Block(d) for _ in range(3))
        self.head = nn.Linear(d, 5)

    def forward(self, image):
        x = self.embed(image).flatten(2).mT
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))


def plain():
    torch.manual_seed(0)
    return Model()


def trained(method, targets=("qkv", "fc2"), **options):
    model = adapt(plain(), method, targets, **options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in trainable_parameters(model):
            p.copy_(0.1 * torch.randn(p.shape, generator=generator))
    return model


def snapshot(model):
    """Everything an unsuccessful call must leave alone."""
    modules = [(name, id(m)) for name, m in model.named_modules()]
    return modules, [(n, id(p), p.requires_grad, p.detach().clone().tolist()) for n, p in model.named_parameters()]


def layer(method="circulant", m=12, n=12, dtype=torch.float64, **options):
    torch.manual_seed(0)
    model = adapt(nn.Sequential(nn.Linear(n, m, dtype=dtype)), method, "0", **options)
    with torch.no_grad():
        for p in trainable_parameters(model):
            p.normal_(std=0.3)
    return model


def separate(adapter, x):
    return F.linear(x, adapter.linear.weight, adapter.linear.bias) + adapter.operator().apply(x)


def watch(monkeypatch):
    """How many operators went into each product with a formed W; nothing where the separate path was taken."""
    calls = []

    def spy(x, linear, operators):
        y = linear_sum(x, linear, operators)
        calls.extend([len(operators)] if y is not None else [])
        return y

    monkeypatch.setattr(additive, "linear_sum", spy)
    return calls
