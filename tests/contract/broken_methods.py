"""Methods of fine-tuning with one defect each, and the checks of the contract that see it: all of them, and no others.

Most defects were met in published adapter code, or in ours; each is one line away from a method that passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from surm_lite.adapters import LoRA, frozen
from surm_lite.adapters.additive import Additive
from surm_lite.adapters.methods.whole import BitFit

EXHIBITS: list[tuple[type, frozenset[str]]] = []


def flagged(*checks: str) -> Callable[[type], type]:
    """Puts a class among the exhibits, with the names of all checks that it fails."""

    def show(cls: type) -> type:
        EXHIBITS.append((cls, frozenset(checks)))
        return cls

    return show


@dataclass
class Small(LoRA):
    """What the exhibits are one line away from; ``shape`` is the class of its adapters."""

    name = "small"
    shape = Additive
    rank: int = 2

    def wrap(self, name, layer, generator):
        weight = layer.weight.detach()
        return self.shape(layer, self, self.begin(name, frozen.wide(weight), generator))


@flagged("start")
class NotAtRest(Small):
    """Both factors are drawn, and ``exact_at_init`` still says True."""

    def begin(self, name, weight, generator):
        tensors = super().begin(name, weight, generator)
        return tensors | {"B": torch.rand(tensors["B"].shape, generator=generator)}


@flagged("forward", "gradients", "merging", "stacking")
class CountsTwice(Small):
    """The update is added to an output that has it already, as in a layer that forgets that it is merged."""

    class shape(Additive):
        def forward(self, x):
            y, S = super().forward(x), self.operator()
            return y + S.apply(x.to(S.dtype)).to(y.dtype)


@flagged("forward")
class NoEmptyBatch(Small):
    """It looks at the largest number of x, and of none there is none."""

    class shape(Additive):
        def forward(self, x):
            scale = x.detach().abs().max()
            return super().forward(x / scale) * scale if scale > 1e30 else super().forward(x)


@flagged("gradients")
class InputDetached(Small):
    """The right values; but no gradient reaches the layers before through the update."""

    class shape(Additive):
        def forward(self, x):
            y, S = self.base_layer(x), self.operator()
            return y + S.apply(x.detach().to(S.dtype)).to(y.dtype)


@flagged("merging", "stacking")
class WrongMerge(Small):
    """Merging forgets the scale."""

    class shape(Additive):
        def merge(self, *arguments, **options):
            with torch.no_grad():
                return frozen.linear(self.linear.weight + 1.5 * (self.weight - self.linear.weight), self.bias)


@flagged("merging")
class MergesInPlace(Small):
    """Merging edits the base weight, so unmerging cannot give it back."""

    class shape(Additive):
        def merge(self, *arguments, **options):
            layer = super().merge(*arguments, **options)
            self.linear.weight.data.add_(1e-3)
            return layer


@flagged("merging")
class DrawsInMerge(Small):
    """A layer is initialised only to be overwritten: torch's global generator moves on."""

    class shape(Additive):
        def merge(self, *arguments, **options):
            nn.Linear(2, 2)
            return super().merge(*arguments, **options)


@flagged("modes", "merging", "file", "learns", "resume")
class MergesInEval(Small):
    """``eval`` adds the update to the weight, as the first LoRA code did; here it is never taken out."""

    class shape(Additive):
        def train(self, mode=True):
            if not mode and "A" in self._parameters:
                with torch.no_grad():
                    self.linear.weight.add_(self.operator().to_dense().to(self.linear.weight.dtype))
            return super().train(mode)


@flagged("stacking")
class ForgetsBelow(Small):
    """It calls the frozen layer at the bottom and not the adapter beneath it."""

    class shape(Additive):
        def forward(self, x):
            y, S = self.linear(x), self.operator()
            return y + S.apply(x.to(S.dtype)).to(y.dtype)


@flagged("half precision")
class HalfFactors(Small):
    """The factors have the dtype of the base: sixteen bits are too few for the steps of an optimiser."""

    def wrap(self, name, layer, generator):
        return super().wrap(name, layer, generator).to(layer.weight.dtype)


@flagged("alive", "learns", "state", "alpha", "stacking", "half precision")
class Dead(Small):
    """A product with a factor that is zero for ever."""

    def operator(self, m, n, tensors):
        return super().operator(m, n, {"A": tensors["A"], "B": 0 * tensors["B"]})


@flagged("trained", "counts", "sizes", "alive", "learns")
class FrozenFactor(Small):
    """One factor is frozen by hand, and the formula counts it."""

    def wrap(self, name, layer, generator):
        adapter = super().wrap(name, layer, generator)
        adapter.B.requires_grad_(False)
        return adapter


@flagged("counts", "sizes")
class Miscounted(Small):
    """The formula forgets one of the factors."""

    def n_params(self, m, n):
        return self.rank * m


