"""Importing the library is quick, light and leaves no trace."""

import subprocess
import sys
from textwrap import dedent


def python(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_cost_beyond_torch():
    """The best of three runs: a loaded machine may slow one of them down."""
    code = """
        import time, torch, numpy
        start = time.perf_counter()
        import surm_lite
        print(time.perf_counter() - start)
    """
    assert min(float(python(code)) for _ in range(3)) < 1.0


def test_nothing_heavy_comes_along():
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
    loaded = python("import sys, surm_lite; print(*{name.split('.')[0] for name in sys.modules})").split()
    assert not heavy & set(loaded)
    extra = python("""
        import sys, torch
        before = set(sys.modules)
        import surm_lite
        print("torch._dynamo" in set(sys.modules) - before, "torch._inductor" in set(sys.modules) - before)
    """)
    assert extra == "False False"


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
    code = """
        import surm_lite
        missing = [name for name in surm_lite.__all__ if not hasattr(surm_lite, name)]
        print(missing, len(set(surm_lite.__all__)) == len(surm_lite.__all__), surm_lite.__version__)
    """
    assert python(code).startswith("[] True ")


def test_no_warning_on_import():
    subprocess.run([sys.executable, "-W", "error", "-c", "import torch, surm_lite"], check=True, timeout=120)
