"""LoRA-Pro: its step against the projection on the tangent space, against brute force, its averages against Adam."""

from types import SimpleNamespace

import pytest
import torch
from resumable import pictures, small
from torch import nn

from surm_lite.adapters import LoRAPro, adapt
from surm_lite.adapters.methods.lorapro import tangent_step
from surm_lite.checks import check_method
from surm_lite.training.train import train

DOUBLE = {"dtype": torch.float64}
SHAPES = [(8, 8), (12, 7), (5, 11)]
SMALL = {"rtol": 1e-10, "atol": 1e-10}


def drawn(m, n, r=3, seed=0):
    chance = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=chance, **DOUBLE) for shape in ((r, n), (m, r), (m, n)))


def projected(A, B, G):
    PA, PB = torch.linalg.pinv(A) @ A, B @ torch.linalg.pinv(B)
    return PB @ G + G @ PA - PB @ G @ PA


def step(A, B, G, s):
    return tangent_step(A, B, s * B.mT @ G, s * G @ A.mT, s)


@pytest.mark.parametrize("s", [0.5, 2.0])
@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_the_weight_moves_along_the_projection_of_its_gradient(m, n, s):
    A, B, G = drawn(m, n)
    a, b = step(A, B, G, s)
    P = projected(A, B, G)
    torch.testing.assert_close(s * (B @ a + b @ A), P, **SMALL)
    slope = (s * B.mT @ G * a).sum() + (s * G @ A.mT * b).sum()
    torch.testing.assert_close(slope, P.square().sum(), **SMALL)  # downhill, and how steeply


@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_of_all_such_steps_it_is_the_nearest_to_the_gradients(m, n):
    """By least squares over the whole Jacobian of (a, b) -> s (B a + b A), whose solution of least norm is taken."""
    s, (A, B, G) = 1.5, drawn(m, n)
    gA, gB = s * B.mT @ G, s * G @ A.mT
    eye_m, eye_n = torch.eye(m, **DOUBLE), torch.eye(n, **DOUBLE)
    jacobian = s * torch.cat([torch.kron(B, eye_n), torch.kron(eye_m, A.mT.contiguous())], 1)  # of row-major vectors
    change = torch.linalg.pinv(jacobian, rcond=1e-10) @ (G - s * (B @ gA + gB @ A)).flatten()
    a, b = step(A, B, G, s)
    torch.testing.assert_close(a, gA + change[: A.numel()].view_as(A), **SMALL)
    torch.testing.assert_close(b, gB + change[A.numel() :].view_as(B), **SMALL)


def test_where_B_is_zero_only_B_moves():
    A, B, G = drawn(7, 9)
    a, b = step(A, torch.zeros_like(B), G, 2.0)
    assert not a.any()
    torch.testing.assert_close(2 * b @ A, G @ torch.linalg.pinv(A) @ A, **SMALL)


