"""All that ranks and commands import or make ready once: those forked from a process with this module begin with it."""

import gc

import fire  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import transformers.models.bert.modeling_bert  # noqa: F401
from deepspeed.runtime.zero.muon import original_muon  # noqa: F401
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

import mere_ds.evaluation.report.making  # noqa: F401
import mere_ds.evaluation.run  # noqa: F401
import mere_ds.pretraining.run  # noqa: F401
import mere_ds.shards.writing  # noqa: F401
import mere_ds.training.stages  # noqa: F401

get_checkpoint_conversion_mapping("bert")  # makes the mappings of all models: half a second
gc.freeze()  # all this stays: no rank need look through it for garbage
