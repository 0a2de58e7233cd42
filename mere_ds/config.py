"""All knobs of training. Defaults are the paper's (section 4.2) wherever it gives a value."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mere_ds.errors import UserError
from mere_ds.knobs import check_knobs, deciding, knob

System = Literal["mERE", "mERE14", "mERE-LS", "mERE-LS-LA", "HERBERTa", "mBERT", "MTMB"]

English = Literal["auto", "small", "mid", "full"]
CutMarks = Literal["repair", "reject"]

Which = Literal["best", "latest", "stage1"]
"""Which model of a run to use: the best or the latest of its last stage, or the best of stage one."""
Precision = Literal["auto", "fp32", "bf16", "fp16"]
"""Number format of a trained model's computation; auto: the fastest one of the hardware."""

AUTO = "auto"
"""Stands for the language of a text that is to be detected."""


def spelt_as(code: str, languages: Iterable[str]) -> str | None:
    """The one of these languages, or `AUTO`, that a user names, in upper or lower case and with - or _; else None."""
    return {name.lower(): name for name in (AUTO, *languages)}.get(code.replace("_", "-").lower())


NO_RELATION = "no_relation"
"""SMiLER's label of sentences whose two entities have none of the relations."""

PRESETS: dict[str, dict[str, Any]] = {
    "mERE": {"use_la": True, "use_ls": True},
    "mERE14": {"use_la": True, "use_ls": True, "routing": "language"},
    "mERE-LS": {"use_la": True, "use_ls": False},
    "mERE-LS-LA": {"use_la": False, "use_ls": False},
    "HERBERTa": {"top_k": 1},
    "mBERT": {"use_la": False, "use_ls": False, "entity_heads": "states"},
    "MTMB": {"use_la": False, "use_ls": False, "entity_heads": "states"},
}
"""The systems of the paper's Table 2 and Figure 7, as settings of the model's configuration."""

TAKEN_OVER = ("use_la", "entity_heads")
"""Those of these fields that stage two takes from stage one's model (see `Knob.inherited`)."""

TWO_STAGES = ("mERE", "mERE14", "HERBERTa")
"""The systems that have a second stage."""

PUBLISHED_MTMB = "akoksal/MTMB"
"""MTMB's encoder on the hub."""

Pooler = Literal["auto", "encoder", "new", "mean"]

TRACKERS = ("wandb", "mlflow")
"""Where `--report_to` can report a training."""

MOST_WIDE = 1 << 16
"""Upper bound of the model's sizes, so that a mistyped number does not try to allocate all memory."""
MOST_LAYERS = 1 << 12
"""Maximum number of layers of all sub-modules together."""

MOST = 10**6
"""Upper bound of learning rates, weight decay and loss weights: beyond it a step could overflow 32-bit weights."""


