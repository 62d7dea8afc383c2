"""What a model is trained for: one object that the data set carries, so that no loop knows what it trains."""

from surm_lite.data.labelled import LabelledSet
from surm_lite.tasks.base import Ready, Task, evaluating, fit
from surm_lite.tasks.classification import Classification, check_labels
from surm_lite.tasks.reconstruction import Reconstruction
from surm_lite.tasks.token_ids import shortest_first

LabelledSet.usual_task = Classification()

__all__ = ["Classification", "Ready", "Reconstruction", "Task", "check_labels", "evaluating", "fit", "shortest_first"]
