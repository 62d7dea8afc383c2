"""Pictures in one visual language: matrix, displacement, parameters and error keep their colour everywhere.

Nothing here draws at import, and no global matplotlib state is touched.
"""

from .figures import mpl, style, subplots
from .fragments import Fragment, note, number, readout, row
from .heatmap import heat
from .palette import COLOURS, family_style

__all__ = [
    "COLOURS",
    "Fragment",
    "family_style",
    "heat",
    "mpl",
    "note",
    "number",
    "readout",
    "row",
    "style",
    "subplots",
]
