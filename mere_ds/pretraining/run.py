"""`mere-ds pretrain-mtmb`: an encoder, a corpus of marked sentences -> the encoder, trained further."""

import hashlib
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mere_ds.corpus.graphemes import compose
from mere_ds.corpus.reading import TsvFile, read_file
from mere_ds.encoders.sources import EncoderInfo, build_encoder, load_encoder, load_tokenizer
from mere_ds.encoders.weights import new_rows
from mere_ds.errors import UserError
from mere_ds.files import check_apart
from mere_ds.knobs import deciding
from mere_ds.model.precision import nonfinite
from mere_ds.pretraining.batches import MARKS, BlankBatch, Collator
from mere_ds.pretraining.folder import PretrainFolder
from mere_ds.pretraining.objectives import Blanks
from mere_ds.pretraining.pairing import Pairing
from mere_ds.pretraining.settings import PretrainSettings
from mere_ds.pretraining.statements import FRAME, Statements, read_statements, train_files
from mere_ds.pretraining.word_head import read_word_head

MATCHER_RATE = 0.01  # peak rate of scale and offset, whose size has nothing to do with the encoder's weights
MOST_NORM = 1.0  # of the gradient


def pretrain(settings: PretrainSettings) -> dict:
    """Trains, saves an encoder folder and returns {"out", "steps", and the means since the last record}.

    The folder's tokenizer and number of embeddings are those of the encoder that it started from: what training adds,
    five embeddings for marks and blank and two heads, is cut off. The same settings and corpus give the same weights,
    on a CPU bit for bit, interrupted or not. Raises UserError for bad input or a loss that isn't finite.
    """
    files = train_files(settings.tsv_dir, settings.languages, settings.english)
    encoder = settings.encoder if Path(settings.encoder).is_dir() else None
    check_apart("--out", settings.out, **{"TSV_DIR": settings.tsv_dir, "--encoder": encoder})
    folder = PretrainFolder(settings.out)
    with folder.taken():
        _pretrain(settings, files, folder)
    return {"out": str(folder.root), **folder.result}


def _pretrain(settings: PretrainSettings, files: list[TsvFile], folder: PretrainFolder) -> None:
    encoder, tokenizer, info = _start_encoder(settings, files)
    statements = read_statements(files, tokenizer, settings.max_length, settings.cut_marks, settings.parallel_ids)
    pairing = Pairing(statements)
    head = read_word_head(info)
    print(pairing.summary())
    print("masked word head:", "the encoder's own" if head else "new", flush=True)
    collator = Collator(statements, tokenizer, info.vocab_size, settings.blank, settings.mask, settings.seed)
    data = {"tokenizer": info.fingerprint, "revision": info.revision, "corpus": _digest(statements)}
    folder.start(deciding(settings) | data, settings.overwrite)
    if folder.result is None:
        model = Blanks(encoder, info.vocab_size)
        model.load_state_dict(head, strict=False)
        result = _train(settings, folder, pairing, collator, model)
        encoder.resize_token_embeddings(info.vocab_size, mean_resizing=False)
        folder.finish(encoder, tokenizer, result)
    else:
        folder.check_finished()


def _start_encoder(
    settings: PretrainSettings, files: list
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, EncoderInfo]:
    """The encoder with a row more for each of `MARKS`, its tokenizer without them, and its description."""

    def texts():
        return (compose(example.text)[0] for file in files for example in read_file(file.path, settings.cut_marks))

    torch.manual_seed(settings.seed)
    with tempfile.TemporaryDirectory() as temporary:
        start = Path(temporary)
        info = build_encoder(settings.encoder, start, texts, [], settings.seed)
        tokenizer, encoder = load_tokenizer(start), load_encoder(start, info)
    if not FRAME < settings.max_length <= info.max_length:
        raise UserError(f"--max_length={settings.max_length} is out of range: pass {FRAME + 1} to {info.max_length}")
    rows = new_rows(encoder.get_input_embeddings().weight.detach(), len(MARKS), settings.seed)
    encoder.resize_token_embeddings(info.vocab_size + len(MARKS), mean_resizing=False)
    with torch.no_grad():
        encoder.get_input_embeddings().weight[info.vocab_size :] = rows
    return encoder, tokenizer, info


