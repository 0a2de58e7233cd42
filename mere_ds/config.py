"""Every knob of training, in one place. Defaults are the paper's (section 4.2) wherever it gives a value."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from mere_ds.errors import UserError
from mere_ds.knobs import check_knobs, deciding, knob

System = Literal["mERE", "mERE14", "mERE-LS", "mERE-LS-LA", "HERBERTa", "mBERT", "MTMB"]

English = Literal["auto", "small", "mid", "full"]
CutMarks = Literal["repair", "reject"]

Which = Literal["best", "latest", "stage1"]
"""The model of a run that is scored or used: the best or the latest of its last stage, or stage one's best."""

PRESETS: dict[str, dict[str, Any]] = {
    "mERE": {"use_la": True, "use_ls": True},
    "mERE14": {"use_la": True, "use_ls": True, "routing": "language"},
    "mERE-LS": {"use_la": True, "use_ls": False},
    "mERE-LS-LA": {"use_la": False, "use_ls": False},
    "HERBERTa": {"top_k": 1},
    "mBERT": {"use_la": False, "use_ls": False, "entity_heads": "states"},
    "MTMB": {"use_la": False, "use_ls": False, "entity_heads": "states"},
}
"""The systems of the paper's Table 2 and Figure 7: what each asks of the model's configuration."""

TAKEN_OVER = ("use_la", "entity_heads")
"""Of these fields, those that stage two takes over from stage one's model (see `Knob.inherited`)."""

TWO_STAGES = ("mERE", "mERE14", "HERBERTa")
"""The systems that stage one doesn't finish."""

PUBLISHED_MTMB = "akoksal/MTMB"
"""MTMB's encoder on the hub."""

Pooler = Literal["auto", "encoder", "new", "mean"]

MOST_WIDE = 1 << 16
"""How large a size of the model may be, so that a wrong number does not end in a try to get all memory."""
MOST_LAYERS = 1 << 12
"""How many layers all sub-modules may have together."""

MOST = 10**6
"""Of rates, decay and weights of losses: with more, weights would overflow 32 bits in one step."""


