"""Importing the library brings nothing heavy and leaves no trace."""

import subprocess
import sys
from textwrap import dedent

import surm_lite


def python(code: str) -> str:
    """What the code prints in a fresh interpreter where every warning is an error."""
    command = [sys.executable, "-W", "error", "-c", dedent(code)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_nothing_heavy_comes_along():
    code = """
        import sys, torch
        before = set(sys.modules)
        import surm_lite
        print(*{name for name in set(sys.modules) - before})
    """
    loaded = set(python(code).split())
    heavy = {
        "matplotlib",
        "ipywidgets",
        "IPython",
        "scipy",
        "sklearn",
        "pandas",
        "transformers",
        "peft",
        "PIL",
        "mlxtend",
    }
    assert not {name for name in loaded if name.split(".")[0] in heavy}
    assert not loaded & {"torch._dynamo", "torch._inductor", "torch.utils.flop_counter"}


def test_no_global_state_changes():
    code = """
        import locale, os, random, signal, sys, warnings
        import numpy as np, torch

        def state():
            return {
                "dtype": torch.get_default_dtype(),
                "device": str(torch.get_default_device()),
                "grad": torch.is_grad_enabled(),
                "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
                "deterministic": torch.are_deterministic_algorithms_enabled(),
                "matmul": torch.get_float32_matmul_precision(),
                "warn always": torch.is_warn_always_enabled(),
                "printing": repr(torch._tensor_str.PRINT_OPTS),
                "rng": torch.get_rng_state().tolist(),
                "python rng": random.getstate(),
                "numpy rng": str(np.random.get_state()),
                "numpy printing": str(np.get_printoptions()),
                "numpy errors": np.geterr(),
                "warnings": list(warnings.filters),
                "environment": dict(os.environ),
                "path": list(sys.path),
                "hooks": (sys.excepthook, sys.displayhook, signal.getsignal(signal.SIGINT)),
                "folder": os.getcwd(),
            }

        before = state()
        import surm_lite
        after = state()
        print([name for name in before if before[name] != after[name]])
    """
    assert python(code) == "[]"


def test_public_names_exist():
    assert all(hasattr(surm_lite, name) for name in surm_lite.__all__)
    assert len(set(surm_lite.__all__)) == len(surm_lite.__all__)
