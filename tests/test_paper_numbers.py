"""SURM's own numbers and starts, through the adapters: budgets (N), gradients at the start (O), precision (P)."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from surm_lite.adapters import adapt
from surm_lite.adapters.methods.registry import make_method
from surm_lite.matrices import Circulant


def numbers(method: str, width: int = 768, **options: object) -> int:
    return make_method(method, options).n_params(width, width)


def test_budgets_of_the_paper():
    two_vectors = numbers("circulant", product=True)
    assert 12 * 3 * two_vectors == 12 * 3 * numbers("lora", rank=1) == 55_296  # N1: the "55K" on q, k, v
    assert 12 * 2 * two_vectors == 36_864  # N2, N3: two adapters a block without bias; q and v only
    assert 12 * 2 * (two_vectors + 768) == 55_296  # N2: the same with bias
    assert 32 * 4 * numbers("ldr", 4096, rank=4) == 4_194_304  # N4: Llama-2-7B, q, k, v, o
    assert 32 * 4 * numbers("lora", 4096, rank=256) == 64 * 4_194_304  # N4
    assert 1_900 < 110e6 / 55_296 < 2_000  # N5: "almost 2000x"
    assert pytest.approx(0.219) == 3.65 * 0.06  # N6: the LoRA that 3.65 times the numbers implies, in millions


def start(method: str, **options: object) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """One adapted layer and the gradients of its numbers at the start."""
    linear = nn.Linear(9, 9, dtype=torch.float64)
    layer = adapt(nn.Sequential(linear), method, targets="0", **options)[0]
    return layer, gradients(layer)


def gradients(layer: nn.Module) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    x, g = (torch.randn(5, 9, dtype=torch.float64, generator=rng) for _ in "xg")
    own = dict(layer.named_parameters(recurse=False))
    return dict(zip(own, torch.autograd.grad((layer(x) * g).sum(), list(own.values()))))


def test_a_single_zero_circulant_learns_at_once():
    _, found = start("circulant")  # O1
    assert found["kernel"].abs().min() > 1e-3


def test_of_two_vectors_the_random_one_waits_and_is_a_gain():
    layer, found = start("circulant", product=True)  # O2
    assert not found["gain"].any()
    torch.testing.assert_close(found["kernel"], layer.gain.detach() * start_of_single_vector(layer))
    with torch.no_grad():
        layer.gain.zero_()
    assert not any(grad.any() for grad in gradients(layer).values())  # O3: a saddle


def start_of_single_vector(layer: nn.Module) -> torch.Tensor:
    single = adapt(nn.Sequential(layer.linear), "circulant", targets="0")[0]
    return gradients(single)["kernel"]


def test_of_an_ldr_only_the_zero_factor_learns_first():
    layer, found = start("ldr", rank=2)  # O8
    zero = {name for name, p in layer.named_parameters(recurse=False) if not p.any()}
    assert {name for name, grad in found.items() if grad.any()} == zero
    assert len(zero) == 1


def test_gelu_has_a_slope_at_zero_and_relu_has_none():
    zero = torch.zeros((), requires_grad=True)  # O9
    assert torch.autograd.grad(F.gelu(zero), zero)[0] == 0.5
    assert torch.autograd.grad(F.relu(zero), zero)[0] == 0


@pytest.mark.parametrize("n", [64, 1000, 4096, 10_007])
def test_float32_is_enough_for_a_product(n):
    rng = torch.Generator().manual_seed(0)  # P1
    c, x = (torch.randn(n, dtype=torch.float64, generator=rng) for _ in "cx")
    wanted = Circulant(c).apply(x)
    assert (Circulant(c.float()).apply(x.float()) - wanted).norm() < 1e-6 * wanted.norm()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_works_where_torchs_fft_does_not(dtype):
    rng = torch.Generator().manual_seed(0)  # P2
    c, x = (torch.randn(24, generator=rng).to(dtype) for _ in "cx")
    with pytest.raises(RuntimeError):
        torch.fft.rfft(c)
    wanted = Circulant(c.float()).apply(x.float())
    torch.testing.assert_close(Circulant(c).apply(x).float(), wanted, rtol=0.05, atol=0.1)
