"""The configurations of the models, saved as config.json beside their weights."""

from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from mere_ds.errors import UserError
from mere_ds.model.fields import MereFields, TripleFields


class TripleConfig(TripleFields, PreTrainedConfig):
    """`TripleFields` as transformers keeps them. Raises UserError as their `check`."""

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.check()
        self.id2label = dict(enumerate(self.labels))  # what other programs look for
        self.label2id = {label: number for number, label in enumerate(self.labels)}

    def to_diff_dict(self) -> dict[str, Any]:
        """The saved values: including defaults, which may change later, but without paths of this machine."""
        return {key: value for key, value in self.to_dict().items() if key != "_name_or_path"}

    def make_encoder_config(self) -> PreTrainedConfig:
        """The encoder's config as an object; raises UserError if there is none."""
        if "model_type" not in self.encoder_config:
            raise UserError("model configuration: encoder_config must be the encoder's config with its model_type")
        return AutoConfig.for_model(**self.encoder_config)


class MereConfig(MereFields, TripleConfig):
    """`MereFields` as transformers keeps them."""

    model_type = "mere"


class HerbertaConfig(TripleConfig):
    """HERBERTa: two encoders in sequence (see `HerbertaModel`)."""

    model_type = "herberta"

    stage: int = 1
    """1: the first encoder and the relation classifier are trained; 2: the second encoder, which is added then."""


for kind in (MereConfig, HerbertaConfig):
    AutoConfig.register(kind.model_type, kind)
