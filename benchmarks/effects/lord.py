"""LoRD against the SVD of the weights: a trained network is cut once, and not trained again."""

import copy
from math import floor

import torch
import torch.nn.functional as F
from keep import keep
from torch import Tensor, nn

import surm_lite as sl
from surm_lite.adapters.factored import balanced
from surm_lite.data import LabelledSet
from surm_lite.data.images import prepare
from surm_lite.evaluate import accuracy
from surm_lite.models import ViT, ViTConfig, tiny_vit

WHAT = (
    "Three trained ViTs, all linear layers of their blocks cut to a share of their weights, without training after it: "
    "test accuracy of the SVD of each weight, of the same with a bias that puts the mean of the outputs right, and of "
    "LoRD. The tiny ViT, pretrained and then trained whole on 1,000 images of mnist5k; and a ViT of 3 blocks and "
    "width 64, trained on 1,000 digits from weights of deviation .02 and from torch's start of a linear layer. Means "
    "and LoRD look at 256 training images, before any cut; training and these images vary with the seed"
)
SHARES = (1.0, 0.75, 0.5, 0.25, 0.125)
KINDS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


def tiny(seed: int, steps: int | None = None) -> tuple[ViT, LabelledSet]:
    """The shipped network, trained whole on another task."""
    model, data = tiny_vit(num_classes=10, seed=seed).requires_grad_(True), sl.data.load("mnist5k")
    sl.train(model, data, epochs=8, lr=1e-3, seed=seed, max_steps=steps, device="cpu", progress=False)
    return model, data


def fresh(seed: int, torch_start: bool) -> tuple[ViT, LabelledSet]:
    """A narrow network, from one of two starts of the layers in its blocks, and its digits."""
    data, config = sl.data.load("digits"), ViTConfig(image_size=8, patch_size=2, width=64, depth=3)
    model = ViT(config, generator=torch.Generator().manual_seed(seed))
    if torch_start:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for layer in layers(model).values():
                layer.reset_parameters()
    return model, data


def small(seed: int, torch_start: bool, steps: int | None = None) -> tuple[ViT, LabelledSet]:
    model, data = fresh(seed, torch_start)
    sl.train(model, data, epochs=12, lr=2e-3, seed=seed, max_steps=steps, device="cpu", progress=False)
    return model, data


NETS = {"tiny": tiny, "small_start": lambda seed: small(seed, False), "torch_start": lambda seed: small(seed, True)}


def layers(model: ViT) -> dict[str, nn.Linear]:
    names = [f"blocks.{k}.{kind}" for k in range(len(model.blocks)) for kind in KINDS]
    return {name: model.get_submodule(name) for name in names}


def rank_of(share: float, m: int, n: int) -> int:
    """The largest rank whose two factors have at most this share of the numbers of the weight."""
    return floor(share * m * n / (m + n))


def lord(model: ViT, data: LabelledSet, share: float, seed: int) -> ViT:
    """A call for each kind of layer, because a rank belongs to a shape; each looks at the network before any cut."""
    cut = copy.deepcopy(model)
    for kind in KINDS:
        one = copy.deepcopy(model)
        losses = data.task.losses(one, data, count=8, batch_size=32, seed=seed)
        rank = rank_of(share, *one.blocks[0].get_submodule(kind).weight.shape)
        sl.thin(sl.adapt(one, "lord", f"blocks.*.{kind}", keep=(), rank=rank, losses=losses))
        for name in layers(model):
            if name.endswith(kind):
                cut.set_submodule(name, one.get_submodule(name))
    return cut


@torch.no_grad()
def svd(model: ViT, share: float, means: dict[str, Tensor] | None = None) -> ViT:
    """The best copy of each weight; with the means of the inputs, a bias that leaves the means of the outputs."""
    cut = copy.deepcopy(model)
    for name, layer in layers(cut).items():
        m, n = layer.weight.shape
        B, A = balanced(layer.weight, rank_of(share, m, n)).values()
        bias = layer.bias if means is None else layer.bias + (layer.weight - B @ A) @ means[name]
        thin = nn.Sequential(nn.Linear(n, len(A), bias=False), nn.Linear(len(A), m))
        for parameter, value in zip(thin.parameters(), (A, B, bias)):
            parameter.copy_(value)
        cut.set_submodule(name, thin)
    return cut


@torch.no_grad()
def means_of(model: ViT, data: LabelledSet, seed: int) -> dict[str, Tensor]:
    """The mean input of each layer, over the images that LoRD looks at."""
    sums: dict[str, list[Tensor]] = {name: [] for name in layers(model)}
    hooks = [
        layer.register_forward_pre_hook(lambda _, x, name=name: sums[name].append(x[0].flatten(0, -2).mean(0)))
        for name, layer in layers(model).items()
    ]
    for loss in data.task.losses(model, data, count=8, batch_size=32, seed=seed):
        loss()
    for hook in hooks:
        hook.remove()
    return {name: torch.stack(found).mean(0) for name, found in sums.items()}


def arms(model: ViT, data: LabelledSet, share: float, seed: int, means: dict[str, Tensor]) -> dict[str, ViT]:
    return {
        "svd": svd(model, share),
        "svd_mean": svd(model, share, means),
        "lord": lord(model, data, share, seed),
    }


def run(seed: int) -> dict:
    return {name: cut_down(*make(seed), seed) for name, make in NETS.items()}


def cut_down(model: ViT, data: LabelledSet, seed: int) -> dict:
    dense = sum(layer.weight.numel() for layer in layers(model).values())
    means = means_of(model, data, seed)
    found: dict = {"dense": accuracy(model, data.test), "dense_numbers": dense, "numbers": [], "test": {}}
    for share in SHARES:
        cut = arms(model, data, share, seed, means)
        for name, net in cut.items():
            found["test"].setdefault(name, []).append(accuracy(net, data.test))
        thin = [layer for layer in cut["lord"].blocks.modules() if isinstance(layer, nn.Linear)]
        found["numbers"].append(sum(layer.weight.numel() for layer in thin))
    return found


def part() -> dict:
    """Torch's start, forty steps, a quarter of the weights: the loss on the test images, dense and cut."""
    model, data = small(0, True, steps=40)
    nets = {"dense": model} | arms(model, data, 0.25, 0, means_of(model, data, 0))
    x = prepare(data.test.inputs, model.image_format)
    with torch.no_grad():
        return {name: F.cross_entropy(net.eval()(x), data.test.labels).item() for name, net in nets.items()}


if __name__ == "__main__":
    keep(__file__, WHAT, run, part)
