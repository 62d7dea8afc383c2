"""What the adapter tests share: every method with the options that change it, a small model, a watch on the paths."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from surm_lite.adapters import METHODS, adapt, adapters_of, additive, trainable_parameters
from surm_lite.adapters.one_product import linear_sum

DOUBLE = {"dtype": torch.float64}

# name, options: every method with its defaults, and the options that change its structure
READY = [name for name, method in METHODS.items() if method.wraps and "losses" not in method.needs]
"""Methods that put adapters on a model without looking at data."""

CASES = [(name, {}) for name in READY] + [
    ("lora", {"rank": 3, "rslora": True}),
    ("lora", {"rank": 3, "init": "pissa", "lr_ratio": 4.0}),
    ("bottleneck", {"structure": "dense", "activation": "relu", "reduction": 2}),
    ("circulant", {"block": 1}),
    ("circulant", {"product": True, "alpha": 2.0}),
    ("kronecker", {"a_shape": (1, 1)}),
    ("ldr", {"rank": 2}),
    ("c3a", {"block_size": 1, "alpha": 2.0}),
    ("gralora", {"rank": 3, "gralora_k": 1, "hybrid_r": 2}),
    ("miss", {"rank": 3, "axis": "row"}),
    ("miss", {"rank": 3, "mini_r": 2}),
    ("bat", {"axis": "row"}),
    ("lokr", {"rank": 1, "decompose_both": True, "decompose_factor": 5}),
    ("dora", {"rank": 2, "axis": "in", "detach": False}),
    ("bora", {"rank": 2, "detach": False}),
    ("loldu", {"rank": 3, "alpha": 0.5, "scaled": True}),
    *[("bottleneck", {"structure": s}) for s in ("toeplitz", "symmetric_toeplitz", "kronecker", "ldr", "lora")],
]
REGISTERED = list(METHODS)
CONTRACT = [
    *CASES,
    *[(name, {}) for name in REGISTERED if name not in READY],
    ("gora", {"rank_min": 0, "gamma": 0.0, "rank": 2}),
    ("loldu", {"start": "uniform"}),
    ("lora", {"init": "olora"}),
    ("lora", {"rank": 2, "init": "lora_ga", "rslora": True}),
    ("lorapro", {"rank": 2, "init": "olora", "variant": "sgd"}),
    ("cdvft", {"block": 1, "alpha": 2.0}),
    ("fourierft", {"n_frequency": 5, "init_weights": False}),
    ("randlora", {"rank": 3, "alpha": 60.0}),
]
"""Those, and every method that looks at data or wraps no layer."""
SMALL = {"fourierft": {"scaling": 20.0}, "randlora": {"alpha": 64.0}}
"""For training on layers of a few inputs: the scale of these is made for hundreds and does not follow the width."""
MERGEABLE = [case for case in CASES if METHODS[case[0]].mergeable]


def ids(case):
    name, options = case
    return name + "".join(f"-{k}={v}" for k, v in options.items())


def each(cases):
    return pytest.mark.parametrize("case", cases, ids=ids)


def quick_first(cases):
    """Every method with its defaults in `make check`, the other options in `make test`."""
    return [pytest.param(case, marks=pytest.mark.slow) if case[1] else case for case in cases]


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
    for adapter in adapters_of(model).values():
        adapter.method.stir(adapter, generator)
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
