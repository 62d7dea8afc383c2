"""SURM as a method of Hugging Face peft: importing this module registers it, and peft does the rest.

The mathematics is that of `surm_lite.adapters`, the bookkeeping (names, saving, loading, several adapters) is peft's.
"""

try:
    import peft  # noqa: F401
except ModuleNotFoundError:
    raise ModuleNotFoundError("surm_lite.hf needs peft; pip install 'surm-lite[hf]'") from None

from surm_lite.hf.config import SurmConfig
from surm_lite.hf.layer import SurmLinear
from surm_lite.hf.register import register
from surm_lite.hf.tuner import SurmModel

register()

__all__ = ["SurmConfig", "SurmLinear", "SurmModel"]
