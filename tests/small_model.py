"""Small untrained models, whole as training leaves them."""

import shutil
from pathlib import Path

import torch

from mere_ds.encoders.sources import TinySize, build_encoder, load_encoder, load_tokenizer
from mere_ds.encoders.tokens import save_tokenizer
from mere_ds.model.mere import MereModel
from mere_ds.sums import SUMS, write_sums
from tests.evaluation.made_up_runs import ingredients_of, make_checkpoint
from tests.model.samples import tiny_config, train_switcher_a_little

LANGUAGES = ["de", "fr", "pt-BR"]
LABELS = ["born-in", "wrote", "made-of"]
TEXTS = ["Anna Berg wurde in Köln geboren .", "Jean Roux habite à Lyon .", "Ana mora em São Paulo ."]


def leave_run(run: Path, stage: int = 2, languages=tuple(LANGUAGES), **config) -> Path:
    """A run's folder with a model of one triple a text; its checkpoint's folder is returned."""
    encoder = run.parent / "encoder"
    size = TinySize(hidden=16, layers=1, heads=2, vocabulary=120)
    info = build_encoder("tiny", encoder, lambda: TEXTS * 3, list(languages), tiny=size)
    chosen = tiny_config(
        languages=list(languages),
        labels=LABELS,
        label_mask=[[1] * len(LABELS)] * len(languages),
        language_token_ids=[info.language_token_ids[language] for language in languages],
        max_length=info.max_length,
        **config,
    )
    torch.manual_seed(0)
    model = MereModel.from_encoder(load_encoder(encoder, info), chosen)
    if stage == 2:
        model.begin_stage_two()
        train_switcher_a_little(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("encoder."):
                parameter *= 30  # so that it is decided, and scores differ
    folder = make_checkpoint(run, stage, ingredients_of(stage, system="mERE"))
    model.save_pretrained(folder)
    save_tokenizer(load_tokenizer(encoder), folder)
    (folder / SUMS).unlink()
    write_sums(folder)
    return folder


def model_alone(checkpoint: Path, out: Path) -> Path:
    """A folder with the model's own files, without training state."""
    shutil.copytree(checkpoint, out)
    (out / "training.json").unlink()
    (out / SUMS).unlink()
    return out
