"""Real image sets, offline: from pip wheels, system packages or files that the user names, or the user's own."""

from surm_lite.data.arrays import from_arrays
from surm_lite.data.catalogue import CATALOGUE, load
from surm_lite.data.dataset import from_dataset
from surm_lite.data.folder import from_folder
from surm_lite.data.images import AUGMENTATIONS, ImageFormat, flip_and_shift, prepare
from surm_lite.data.labelled import LabelledSet, Split
from surm_lite.data.split import stratified_order
from surm_lite.data.table import from_csv
from surm_lite.data.tokens import tokenize

__all__ = [
    "AUGMENTATIONS",
    "CATALOGUE",
    "ImageFormat",
    "LabelledSet",
    "Split",
    "flip_and_shift",
    "from_arrays",
    "from_csv",
    "from_dataset",
    "from_folder",
    "load",
    "prepare",
    "stratified_order",
    "tokenize",
]
