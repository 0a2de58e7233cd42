"""The same model as a Hugging Face user trains it: in the Trainer, padded dynamically, batches of like length.

Shape suffixes as in `benchmarks.rivals.literal`.
"""

import tempfile
import time

import torch
from torch import nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from benchmarks.material import Sentence
from benchmarks.rivals.literal import WIDTH, padded

MULTIPLE = 8
"""What widths are rounded up to, for tensor cores."""


def padded_to_longest(sentences: list[Sentence], pad_id: int) -> dict[str, torch.Tensor]:
    """A batch as wide as its longest sentence, as keyword arguments of `LiteralMere.forward`."""
    longest = max(len(sentence["input_ids"]) for sentence in sentences)
    return padded(sentences, pad_id, min(WIDTH, -(-longest // MULTIPLE) * MULTIPLE))


class StepTimer(TrainerCallback):
    """Notes the time after each update, when the GPU is done with it."""

    def __init__(self):
        self.marks: list[float] = []

    def on_train_begin(self, args, state, control, **_):
        self._mark()

    def on_step_end(self, args, state, control, **_):
        self._mark()

    def seconds(self) -> list[float]:
        """Of each update, its batch's making included."""
        return [after - before for before, after in zip(self.marks, self.marks[1:], strict=False)]

    def _mark(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.marks.append(time.perf_counter())


def train_hf(
    model: nn.Module,
    sentences: list[Sentence],
    pad_id: int,
    batch_size: int,
    steps: int,
    concatenate: int,
    bf16: bool,
    warmup: int = 3,
) -> list[float]:
    """Seconds of each of `steps` updates, after `warmup` more that aren't counted.

    `model` is a LiteralMere that nothing else uses: the Trainer moves it and leaves its autocast on it. The sentences
    are gone through again and again; `steps` should be whole epochs of them, since batches of like length come longest
    first and no other number weighs them right. `concatenate` is LA's s, which must divide `batch_size`.
    """

    def collate(chosen: list[Sentence]) -> dict:
        return padded_to_longest(chosen, pad_id) | {"concatenate": concatenate}

    timer = StepTimer()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch_size,
            max_steps=warmup + steps,
            train_sampling_strategy="group_by_length",
            dataloader_drop_last=True,  # LA takes whole groups
            dataloader_pin_memory=torch.cuda.is_available(),
            remove_unused_columns=False,
            learning_rate=3e-5,
            weight_decay=0.1,
            max_grad_norm=1.0,
            bf16=bf16,
            use_cpu=not torch.cuda.is_available(),  # else it refuses bf16 there
            optim="adamw_torch_fused",
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Trainer(model, arguments, data_collator=collate, train_dataset=sentences, callbacks=[timer])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return timer.seconds()[warmup:]