@pytest.mark.parametrize(("m", "n", "r"), [(7, 9, 4), (1, 1, 3), (3, 9, 5)])
def test_factors_without_full_rank(m, n, r):
    A, B, G = drawn(m, n, r)
    B[:, 0] = 0
    A[1] = A[2]
    a, b = step(A, B, G, 0.5)
    torch.testing.assert_close(0.5 * (B @ a + b @ A), projected(A, B, G), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("size", [1.0, 1e-2, 1e-4, 1e-6])
def test_in_float32_a_small_B_does_no_harm(size):
    """With a jitter of 1e-8 on B^T B the error is 2e-2 at 1e-4."""
    A, B, G = drawn(40, 30, 4)
    A, B, G = A.float(), (size * B).float(), G.float()
    a, b = step(A, B, G, 2.0)
    assert a.dtype == b.dtype == torch.float32
    exact = projected(A.double(), B.double(), G.double())
    error = 2 * (B.double() @ a.double() + b.double() @ A.double()) - exact
    assert error.norm() < 1e-6 * exact.norm()


def trained(steps, lr=0.05, **options):
    """A layer trained towards another matrix, and the gradients of its whole weight."""
    torch.manual_seed(0)
    model = adapt(nn.Sequential(nn.Linear(7, 5, bias=False, **DOUBLE)), "lorapro", "0", rank=2, alpha=3.0, **options)
    layer, method, target = model[0], model[0].method, torch.randn(5, 7, **DOUBLE)
    start = layer.A.detach().clone(), layer.B.detach().clone()
    for k in range(steps):
        layer.A.grad = layer.B.grad = None
        (layer.weight - target).square().sum().backward()
        method.after_backward(SimpleNamespace(step=k, lr=lr))
        assert layer.A.grad is layer.B.grad is None
        method.after_step(SimpleNamespace(step=k + 1, lr=lr))
    return layer, target, start


def loop(layer, target, start, steps, direction, lr=0.05):
    """The same with the whole weight: ``direction`` says what becomes of A, B and the gradient of W."""
    W0, s = layer.linear.weight.detach(), layer.method.scale
    A, B = start
    for k in range(1, steps + 1):
        G = 2 * (W0 + s * B @ A - target)
        a, b = direction(k, A, B, G, s)
        A, B = A - lr * a, B - lr * b
    torch.testing.assert_close(layer.A.detach(), A, **SMALL)
    torch.testing.assert_close(layer.B.detach(), B, **SMALL)


@pytest.mark.parametrize("rslora", [False, True])
def test_adam_is_adam_of_the_projected_gradient_projected_once_more(rslora):
    first = second = torch.zeros(5, 7, **DOUBLE)

    def direction(k, A, B, G, s):
        nonlocal first, second
        P = projected(A, B, G)
        first, second = 0.9 * first + 0.1 * P, 0.999 * second + 0.001 * P**2
        return step(A, B, first / (1 - 0.9**k) / ((second / (1 - 0.999**k)).sqrt() + 1e-8), s)

    loop(*trained(10, rslora=rslora), 10, direction)


def test_sgd_takes_the_step_itself():
    loop(*trained(5, variant="sgd"), 5, lambda k, A, B, G, s: step(A, B, G, s))


def test_efficient_is_torchs_adam_on_the_step():
    layer, target, (A, B) = trained(6, variant="efficient")
    A, B = nn.Parameter(A), nn.Parameter(B)
    adam, s = torch.optim.Adam([A, B], lr=0.05), layer.method.scale
    for _ in range(6):
        G = 2 * (layer.linear.weight + s * B @ A - target).detach()
        A.grad, B.grad = step(A.detach(), B.detach(), G, s)
        adam.step()
    torch.testing.assert_close(layer.A.detach(), A.detach(), **SMALL)
    torch.testing.assert_close(layer.B.detach(), B.detach(), **SMALL)


def test_all_variants_go_downhill_and_a_second_run_knows_nothing_of_the_first():
    for variant in ("adam", "efficient", "sgd"):
        layer, target, (A, B) = trained(20, variant=variant, lr=0.02)
        before = (layer.linear.weight + layer.method.scale * B @ A - target).norm()
        assert (layer.weight - target).norm() < 0.95 * before
    layer = trained(3)[0]
    method = layer.method
    assert {tuple(t.shape) for t in method.state_dict().values()} == {(5, 7)}
    assert len(method.state_dict()) == 2
    layer.A.grad, layer.B.grad = torch.ones_like(layer.A), torch.ones_like(layer.B)
    method.after_backward(SimpleNamespace(step=0, lr=0.1))
    fresh = method.moments["0/first"] / 0.1
    torch.testing.assert_close(method.moments["0/second"], 0.001 * fresh**2)


def test_efficient_resumes_with_its_averages():
    check_method("lorapro", shapes=((12, 8), (6, 9)), only=["resume"], variant="efficient").raise_if_failed()


def test_a_rate_that_is_too_large_is_named():
    with pytest.raises(FloatingPointError, match=r"loss: is nan at step 1 with lr .*; try a smaller lr"):
        train(small("lorapro", rank=4, alpha=1e-3), pictures(), epochs=4, lr=9e29, device="cpu", progress=False)


def test_bad_options_are_named():
    with pytest.raises(ValueError, match=r"variant of method 'lorapro' 'adm'; did you mean 'adam'"):
        LoRAPro(variant="adm")
    with pytest.raises(ValueError, match=r"alpha of method 'lorapro' is 0\.0; it must not be zero"):
        LoRAPro(alpha=0.0)
