"""What the contract of methods refuses, sentence by sentence: each is said of a method one line from a right one.

The exhibits of ``broken_methods`` show which checks see a defect; here no sentence of a check can be lost unseen.
"""

import copy
import zlib
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
import torch
from broken_methods import Small
from torch import nn

from surm_lite.adapters.additive import Additive
from surm_lite.adapters.methods.whole import BitFit
from surm_lite.checks import check_method
from surm_lite.checks.method_subject import steps

NAN = float("nan")
forward, merge, train, operator = Additive.forward, Additive.merge, Additive.train, Additive.operator


def method(base: type = Small, **members: Any) -> type:
    return type("Wrong", (base,), members)


def shaped(bends: bool = False, **members: Any) -> type:
    """A method whose adapters differ from Additive; ``bends``: it says that it is not linear in x."""
    return method(shape=type("shape", (Additive,), members), mergeable=not bends)


def answers(change: Any, bends: bool = False) -> type:
    return shaped(bends, forward=lambda self, x: change(forward(self, x), x))


def merges(change: Any) -> type:
    return shaped(merge=lambda self, *how, **more: change(self, merge(self, *how, **more)))


def frozen_factor(S: Any) -> Any:
    return S.with_tensors(S.tensors[0], S.tensors[1].detach())


def halves(self: Any, x: Any) -> Any:
    weight = self.linear.weight.data
    weight.div_(1 if self.training else 2)
    y = forward(self, x)
    weight.mul_(1 if self.training else 2)
    return y


def doubles(self: Any, mode: bool = True) -> Any:
    if self.training != mode:
        self.linear.weight.data.mul_(0.5 if mode else 2)
    return train(self, mode)


def refuse(words: str) -> None:
    raise ValueError(words)


def thin(factor: float) -> Any:
    def factors(self: Any) -> Any:
        U, S, Vh = torch.linalg.svd(self.weight.detach())
        r = min(self.weight.shape)
        return factor * U[:, :r] * S, Vh[:r]

    return factors


def later(self: Any, layer: nn.Linear) -> nn.Linear:
    """Each merge lets the adapter answer a little more."""
    self.merged = getattr(self, "merged", 0) + 1e-6
    return layer


def other_parameter(self: Any, layer: nn.Linear) -> nn.Linear:
    self.A = nn.Parameter(self.A.detach().clone())
    return layer


def edits(self: Any, layer: nn.Linear) -> nn.Linear:
    self.linear.weight.data.mul_(1 + 1e-6)
    return layer


def hooked(self: Any, layer: nn.Linear) -> nn.Linear:
    layer.register_forward_hook(lambda layer, x, y: y * (1 + 1e-6))
    return layer


def spoils(step: int) -> Any:
    def after_step(self: Any, state: Any) -> None:
        for adapter in self.layers.values():
            adapter.B.data.fill_(NAN if state.step == step else 0.1)

    return after_step


def on_autocast(change: Any) -> Any:
    return lambda y, x: change(y) if torch.is_autocast_enabled("cpu") else y


def begins(change: Any) -> type:
    return method(begin=lambda self, name, weight, generator: change(name, weight, generator))


def start(name: str, weight: Any, generator: Any, rank: int = 2) -> dict[str, Any]:
    return Small(rank=rank).begin(name, weight, generator)


class BufferWithGradient(Small):
    def begin(self, name, weight, generator):
        return super().begin(name, weight, generator) | {"mask": nn.Buffer(torch.ones(2))}

    def wrap(self, name, layer, generator):
        adapter = super().wrap(name, layer, generator)
        adapter.mask.requires_grad_()
        return adapter


@dataclass
class Grows(Small):
    def __post_init__(self):
        self.rank += 1


@dataclass
class Nested(Small):
    pairs: Any = ((1, 2),)


LOOKS = count(1)


@dataclass
class FindsAnother(Small):
    needs = ("losses",)
    found_rank: int | None = field(default=None, repr=False)

    def ready(self):
        return self.found_rank is not None

    def calibrate(self, model, layers, losses):
        self.found_rank = next(LOOKS)


@dataclass
class CountsForItself(Small):
    steps: int = field(default=0, init=False, repr=False, compare=False)

    def penalty(self, state):
        self.steps += 1
        return torch.tensor(float(self.steps))


