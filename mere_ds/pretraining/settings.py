"""Every knob of `mere-ds pretrain-mtmb`."""

from dataclasses import dataclass

from mere_ds.config import MOST, CutMarks, English
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.errors import UserError
from mere_ds.knobs import knob


@dataclass(frozen=True)
class _Pretraining:
    tsv_dir: str = knob(
        "Folder with {lang}_corpora_train.tsv or {lang}.train.jsonl, or a corpus in a format that convert reads.",
        on_resume="content",
        also="source corpus",
    )
    out: str = knob(
        "Folder for the encoder, tensorboard/ and, while it trains, a checkpoint.",
        on_resume="free",
        also="output output_dir run",
    )
    encoder: str = knob(
        "The initial encoder: a folder or hub name; e5-small; tiny (random weights, for tests).",
        "bert-base-multilingual-cased",
        also="model",
    )
    languages: str = knob("all, EURO, SVO, or a list such as de,fr,ko.", "all")
    english: English = knob("Which English files, where there are several: small, mid or full.", "auto")
    cut_marks: CutMarks = knob(
        "What to do with an entity cut at an abbreviation's dot: repair or reject the row.", "repair"
    )
    parallel_ids: bool = knob(
        "Rows with the same id (ignoring a language code in front: de-12, fr-12) are translations of each other.", False
    )
    epochs: int = knob("How often each sentence is read.", 1, least=1, also="num_epochs num_train_epochs")
    steps: int | None = knob("Updates, instead of epochs.", None, least=1, also="max_steps")
    batch_size: int = knob("Sentences per step, an even number.", 32, least=4, also="bs")
    learning_rate: float = knob(
        "Peak learning rate of AdamW; rises over the warm-up, then falls to 0.", 3e-5, above=0, most=MOST, also="lr"
    )
    warmup: float = knob(
        "Share of the steps over which the rate rises from 0.", 0.06, least=0, below=1, also="warmup_steps warmup_ratio"
    )
    weight_decay: float = knob("AdamW's weight decay, on matrices only.", 0.01, least=0, most=MOST, also="wd")
    max_length: int = knob("Maximum length of a sentence in tokens, including special tokens and marks.", 256, least=1)
    blank: float = knob("Probability that an entity is replaced by a blank.", 0.7, least=0, most=1)
    mask: float = knob("Share of the words to mask and predict.", 0.15, least=0, most=1)
    seed: int = knob("Seed of pairs, blanks, masks, dropout and new weights.", 0, least=0, most=2**63 - 1)
    save_steps: int = knob("Updates between two checkpoints.", 1000, least=1, on_resume="free", also="save_every")
    log_every: int = knob(
        "Steps between two records in TensorBoard.", 10, least=1, on_resume="free", also="logging_steps"
    )
    overwrite: bool = knob("Replace what an earlier pretraining left in OUT.", False, on_resume="free", also="force")


@dataclass(frozen=True)
class PretrainSettings(SourceOptions, _Pretraining):
    """The settings of `mere-ds pretrain-mtmb`, those of its source last; raises UserError for values that are out of
    bounds."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size % 2:
            raise UserError(f"--batch_size={self.batch_size}: must be even, since sentences are read in pairs")
