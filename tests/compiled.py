"""Run as a program, without the shape checker of the tests, which a compiler cannot trace: every method, compiled.

python tests/compiled.py BACKEND [METHOD ...]
"""

import sys
import warnings

import torch
from adapter_cases import CONTRACT, ids
from torch import nn

from surm_lite.adapters import METHODS, adapt, trainable_parameters


def main(backend: str, *methods: str) -> None:
    warnings.simplefilter("error", UserWarning)
    warnings.filterwarnings("ignore", ".*should not be instantiated")  # torch's own, of an autograd.Function it traces
    warnings.filterwarnings("ignore", "Torchinductor does not support code generation for complex")
    torch.set_num_threads(1)
    for name, options in CONTRACT:
        if methods and name not in methods:
            continue
        torch.manual_seed(0)
        torch._dynamo.reset()
        model = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 6))
        losses = [lambda model=model: model(torch.ones(2, 12)).square().mean()]
        adapt(model, name, "*" if METHODS[name].wraps else None, losses=losses, **options)
        with torch.no_grad():
            for p in trainable_parameters(model):
                p.normal_(std=0.3)
        compiled = torch.compile(model, backend=backend, fullgraph=True)
        x = torch.randn(3, 5, 12, requires_grad=True)
        outputs = [net(x) for net in (model, compiled)]
        grads = [torch.autograd.grad(y.square().sum(), [x, *trainable_parameters(model)]) for y in outputs]
        torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-4)
        print(ids((name, options)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