REFUSED = [
    ("start", answers(lambda y, x: y * (2 if len(x) == 24 else 1)), "a model with a head: not the same bits"),
    ("forward", answers(lambda y, x: y[None]), "the output has shape (1, 8)"),
    ("forward", answers(lambda y, x: y + x.mean(), bends=True), "against its rows one by one"),
    ("forward", shaped(bends=True), "mergeable is False, but the adapter has a weight"),
    ("forward", shaped(bends=True, weight=property(lambda self: refuse("no"))), "weight says only 'no'"),
    ("gradients", shaped(operator=lambda self: frozen_factor(operator(self))), "there is none in the forward"),
    ("gradients", shaped(forward=lambda self, x: forward(self, x.detach() + 0 * x if len(x) > 1 else x)),
     "64 rows, gradient of x: off by"),
    ("gradients", shaped(bends=True, forward=lambda self, x: forward(self, x.detach() + 0 * x)), "Jacobian"),
    ("merging", shaped(bends=True, merge=lambda self, *how, **more: refuse("no")), "merge does not name the method"),
    ("merging", shaped(bends=True, merge=lambda self, *how, **more: nn.Linear(8, 8)), "but merge does it"),
    ("merging", merges(lambda self, layer: layer.requires_grad_()), "merge() gives no plain frozen layer"),
    ("merging", merges(lambda self, layer: nn.Sequential(layer)), "merge() gives no plain frozen layer"),
    ("merging", merges(lambda self, layer: layer.train(not self.training)), "merging changes the mode"),
    ("merging", merges(hooked), "the merged state_dict in a plain model: not the same bits"),
    ("merging", merges(edits), "the base layer after unmerge: not the same bits"),
    ("merging", shaped(merge=lambda self, *how, **more: later(self, merge(self, *how, **more)),
                       forward=lambda self, x: forward(self, x) * (1 + getattr(self, "merged", 0))),
     "the output after unmerge: not the same bits"),
    ("merging", merges(other_parameter), "other parameters"),
    ("merging", shaped(factors=thin(2.0), deployed=lambda self: 64), "as two thin layers: off by"),
    ("merging", shaped(factors=thin(1.0)), "64 numbers more, deployed() says otherwise"),
    ("modes", shaped(train=lambda self, mode=True: [train(self, mode)]), "eval() does not return"),
    ("modes", shaped(train=doubles, forward=halves), "the base weight after eval(): not the same bits"),
    ("stacking", shaped(stack=lambda self: [self]), "make a stack of 1"),
    ("counts", method(shape=type("shape", (Additive,), {"deployed": lambda self: 5}), n_deployed=lambda self, m, n: 5),
     "it merges, and still n_deployed says 5"),
    ("counts", method(BitFit, n_deployed=lambda self, m, n: 1), "the finished model is no larger"),
    ("sizes", method(sizes=lambda self, m, n: iter(())), "sizes offers nothing"),
    ("sizes", method(n_params=lambda self, m, n: 2.0 * (m + n)), "n_params gives "),
    ("sizes", method(n_params=lambda self, m, n: -1), "n_params gives -1"),
    ("options", Grows, "a copy has other options"),
    ("options", Nested, "another method comes back from"),
    ("draws", begins(lambda name, weight, generator: start(name, weight, torch.Generator().manual_seed(next(LOOKS)))),
     "equally seeded, the second time it starts elsewhere"),
    ("draws", begins(lambda name, weight, generator: start(name, weight, torch.Generator().manual_seed(
        (generator.initial_seed() & 0xFFFF) + zlib.crc32(name.encode())))), "two adapters on one layer get the same"),
    ("state", shaped(__deepcopy__=lambda self, memo: copy.deepcopy(self.linear)), "a deepcopy: not the same bits"),
    ("state", shaped(), "Can't pickle"),
    ("buffers", BufferWithGradient, "buffer 'mask' requires a gradient"),
    ("buffers", begins(lambda name, weight, generator: start(name, weight, generator, 1 + len(generator.get_state())
                                                             % 2 + int(torch.randint(8, (), generator=generator)))),
     "without calibrate, begin gives"),
    ("groups", method(param_groups=lambda self, model: [{"params": [model.first.linear.weight], "lr_scale": 2.0}]),
     "names a tensor that is not trained"),
    *(("groups", method(param_groups=lambda self, model, rate=rate: [{"params": [model.first.B]} | rate]),
       "a group has neither lr nor lr_scale") for rate in ({}, {"lr": 0}, {"lr_scale": "2"})),
    ("calibrate", FindsAnother, "two looks at the same data find"),
    ("half precision", answers(lambda y, x: y.float()), "torch.bfloat16: the output is torch.float32"),
    ("half precision", answers(lambda y, x: y + (y.dtype.itemsize == 2)), "torch.bfloat16: off by"),
    ("half precision", method(after_step=spoils(2)), "a number is not finite in step 2"),
    ("half precision", method(after_step=spoils(5)), "a weight is not finite"),
    ("half precision", answers(on_autocast(lambda y: y.float())), "under autocast the output is torch.float32"),
    ("half precision", answers(on_autocast(lambda y: y + 1)), "under autocast it is off by"),
    ("half precision",
     shaped(operator=lambda self: on_autocast(frozen_factor)(operator(self), None)),
     "autocast: no gradient"),
    ("resume", CountsForItself, "penalty of the record is another"),
    ("resume", answers(lambda y, x: y * NAN if torch.is_grad_enabled() else y), "FloatingPointError: loss: is nan"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "wrong", "words"), REFUSED, ids=lambda value: value if type(value) is str else "")
def test_the_sentence_is_said(check, wrong, words):
    (failure,) = check_method(wrong, shapes=((8, 8), (6, 9)), only=[check]).failures
    assert words in failure.detail


def test_each_step_of_the_checks_has_a_gradient_of_its_own():
    model = nn.Linear(3, 1)
    x = torch.ones(2, 3)
    stepped = steps(model, lambda: model(x).sum(), torch.optim.SGD(model.parameters(), lr=1.0), 3)
    assert [model.weight.grad.tolist() for _ in stepped] == [[[2.0, 2.0, 2.0]]] * 3
