"""LoRAE on pictures of which four numbers are all there is to say: how many latent directions does it take?"""

from typing import Any

import torch
from keep import keep
from torch import Tensor, nn

import surm_lite as sl
from surm_lite.data import LabelledSet, Split
from surm_lite.tasks import Reconstruction

WHAT = (
    "An autoencoder of 256, 128, 32, 128 and 256 units, on 2,000 pictures of 16 x 16 with one Gaussian blob each: "
    "place, width and brightness are its four factors. LoRAE at the waist with four weights of the nuclear norm, M "
    "from torch's start (for two of them also from I), and the same network without M; 2,500 steps of 100, Adam, of "
    "two rates the one with the better validation error. Test errors, without the penalty: as they are, and after "
    "keeping the first k principal directions of the latent vectors; directions with more than a thousandth of the "
    "largest variance; singular values of M above 0.01"
)
STEPS, BATCH, LRS = 2500, 100, (1e-3, 3e-3)
ARMS = {f"{nuclear:g}": {"nuclear": nuclear} for nuclear in (0.0, 1e-5, 1e-4, 1e-3)} | {
    f"{nuclear:g} from I": {"nuclear": nuclear, "init": "identity"} for nuclear in (1e-4, 1e-3)
}
WALK = (-2, -1, 0, 1, 2)


def blobs(count: int, seed: int) -> Tensor:
    """Pictures (count, 1, 16, 16) of one blob each."""
    u = torch.rand(count, 4, generator=torch.Generator().manual_seed(seed))
    x, y, width, bright = 4 + 8 * u[:, 0], 4 + 8 * u[:, 1], 1.5 + 1.5 * u[:, 2], 0.4 + 0.6 * u[:, 3]
    pixels = torch.arange(16.0)
    squares = (pixels[:, None] - y[:, None, None]).square() + (pixels - x[:, None, None]).square()
    pictures = bright[:, None, None] * torch.exp(-squares / (2 * width.square())[:, None, None])
    return (pictures * 255).round().to(torch.uint8)[:, None]


def dataset(seed: int) -> LabelledSet:
    x, nothing = blobs(3000, seed), torch.zeros(3000, dtype=torch.int64)
    train, validation, test = (Split(x[a:b], nothing[a:b]) for a, b in ((0, 2000), (2000, 2500), (2500, 3000)))
    return LabelledSet("blobs", train, validation, test, ("blob",), "made here", task=Reconstruction())


def autoencoder(seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = nn.Flatten(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 32)
        return nn.Sequential(*encoder, nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 256))


def trained(
    options: dict[str, Any] | None, lr: float, seed: int, steps: int = STEPS
) -> tuple[nn.Sequential, LabelledSet, float]:
    """A trained autoencoder, with LoRAE on the last layer of its encoder or without, and its validation error."""
    model, data = autoencoder(seed), dataset(seed)
    if options is not None:
        sl.adapt(model, "lorae", "3", keep=("1", "4", "6"), seed=seed, **options)
    epochs = STEPS * BATCH // len(data.train)
    record = sl.train(
        model,
        data,
        epochs=epochs,
        lr=lr,
        batch_size=BATCH,
        schedule="constant",
        seed=seed,
        max_steps=steps,
        evaluate_every=epochs,
        device="cpu",
        progress=False,
    )
    return model, data, -record.validation_score[max(record.validation_score)]


def pixels(part: Split) -> Tensor:
    return part.inputs.float() / 255


@torch.no_grad()
def look(model: nn.Sequential, data: LabelledSet) -> dict[str, Any]:
    """Errors, and what the latent space is made of."""
    encode, decode = model[:4], model[4:]
    values, axes, mean = principal(encode(pixels(data.train)))
    z, x = encode(pixels(data.test)).double(), pixels(data.test).flatten(1)
    kept = [mean + (z - mean) @ axes[:, :k] @ axes[:, :k].T for k in range(1, 9)]
    found = {
        "mse": error(decode(z.float()), x),
        "mse_k": [error(decode(part.float()), x) for part in kept],
        "directions": int((values > 1e-3 * values[0]).sum()),
        "variances": [float(f"{v:.3g}") for v in (values / values[0]).tolist()],
    }
    if hasattr(model[3], "M"):
        found["of_M"] = int((torch.linalg.svdvals(model[3].M) > 0.01).sum())
    return found


def principal(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Variances, largest first, their directions as columns, and the mean."""
    z = z.double()
    values, axes = torch.linalg.eigh(torch.cov(z.T))
    axes = axes.flip(1)
    signs = axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    return values.flip(0).clamp(min=0), axes * signs, z.mean(0)


def error(y: Tensor, x: Tensor) -> float:
    return (y - x).square().mean().item()


@torch.no_grad()
def walk(model: nn.Sequential, data: LabelledSet) -> list[list[str]]:
    """For each of the first six directions the decoded pictures along it, a byte a pixel."""
    values, axes, mean = principal(model[:4](pixels(data.train)))
    steps = [[mean + w * values[k].sqrt() * axes[:, k] for w in WALK] for k in range(6)]
    pictures = model[4:](torch.stack([torch.stack(row) for row in steps]).float())
    return [[bytes(p.clamp(0, 1).mul(255).round().to(torch.uint8).tolist()).hex() for p in row] for row in pictures]


def run(seed: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, options in {"no M": None, **ARMS}.items():
        tried = [(lr, *trained(options, lr, seed)) for lr in LRS]
        lr, model, data, validation = min(tried, key=lambda one: one[3])
        found[name] = {"lr": lr, "validation": validation} | look(model, data)
        if not seed and name in ("0", "0.001"):
            found[name]["walk"] = walk(model, data)
    return found


def part() -> dict[str, Any]:
    """Two hundred steps at 1e-3: error, nuclear norm of M and the first variances."""
    model, data, validation = trained(ARMS["0.001"], 1e-3, 0, steps=200)
    nuclear = torch.linalg.matrix_norm(model[3].M.detach(), "nuc").item()
    return {"validation": validation, "nuclear": nuclear, "mse": look(model, data)["mse"]}


if __name__ == "__main__":
    keep(__file__, WHAT, run, part)
