"""TRP against training and then cutting, at the same numbers; and Cuttlefish beside them."""

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from keep import keep
from lord import fresh, layers
from torch import Tensor

import surm_lite as sl
from surm_lite.adapters.attached import methods_of
from surm_lite.adapters.methods.cuttlefish import Cuttlefish
from surm_lite.adapters.methods.trp import TRP, keeps
from surm_lite.data import LabelledSet
from surm_lite.data.images import prepare
from surm_lite.evaluate import accuracy
from surm_lite.models import ViT
from surm_lite.training.record import Record

WHAT = (
    "A ViT of 3 blocks and width 64, trained for 15 epochs on 1,000 digits, from torch's start of a linear layer and "
    "from weights of deviation .02: TRP (period 20, nuclear norm 3e-4) at three energies; the same layers trained "
    "whole and cut afterwards to shares of the energy, and to the numbers of TRP; and Cuttlefish, cut after 5 epochs "
    "to the stable rank and to the scaled one. Numbers are those of the 12 linear layers of the blocks, deployed. Of "
    "two rates each, the one with the best validation accuracy after the cut; where numbers are those of TRP, tests "
    "lists both"
)
EPOCHS, LRS, ENERGIES, CUTS = 15, (2e-3, 6e-3), (0.98, 0.95, 0.9), (0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
WATCHED = "blocks.1.mlp.fc1"
KEEP = ("patch_embed", "pos_embed", "cls_token", "norm", "norm1", "norm2", "head")


@dataclass
class Watched(TRP):
    """TRP that remembers the singular values of one layer, at the start and after each epoch."""

    seen: list[list[float]] = field(default_factory=list, init=False, repr=False, compare=False)

    def look(self) -> None:
        s = torch.linalg.svdvals(self.layers[WATCHED].tensors()["full"].detach())
        self.seen.append([float(f"{x:.3g}") for x in s.tolist()])

    def before_step(self, state: Any) -> None:
        if not state.step:
            self.look()
        super().before_step(state)

    def after_epoch(self, state: Any) -> bool:
        self.look()
        return super().after_epoch(state)


def trained(
    method: Any, torch_start: bool, lr: float, seed: int, steps: int | None = None
) -> tuple[ViT, Record, LabelledSet]:
    """All is trained, and these layers by a method that compresses."""
    model, data = fresh(seed, torch_start)
    sl.adapt(model, method, list(layers(model)), keep=KEEP, seed=seed)
    record = sl.train(model, data, epochs=EPOCHS, lr=lr, seed=seed, max_steps=steps, device="cpu", progress=False)
    return model, record, data


def whole() -> TRP:
    """Never cut: plain training of the same layers."""
    return Watched(energy=1.0, nuclear=0.0, period=10**6)


@torch.no_grad()
def cut(model: ViT, energy: float) -> tuple[ViT, int]:
    """The network with every trained weight cut to its share of the energy, and what it deploys."""
    model, numbers = copy.deepcopy(model), 0
    for adapter in layers(model).values():
        W: Tensor = adapter.full.data
        U, s, Vh = torch.linalg.svd(W, full_matrices=False)
        kept = keeps(s, energy)
        W.copy_(U * (s * kept) @ Vh)
        numbers += min(int(kept.sum()) * sum(W.shape), W.numel())
    return model, numbers


def cut_to(model: ViT, numbers: int) -> ViT:
    """The largest energy that deploys no more than these numbers, to a thousandth."""
    low, high = 0, 1000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cut(model, middle / 1000)[1] <= numbers else (low, middle)
    return cut(model, low / 1000)[0]


def scores(model: ViT, data: LabelledSet) -> tuple[float, float]:
    return accuracy(model, data.validation), accuracy(model, data.test)


def deployed(model: ViT) -> int:
    return sum(adapter.deployed() + adapter.linear.weight.numel() for adapter in layers(model).values())


def run(seed: int) -> dict:
    return {"torch_start": compare(seed, True), "small_start": compare(seed, False)}


def best(tried: list[dict]) -> dict:
    return max(tried, key=lambda one: one["validation"])


def compare(seed: int, torch_start: bool) -> dict:
    plain = [(lr, *trained(whole(), torch_start, lr, seed)) for lr in LRS]
    data, found = plain[0][3], {"trp": [], "same_numbers": [], "same_energy": []}
    found["whole"] = best([row(lr, *scores(model, data), deployed(model)) for lr, model, _, _ in plain])
    for energy in CUTS:
        tried = [(lr, *cut(model, energy)) for lr, model, _, _ in plain]
        found["same_energy"].append({"energy": energy} | best([row(lr, *scores(m, data), n) for lr, m, n in tried]))
    spectra = {"1.0": methods_of(plain[1][1])[0].seen}
    for energy in ENERGIES:
        tried = [(lr, *trained(Watched(energy=energy), torch_start, lr, seed)) for lr in LRS]
        chosen = best([row(lr, *scores(model, data), deployed(model)) for lr, model, _, _ in tried])
        found["trp"].append({"energy": energy} | chosen)
        spectra[str(energy)] = methods_of(tried[1][1])[0].seen
        rivals = [
            row(lr, *scores(cut_to(model, chosen["numbers"]), data), chosen["numbers"]) for lr, model, _, _ in plain
        ]
        tests = [one["test"] for one in rivals]
        found["same_numbers"].append({"energy": energy} | best(rivals) | {"tests": tests})
    if torch_start:
        for name, scaled in (("cuttlefish", False), ("cuttlefish_scaled", True)):
            fish = [(lr, *trained(Cuttlefish(epoch=5, scaled=scaled), True, lr, seed)) for lr in LRS]
            found[name] = best([row(lr, *scores(model, data), deployed(model)) for lr, model, _, _ in fish])
        if not seed:
            found["spectra"] = spectra
    return found


def row(lr: float, validation: float, test: float, numbers: int) -> dict:
    return {"lr": lr, "validation": validation, "test": test, "numbers": numbers}


def part() -> dict:
    """Forty-one steps from torch's start at energy .9: the loss after the last cut, and what is deployed."""
    model, _, data = trained(Watched(energy=0.9), True, 2e-3, 0, steps=41)
    with torch.no_grad():
        loss = F.cross_entropy(model.eval()(prepare(data.test.inputs, model.image_format)), data.test.labels)
    return {"loss": loss.item(), "numbers": deployed(model)}


if __name__ == "__main__":
    keep(__file__, WHAT, run, part)
