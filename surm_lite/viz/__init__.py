"""Pictures in one visual language: matrix, displacement, parameters and error keep their colour everywhere.

Nothing here draws at import, and no global matplotlib state is touched.
"""

from surm_lite.viz.figures import mpl, style, subplots
from surm_lite.viz.fragments import Fragment, note, number, readout, row
from surm_lite.viz.heatmap import heat
from surm_lite.viz.palette import COLOURS, family_style
from surm_lite.viz.photos import photos

__all__ = [
    "COLOURS",
    "Fragment",
    "family_style",
    "heat",
    "mpl",
    "note",
    "number",
    "photos",
    "readout",
    "row",
    "style",
    "subplots",
]