def _digest(statements: Statements) -> str:
    """sha256 (hex) of what is trained on."""
    digest = hashlib.sha256()
    for array in (statements.pieces, statements.ends, statements.spans, statements.groups, statements.languages):
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def _train(
    settings: PretrainSettings, folder: PretrainFolder, pairing: Pairing, collator: Collator, model: Blanks
) -> dict:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = _compute_dtype(device)
    model.to(device).train()
    optimizer = torch.optim.AdamW(_groups(model, settings))
    scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
    first = folder.load_checkpoint(model, optimizer, scaler)
    per_epoch = len(pairing.epoch(settings.batch_size, settings.seed, 0))
    total = settings.steps or settings.epochs * per_epoch
    record = _Record(folder.tensorboard, first)
    seconds = 1 if sys.stderr.isatty() else 30  # in a log file each refresh stays
    with record, tqdm(initial=first, total=total, desc="pretraining", unit="step", mininterval=seconds) as bar:
        for step in range(first, total):
            epoch, place = divmod(step, per_epoch)
            if place == 0 or step == first:
                batches = pairing.epoch(settings.batch_size, settings.seed, epoch)
            torch.manual_seed(int(np.random.SeedSequence([settings.seed, step]).generate_state(1)[0]))  # dropout
            factor = _rate_factor(step, total, settings.warmup)
            values = _step(model, collator(batches[place], step).to(device), optimizer, scaler, factor, dtype)
            record.add(values)
            bar.update()
            if (step + 1) % settings.log_every == 0 or step + 1 == total:
                bar.set_postfix(record.write(step + 1, factor * settings.learning_rate), refresh=False)
            if (step + 1) % settings.save_steps == 0 and step + 1 < total:
                record.flush()
                _check_finite(model, step + 1)
                folder.save_checkpoint(step + 1, model, optimizer, scaler.state_dict())
    _check_finite(model, total)
    return {"steps": total, **record.last}


def _check_finite(model: Blanks, step: int) -> None:
    """Raises UserError for weights that must not be saved."""
    if name := nonfinite(model.state_dict()):
        raise UserError(
            f"after step {step} {name} holds numbers that aren't finite: lower --learning_rate and --overwrite"
        )


def _step(
    model: Blanks,
    batch: BlankBatch,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    factor: float,
    dtype: torch.dtype,
) -> dict[str, torch.Tensor]:
    """One update at the share `factor` of the peak rates; what the model said before it."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["peak"]
    with torch.autocast(batch.token_ids_BM.device.type, dtype, enabled=dtype is not torch.float32):
        values = model(batch)
    scaler.scale(values["masked_words"] + values.get("matching", 0)).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(model.parameters(), MOST_NORM)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    return values


def _compute_dtype(device: torch.device) -> torch.dtype:
    """bf16 or fp16, whichever the GPU multiplies in hardware; fp32 on a CPU."""
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _groups(model: Blanks, settings: PretrainSettings) -> list[dict]:
    """Parameters with their peak rates: matrices decay, biases and LayerNorms don't, nor does the matcher."""
    matcher = [model.log_scale, model.offset]
    rest = [p for p in model.parameters() if all(p is not x for x in matcher)]
    rate, decay = settings.learning_rate, settings.weight_decay
    return [
        {"params": [p for p in rest if p.ndim > 1], "peak": rate, "weight_decay": decay},
        {"params": [p for p in rest if p.ndim == 1], "peak": rate, "weight_decay": 0.0},
        {"params": matcher, "peak": MATCHER_RATE, "weight_decay": 0.0},
    ]


def _rate_factor(step: int, total: int, warmup: float) -> float:
    """Share of the peak rate in step `step` (from 0): up over the warm-up, then linearly to 0."""
    rising = round(warmup * total)
    return min((step + 1) / (rising + 1), (total - step) / max(1, total - rising))


class _Record:
    """Means of a stretch of steps, for TensorBoard and the bar; the values stay on the device until then."""

    def __init__(self, folder: Path, step: int) -> None:
        self._board = SummaryWriter(str(folder), purge_step=step + 1)
        self._values: dict[str, list[torch.Tensor]] = {}
        self.last: dict[str, float] = {}
        """The newest mean of each value."""

    def __enter__(self) -> "_Record":
        return self

    def __exit__(self, *_) -> None:
        self._board.close()

    def add(self, values: dict[str, torch.Tensor]) -> None:
        for name, value in values.items():
            self._values.setdefault(name, []).append(value.detach())

    def write(self, step: int, rate: float) -> dict[str, str]:
        """Writes the means; returns them as text. UserError if a loss isn't finite."""
        means = {name: round(float(torch.stack(values).mean()), 4) for name, values in self._values.items()}
        if not all(math.isfinite(mean) for mean in means.values()):
            raise UserError(
                f"the loss isn't finite before step {step} ({means}): lower --learning_rate and --overwrite"
            )
        for name, mean in {**means, "learning_rate": rate}.items():
            self._board.add_scalar(f"pretrain/{name}", mean, step)
        self._values.clear()
        self.last |= means
        return {name: f"{mean:.3f}" for name, mean in means.items()}

    def flush(self) -> None:
        self._board.flush()