@flagged("counts")
class MiscountedFile(Small):
    """A saved buffer is no number of the file, says the formula."""

    def begin(self, name, weight, generator):
        return super().begin(name, weight, generator) | {"mask": nn.Buffer(torch.ones(weight.shape[1]))}


@flagged("counts", "sizes")
class MaskTrained(Small):
    """A mask is a plain tensor, so it is trained; an ``nn.Buffer`` was meant."""

    def begin(self, name, weight, generator):
        return super().begin(name, weight, generator) | {"mask": torch.ones(weight.shape[1])}

    def operator(self, m, n, tensors):
        return super().operator(m, n, {"A": tensors["A"] * tensors["mask"], "B": tensors["B"]})


@flagged("counts")
class MiscountedDeployment(Small):
    """It merges, and still says that the finished layer is larger."""

    def n_deployed(self, m, n):
        return self.n_params(m, n)


@flagged("counts")
class MiscountedBiases(BitFit):
    """A method without layers counts too."""

    name = "small"

    def n_params(self, m, n):
        return n + 1


@flagged("sizes")
class NoSuchSize(Small):
    """The smallest budget offered is one that the options refuse."""

    def sizes(self, m, n):
        yield {"rank": 0}


@flagged("alpha")
class AlphaSquared(Small):
    """The scale goes into both factors whole."""

    def operator(self, m, n, tensors):
        return super().operator(m, n, {"A": self.alpha * tensors["A"], "B": tensors["B"]})


@flagged("options", "file", "resume")
@dataclass
class Unwritable(Small):
    """An option that no file can hold."""

    draw: Any = torch.zeros


@flagged("draws")
class GlobalChance(Small):
    """It draws from torch's global generator, whose state is somebody else's."""

    def begin(self, name, weight, generator):
        tensors = super().begin(name, weight, generator)
        return tensors | {"A": tensors["A"] + 0 * torch.randn(tensors["A"].shape)}


@flagged("draws")
class SameOnEveryLayer(Small):
    """One seed for all layers."""

    def begin(self, name, weight, generator):
        return super().begin(name, weight, torch.Generator().manual_seed(generator.initial_seed() & 0xFFFF))


@flagged("buffers", "state", "file")
class BasisNotSaved(Small):
    """A frozen basis is drawn from the stream of the layer and not saved: another start has another one."""

    def begin(self, name, weight, generator):
        tensors = super().begin(name, weight, generator)
        return {"A": nn.Buffer(tensors["A"], persistent=False), "B": tensors["B"]}

    def n_params(self, m, n):
        return self.rank * m


@flagged("state", "file")
class NumberNotSaved(Small):
    """What the layer computes with is an attribute: neither a tensor nor an option."""

    class shape(Additive):
        gain = 1.0

        def operator(self):
            S = super().operator()
            return S.with_tensors(self.gain * S.tensors[0], *S.tensors[1:])

    def stir(self, adapter, generator):
        super().stir(adapter, generator)
        adapter.gain = 2.0


@flagged("groups", "resume")
class NamesTwice(Small):
    """A tensor in two groups of the optimiser."""

    def param_groups(self, model):
        B = [adapter.B for adapter in self.layers.values()]
        return [{"params": B, "lr_scale": 2.0}, {"params": B, "lr_scale": 4.0}]


@flagged("calibrate")
class LeavesHook(Small):
    """It watches the layers, and goes on watching."""

    def calibrate(self, model, layers, losses):
        for layer in layers.values():
            layer.register_forward_hook(lambda *args: None)


@flagged("calibrate")
class WarmsUp(Small):
    """It takes a step on the frozen weights."""

    def calibrate(self, model, layers, losses):
        for layer in layers.values():
            layer.weight.data.mul_(0.99)


@flagged("calibrate")
class LeavesGradients(Small):
    """``backward`` in place of ``autograd.grad``: the gradient of a weight that has one already grows."""

    def calibrate(self, model, layers, losses):
        model.head.bias.requires_grad_(True)
        losses[0]().backward()


@flagged("calibrate", "file", "resume", "buffers", "state")
@dataclass
class KeepsToItself(Small):
    """What it found is no option: a file and a resumed run would have to look at data again."""

    needs = ("losses",)
    size: float | None = field(default=None, init=False, repr=False)

    def ready(self):
        return self.size is not None

    def calibrate(self, model, layers, losses):
        self.size = float(losses[0]())


@flagged("learns", "resume")
class MovesFrozen(Small):
    """A hook edits the frozen weight, which no checkpoint holds."""

    def after_step(self, state):
        for adapter in self.layers.values():
            adapter.linear.weight.data.mul_(0.9)


@flagged("resume")
@dataclass
class ForgetsAverage(Small):
    """A running average that the next step needs, and no ``state_dict``."""

    average: float = field(default=0.0, init=False, repr=False, compare=False)

    def after_backward(self, state):
        for adapter in self.layers.values():
            adapter.B.grad.mul_(1 + self.average)
            self.average = 0.5 * self.average + 0.1