@dataclass(frozen=True)
class TrainConfig:
    """The settings of `mere_ds/train.py`."""

    shards: str = knob(
        "Folder made by `mere-ds shard`, or its http(s) address.", on_resume="content", also="data dataset"
    )
    run: str = knob(
        "Run folder: config, log, checkpoints, tensorboard, metrics.jsonl.", on_resume="free", also="output output_dir"
    )
    deepspeed_config: str | None = knob(
        "DeepSpeed's JSON: precision, ZeRO stage, optimizer sharding; a file, or the name of one in ds_configs/ "
        "(None: what the stage started with, else one of these for the device).",
        None,
        on_resume="content",
        also="deepspeed precision fp16 bf16 zero_stage",
    )
    stage: Literal["1", "2", "all"] = knob(
        "Stage one (encoder and LA), two (LS), or both in a row.", "all", on_resume="free"
    )
    system: System = knob("mERE, mERE14 (a sub-module a language), either without parts, or a baseline.", "mERE")
    languages: str = knob(
        "Languages of the model: all of the shards', EURO, SVO, or a list such as de,fr.", "all", also="lang"
    )
    stage_one_run: str | None = knob(
        "Run whose best stage one stage two starts from (None: this run).", None, on_resume="content", also="checkpoint"
    )
    encoder: str | None = knob(
        "Encoder the shards must have been made with; checked, None takes theirs.",
        None,
        on_resume="content",
        also="model",
    )
    encoder_weights: str | None = knob(
        "Folder or hub model with weights to start from (None: the encoder's).",
        None,
        on_resume="content",
        also="pretrained",
    )

    batch_size: int = knob(
        "Sentences a rank and micro-step (paper: 16).",
        16,
        least=1,
        on_resume="content",
        deepspeed="train_micro_batch_size_per_gpu",
        also="bs micro_batch_size",
    )
    accumulation: int = knob(
        "Micro-steps a weight update; global batch = batch_size x ranks x accumulation.",
        1,
        least=1,
        on_resume="content",
        deepspeed="gradient_accumulation_steps",
        also="grad_accum",
    )
    concatenate: int = knob(
        "s of eq. 4: sentences that LA sees together in stage one; must divide batch_size.", 2, least=1, stage=1
    )
    concatenate_stage_two: int = knob("The same in stage two.", 1, least=1, stage=2)
    epochs: int = knob(
        "Epochs of stage one, and of HERBERTa's second stage.", 5, least=1, stage=1, also="num_epochs num_train_epochs"
    )
    epochs_stage_two: int = knob("Most epochs of stage two.", 8, least=1, stage=2)
    patience: int = knob(
        "Stage two stops after so many epochs without a better dev score.", 2, least=1, stage=2, also="early_stopping"
    )
    max_steps: int | None = knob("Stop each stage after so many updates (None: no limit).", None, least=1, also="steps")

    learning_rate: float = knob(
        "Peak learning rate of AdamW.", 3e-5, above=0, most=MOST, deepspeed="optimizer.params.lr", also="lr"
    )
    learning_rate_stage_two: float | None = knob(
        "The same for stage two (None: learning_rate).", None, above=0, most=MOST, stage=2
    )
    new_parts_rate: float = knob(
        "Factor on the rate of new parts: all but the encoder, its pooler too.", 1.0, above=0, most=MOST
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
        "Rate after the warm-up: down to 0, or constant.", "linear", also="scheduler"
    )
    warmup: float = knob(
        "Share of the steps in which the rate rises from 0.", 0.06, least=0, below=1, also="warmup_steps warmup_ratio"
    )
    word_dropout: float = knob(
        "Share of word tokens that training replaces by random ones.", 0.0, least=0, below=1, also="dropout"
    )
    alpha: float = knob(
        "Weight of the four entity losses together, halved (eq. 12).", 2.0, least=0, most=MOST, model="alpha"
    )
    beta: float = knob("Weight of the relation loss (eq. 12).", 1.0, least=0, most=MOST, model="beta")

    submodule_layers: tuple[int, ...] = knob(
        "Layers of each LS sub-module; as many numbers as T.",
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
    top_k: int = knob("k: sub-modules that run in use.", 3, least=1, stage=2, model="top_k")
    renormalise_top_k: bool = knob("Make the k kept router weights sum to 1.", True, stage=2, model="renormalise_top_k")
    pooler: Pooler = knob(
        "h_p of eq. 3: the encoder's own pooler, a new one on [CLS], the tokens' mean; auto: its own, else new.",
        "auto",
        model="pooler",
        inherited=True,
    )
    la_residual: bool = knob(
        "LA inside residual and LayerNorm; --nola_residual is eq. 4 as printed.",
        True,
        model="la_residual",
        inherited=True,
    )
    characters: int | None = knob(
        "Most characters to cut off an entity's first and last token, by heads of their own (None: whole tokens).",
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
        "Let ordered spans of head and tail overlap, as each alone is likeliest.", False, model="overlapping_spans"
    )

    seed: int = knob("Seed of weights, batches and dropout.", 0, least=0, most=2**63 - 3, also="random_seed")
    best_by: Literal["average", "pooled"] = knob("Which dev triple F1 names the best epoch.", "average", also="metric")
    fused: Literal["auto", "triton", "torch"] = knob(
        "What runs LS and entity heads: auto is Triton on GPUs.", "auto", on_resume="free"
    )
    compile: bool = knob("Fuse the encoder's layers by torch.compile.", False, also="torch_compile")
    window: int = knob(
        "Sentences whose shards are held in memory and shuffled together.", 65536, least=1, also="shuffle_buffer"
    )
    shard_cache: str | None = knob(
        "Folder for shards from a server (None: the user's cache folder).", None, on_resume="free", also="cache_dir"
    )
    shard_cache_gib: float = knob(
        "Most GiB of shards that are kept there; the last used ones stay.", 32.0, above=0, most=10**9, on_resume="free"
    )
    log_every: int = knob(
        "Steps between two records in metrics.jsonl and TensorBoard.",
        10,
        least=1,
        on_resume="free",
        also="logging_steps",
    )
    feature_cache: str | None = knob(
        "Folder for stage two's features, best a local disk (None: RUN/features).", None, on_resume="free"
    )
    feature_cache_gib: float = knob(
        "Most space for them; 0, or too little: computed again each epoch.", 64.0, least=0, most=10**9, on_resume="free"
    )
    keep_features: bool = knob(
        "Leave them in --feature_cache for other stage twos over the same stage one.", False, on_resume="free"
    )
    prefetch: bool = knob("Read shards ahead in the background.", True, on_resume="free", also="num_workers workers")

    save_minutes: float = knob(
        "Minutes between two checkpoints (0: only at an epoch's end).", 15.0, least=0, most=10**9, on_resume="free"
    )
    save_steps: int | None = knob(
        "Updates between two checkpoints (None: by time).", None, least=1, on_resume="free", also="save_every"
    )
    keep: int = knob("Newest checkpoints that are kept, the best besides.", 2, least=1, on_resume="free")
    timeout: int = knob(
        "Seconds that a rank may hang or keep the others waiting before all end.", 600, least=1, on_resume="free"
    )
    on_nonfinite: Literal["skip", "stop"] = knob(
        "After a loss or gradient that isn't finite.", "skip", on_resume="free"
    )
    nonfinite_limit: int = knob("Stop after so many of these in a row.", 5, least=1, on_resume="free")
    overwrite: bool = knob(
        "Replace what an earlier training left of this stage in the run folder.", False, on_resume="free", also="force"
    )

    def __post_init__(self) -> None:
        check_knobs(self)
        if self.alpha == self.beta == 0:
            raise UserError("--alpha=0 --beta=0 leaves no loss to train with: one of them must be greater than 0")
        if self.keep_features and not self.feature_cache:
            raise UserError("--keep_features needs a place that others can find: pass --feature_cache=DIR too")
        for name in ("concatenate", "concatenate_stage_two"):
            if self.batch_size % getattr(self, name):
                raise UserError(f"--{name}={getattr(self, name)} doesn't divide --batch_size={self.batch_size}")
        if not self.submodule_layers:
            raise UserError("--submodule_layers needs one number for each sub-module, such as 1,1,1,2,2,2")
        if self.top_k > len(self.submodule_layers):
            raise UserError(f"--top_k={self.top_k} is more than the {len(self.submodule_layers)} sub-modules")
        if self.stage_one_run and self.stage != "2":
            raise UserError(f"--stage_one_run is for stage two alone, not --stage={self.stage}: pass --stage=2")
        if self.stage == "2" and self.system not in TWO_STAGES:
            raise UserError(f"{self.system} has no Language-specific Switcher, so no stage two; --stage=1 is all of it")
        if self.characters and self.system == "HERBERTa":
            raise UserError("HERBERTa has no heads for characters: leave --characters out, or choose another --system")
        if self.system == "MTMB" and self.encoder_weights is None:
            object.__setattr__(self, "encoder_weights", PUBLISHED_MTMB)

    def tunes_switcher(self, stage: int) -> bool:
        """Whether a stage tunes LS; HERBERTa's second one trains an encoder, by the knobs of stage one."""
        return stage == 2 and self.system != "HERBERTa"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def knobs_of_stage(config: TrainConfig, stage: int) -> dict[str, Any]:
    """The knobs that decide a stage's result, with their values."""
    return deciding(config, 2 if config.tunes_switcher(stage) else 1)
