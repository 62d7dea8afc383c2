"""Makes peft know the method, by peft's own registration."""

from typing import Any, cast

from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import register_peft_method
from peft.utils.peft_types import PeftType

from surm_lite.hf.config import FILE_TYPE, NAME, SurmConfig
from surm_lite.hf.tuner import SurmModel


def register() -> None:
    """Registers the method "surm", once.

    ``register_peft_method`` takes only names that are members of the enumeration ``PeftType``, and an enumeration is
    closed. So the member is added first, as Python itself makes one.
    """
    if NAME not in PeftType.__members__:
        member = str.__new__(PeftType, NAME)
        member._name_ = member._value_ = NAME
        type.__setattr__(PeftType, NAME, member)
        PeftType._member_map_[NAME] = PeftType._value2member_map_[NAME] = member
        PeftType._member_names_.append(NAME)
    if NAME not in PEFT_TYPE_TO_TUNER_MAPPING:
        register_peft_method(name=NAME.lower(), config_cls=SurmConfig, model_cls=SurmModel)
    # what folders say; those of version 0.1.0 say "SURM"
    cast(dict[str, Any], PEFT_TYPE_TO_CONFIG_MAPPING)[FILE_TYPE] = SurmConfig
