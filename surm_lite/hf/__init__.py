"""SURM as a method of Hugging Face peft: importing this module registers it, and peft does the rest.

The mathematics is that of `surm_lite.adapters`, the bookkeeping (names, saving, loading, several adapters) is peft's.
"""

try:
    import peft  # noqa: F401
except ModuleNotFoundError:
    raise ModuleNotFoundError("surm_lite.hf needs peft; pip install 'surm-lite[hf]'") from None

from .config import SurmConfig
from .layer import SurmLinear
from .register import register
from .tuner import SurmModel

register()

__all__ = ["SurmConfig", "SurmLinear", "SurmModel"]
