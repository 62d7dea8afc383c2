"""Run as a program, without the shape checker of the tests, which a compiler cannot trace: every method, compiled.

python tests/compiled.py BACKEND [METHOD ...]
"""

import sys
import warnings

import torch
from adapter_cases import CASES, ids, trained

from surm_lite.adapters import trainable_parameters


def main(backend: str, *methods: str) -> None:
    warnings.filterwarnings("ignore", "Torchinductor does not support code generation for complex")
    torch.set_num_threads(1)
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    for case in CASES:
        if methods and case[0] not in methods:
            continue
        torch._dynamo.reset()
        model = trained(case[0], ("blocks.0.qkv", "blocks.0.fc2"), **case[1])
        compiled = torch.compile(model, backend=backend, fullgraph=True)
        outputs = [net(images) for net in (model, compiled)]
        grads = [torch.autograd.grad(y.square().sum(), trainable_parameters(model)) for y in outputs]
        torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-4)
        print(ids(case))


if __name__ == "__main__":
    main(*sys.argv[1:])