@dataclass(frozen=True)
class TrainConfig:
    """The settings of `mere_ds/train.py`."""

    shards: str = knob(
        "Folder made by `mere-ds shard`, or its http(s), s3, gs, az or hf address.",
        on_resume="content",
        also="data dataset",
    )
    run: str = knob(
        "Run folder: config, log, checkpoints, tensorboard, metrics.jsonl.", on_resume="free", also="output output_dir"
    )
    deepspeed_config: str | None = knob(
        "DeepSpeed configuration (precision, ZeRO stage, optimizer sharding): a JSON file, or the name of one in "
        "ds_configs/ (None: the one that the stage started with, else one chosen for the device).",
        None,
        on_resume="content",
        also="deepspeed precision fp16 bf16 zero_stage",
    )
    stage: Literal["1", "2", "all"] = knob(
        "Stage to train: 1 (encoder and LA), 2 (LS), or all (one after the other).", "all", on_resume="free"
    )
    system: System = knob("mERE, mERE14 (one sub-module per language), an ablation of mERE, or a baseline.", "mERE")
    languages: str = knob(
        "Languages of the model: all (those of the shards), EURO, SVO, or a list such as de,fr.", "all", also="lang"
    )
    stage_one_run: str | None = knob(
        "Run whose best stage-one model stage two starts from (None: this run's).",
        None,
        on_resume="content",
        also="checkpoint",
    )
    encoder: str | None = knob(
        "Encoder that the shards must have been made with (None: any).",
        None,
        on_resume="content",
        also="model",
    )
    triples: Literal["one", "many"] | None = knob(
        "Triples of a sentence the shards must have been made with: one, or any number; checked, None takes theirs.",
        None,
        on_resume="content",
    )
    encoder_weights: str | None = knob(
        "Folder or hub model with weights to start from (None: the encoder's).",
        None,
        on_resume="content",
        also="pretrained",
    )
    start: str | None = knob(
        "Run or checkpoint whose trained model stage one starts from, as far as tokens, labels and parts fit (None: "
        "only the encoder is pretrained).",
        None,
        stage=1,
        on_resume="content",
        also="init_from from_run start_from start_run warm_start finetune_from",
    )

    batch_size: int = knob(
        "Sentences per rank and micro-step (paper: 16).",
        16,
        least=1,
        on_resume="content",
        deepspeed="train_micro_batch_size_per_gpu",
        also="bs micro_batch_size",
    )
    accumulation: int = knob(
        "Micro-steps per weight update; global batch = batch_size x ranks x accumulation.",
        1,
        least=1,
        on_resume="content",
        deepspeed="gradient_accumulation_steps",
        also="grad_accum",
    )
    concatenate: int = knob(
        "s of eq. 4: number of sentences that LA sees together; must divide batch_size.", 2, least=1, stage=1
    )
    concatenate_stage_two: int = knob("The same in stage two.", 1, least=1, stage=2)
    epochs: int = knob(
        "Epochs of stage one, and of HERBERTa's second stage.", 5, least=1, stage=1, also="num_epochs num_train_epochs"
    )
    epochs_stage_two: int = knob("Maximum number of epochs of stage two.", 8, least=1, stage=2)
    patience: int = knob(
        "Stop after this many epochs without a better dev score.", 2, least=1, stage=2, also="early_stopping"
    )
    max_steps: int | None = knob("Stop each stage after this many updates (None: never).", None, least=1, also="steps")

    learning_rate: float = knob(
        "Peak learning rate of AdamW.", 3e-5, above=0, most=MOST, deepspeed="optimizer.params.lr", also="lr"
    )
    learning_rate_stage_two: float | None = knob(
        "The same for stage two (None: learning_rate).", None, above=0, most=MOST, stage=2
    )
    new_parts_rate: float = knob(
        "Learning rate factor for new parts: everything but the pretrained encoder.", 1.0, above=0, most=MOST
    )
    weight_decay: float = knob(
        "AdamW's weight decay, on matrices only.",
        0.1,
        least=0,
        most=MOST,
        deepspeed="optimizer.params.weight_decay",
        also="wd",
    )
    schedule: Literal["linear", "constant"] = knob(
        "Learning rate after the warm-up: linear (down to 0) or constant.", "linear", also="scheduler"
    )
    embedding_rows: Literal["all", "touched"] = knob(
        "Rows of the word embeddings that an update computes: all, or those of its tokens, which then make up for the "
        "updates that they missed: nearly the same, see docs/training.md (ZeRO 0 with fp32 weights).",
        "all",
        stage=1,
        also="sparse_embeddings sparse_gradients",
    )
    warmup: float = knob(
        "Share of the steps in which the learning rate rises from 0.",
        0.06,
        least=0,
        below=1,
        also="warmup_steps warmup_ratio",
    )
    word_dropout: float = knob(
        "Share of word tokens replaced by random ones in training.", 0.0, least=0, below=1, also="dropout"
    )
    alpha: float = knob(
        "Weight of the four entity losses together, halved (eq. 12).", 2.0, least=0, most=MOST, model="alpha"
    )
    beta: float = knob("Weight of the relation loss (eq. 12).", 1.0, least=0, most=MOST, model="beta")

    submodule_layers: tuple[int, ...] = knob(
        "Number of layers of each LS sub-module: T numbers.",
        (1, 1, 1, 2, 2, 2),
        least=1,
        most=MOST_LAYERS,
        stage=2,
        model="submodule_layers",
        also="layers",
    )
    bottleneck: int = knob(
        "b of eq. 7, the inner width of a sub-module.", 1024, least=1, most=MOST_WIDE, stage=2, model="bottleneck"
    )
    top_k: int = knob("k: number of sub-modules that run after training.", 3, least=1, stage=2, model="top_k")
    renormalise_top_k: bool = knob(
        "Rescale the k largest router weights to sum to 1.", True, stage=2, model="renormalise_top_k"
    )
    pooler: Pooler = knob(
        "h_p of eq. 3: the encoder's pooler, a new one on [CLS], or the mean over tokens; auto: encoder if it has one, "
        "else new.",
        "auto",
        model="pooler",
        inherited=True,
    )
    la_residual: bool = knob(
        "Put LA inside a residual connection and LayerNorm; --nola_residual is eq. 4 as printed.",
        True,
        model="la_residual",
        inherited=True,
    )
    pairing: int = knob(
        "Width of the products that pair starts with ends and heads with tails (--triples=many).",
        64,
        least=1,
        most=1 << 16,
        model="pairing",
        inherited=True,
    )
    negative_relations: int = knob(
        "Relations a sentence lacks, for which training shows that it has no entities (--triples=many).",
        2,
        least=0,
        most=1 << 16,
        model="negative_relations",
        also="negatives",
    )
    characters: int | None = knob(
        "Let separate heads trim up to this many characters off an entity's first and last token (None: whole tokens).",
        None,
        least=1,
        most=255,
        model="characters",
        inherited=True,
    )
    ordered_spans: bool = knob(
        "Decode spans with start <= end; --noordered_spans: independent argmax.", True, model="ordered_spans"
    )
    overlapping_spans: bool = knob(
        "Let ordered head and tail spans overlap: each is decoded by itself.", False, model="overlapping_spans"
    )

    seed: int = knob("Seed of weights, batches and dropout.", 0, least=0, most=2**63 - 3, also="random_seed")
    best_by: Literal["average", "pooled"] = knob("Dev triple F1 that selects the best epoch.", "average", also="metric")
    eval_steps: int | None = knob(
        "Updates between dev scores besides those at epochs' ends, the best model among them (None: only at the ends).",
        None,
        least=1,
        also="eval_every evaluation_steps eval_interval validate_every",
    )
    language_temperature: float = knob(
        "T: an epoch draws training sentences by share^(1/T) of their languages; 1 takes each once, more evens out.",
        1.0,
        above=0,
        most=MOST,
        also="temperature sampling_temperature upsampling",
    )
    fused: Literal["auto", "triton", "torch"] = knob(
        "Implementation of LS and entity heads; auto: Triton on GPUs.", "auto", on_resume="free"
    )
    compile: bool = knob("Fuse the encoder's layers with torch.compile.", False, also="torch_compile")
    window: int = knob(
        "Number of sentences that are held in memory and shuffled together.", 65536, least=1, also="shuffle_buffer"
    )
    shard_cache: str | None = knob(
        "Cache for remote shards (None: the user's cache folder).", None, on_resume="free", also="cache_dir"
    )
    shard_cache_gib: float = knob(
        "Maximum size of that cache in GiB; the least recently used shards are removed.",
        32.0,
        above=0,
        most=10**9,
        on_resume="free",
    )
    log_every: int = knob(
        "Steps between records in metrics.jsonl and TensorBoard.",
        10,
        least=1,
        on_resume="free",
        also="logging_steps",
    )
    report_to: tuple[str, ...] = knob(
        "Report to these too: wandb, mlflow, or both, separated by commas.",
        (),
        on_resume="free",
        also="wandb mlflow tracker logger",
    )
    peak_tflops: float | None = knob(
        "TFLOP/s that a rank's device can do in products, to show the share that training reaches (None: not shown).",
        None,
        above=0,
        most=MOST,
        on_resume="free",
        also="peak_flops mfu",
    )
    profile: int | None = knob(
        "Profile so many updates of each stage, after its first 3: a trace and a table by operation in RUN/profile.",
        None,
        least=1,
        most=1000,
        on_resume="free",
        also="profiler profile_steps trace",
    )
    feature_cache: str | None = knob(
        "Folder for stage two's features, preferably on a local disk (None: RUN/features).", None, on_resume="free"
    )
    feature_cache_gib: float = knob(
        "Maximum size of the features in GiB; if they don't fit, they are recomputed each epoch.",
        64.0,
        least=0,
        most=10**9,
        on_resume="free",
    )
    keep_features: bool = knob(
        "Keep the features in --feature_cache for other stage twos on the same stage one.", False, on_resume="free"
    )
    prefetch: bool = knob("Read shards ahead in the background.", True, on_resume="free", also="num_workers workers")

    save_minutes: float = knob(
        "Minutes between checkpoints (0: only at the end of an epoch).", 15.0, least=0, most=10**9, on_resume="free"
    )
    save_steps: int | None = knob(
        "Updates between checkpoints (None: by time).", None, least=1, on_resume="free", also="save_every"
    )
    keep: int = knob("Number of newest checkpoints to keep, besides the best.", 2, least=1, on_resume="free")
    timeout: int = knob(
        "Seconds that a rank may hang or keep the others waiting before all ranks stop.", 600, least=1, on_resume="free"
    )
    on_nonfinite: Literal["skip", "stop"] = knob(
        "What to do after a loss or gradient that isn't finite.", "skip", on_resume="free"
    )
    nonfinite_limit: int = knob("Stop after this many non-finite steps in a row.", 5, least=1, on_resume="free")
    overwrite: bool = knob(
        "Replace an earlier training of this stage in the run folder.", False, on_resume="free", also="force"
    )
    dry_run: bool = knob(
        "Only print parameters, steps, memory, traffic and, where RUN has recorded its speed, time; write nothing.",
        False,
        on_resume="free",
        also="plan estimate",
    )

    def __post_init__(self) -> None:
        check_knobs(self)
        if strange := [name for name in self.report_to if name not in TRACKERS]:
            raise UserError(f"--report_to={strange[0]}: must be among {', '.join(TRACKERS)}")
        if self.alpha == self.beta == 0:
            raise UserError("--alpha=0 --beta=0 leaves no loss to train with: one of them must be greater than 0")
        if self.keep_features and not self.feature_cache:
            raise UserError("--keep_features needs a folder that other runs can use: pass --feature_cache=DIR too")
        for name in ("concatenate", "concatenate_stage_two"):
            if self.batch_size % getattr(self, name):
                raise UserError(f"--{name}={getattr(self, name)}: must divide --batch_size={self.batch_size}")
        if not self.submodule_layers:
            raise UserError("--submodule_layers is empty: pass one number per sub-module, such as 1,1,1,2,2,2")
        if self.top_k > len(self.submodule_layers):
            raise UserError(f"--top_k={self.top_k}: there are only {len(self.submodule_layers)} sub-modules")
        if self.stage_one_run and self.stage != "2":
            raise UserError(f"--stage_one_run is only for stage two, not --stage={self.stage}: pass --stage=2")
        if self.start and self.stage_one_run:
            raise UserError("--start is for stage one, and --stage_one_run has one that is trained: remove one of them")
        if self.start and self.encoder_weights:
            raise UserError("--start takes the encoder's weights from a run: remove --encoder_weights, or --start")
        if self.stage == "2" and self.system not in TWO_STAGES:
            raise UserError(f"{self.system} has no Language-specific Switcher, so no stage two: pass --stage=1")
        if self.characters and self.system == "HERBERTa":
            raise UserError("HERBERTa has no character heads: remove --characters, or choose another --system")
        if self.system == "MTMB" and self.encoder_weights is None and self.start is None:
            object.__setattr__(self, "encoder_weights", PUBLISHED_MTMB)

    def tunes_switcher(self, stage: int) -> bool:
        """Whether a stage trains LS; HERBERTa's second stage trains an encoder, with the knobs of stage one."""
        return stage == 2 and self.system != "HERBERTa"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def knobs_of_stage(config: TrainConfig, stage: int) -> dict[str, Any]:
    """The knobs that affect a stage's result, with their values."""
    return deciding(config, 2 if config.tunes_switcher(stage) else 1)
