"""The commands that read what is damaged, each with its answer."""

from tests.hostile.cases import STDOUT, Use
from tests.hostile.material import EPOCHS, FEATURES, KNOBS, PRETRAIN

_MODELS = ("checkpoints/stage*/best/model.safetensors", "checkpoints/stage*/best/training.json")
_OWN = (
    "damaged-*",
    "config.json",
    "log.txt",
    "metrics.jsonl",
    "starts.jsonl",
    "writer.json*",
    "tensorboard/*",
    "tensorboard",
    "features*",
)
_DATA = ("shards", "ds.json")


def _models(run: str) -> tuple[str, ...]:
    return tuple(f"{run}/{name}" for name in _MODELS)


def _going_on(run: str, stage: int) -> Use:
    argv = ("train", *KNOBS, EPOCHS, *FEATURES, f"--run={run}", f"--stage={stage}")
    writes = (*(f"{run}/{name}" for name in _OWN), f"{run}/checkpoints/stage{stage}*", "features*")
    return Use(f"continue {stage}", argv, (*_DATA, run, "features"), _models(run), writes)


TRAIN = Use("train", ("train", *KNOBS, "--run=new", "--epochs=1"), _DATA, _models("new"), ("new", "new/*"))
ONE_STAGE = ("train", *KNOBS, "--run=new", "--stage=1", "--max_steps=2", "--epochs=1")
TUNE = Use(
    "stage two",
    ("train", *KNOBS, EPOCHS, *FEATURES, "--run=new", "--stage=2", "--stage_one_run=run"),
    (*_DATA, "run", "features"),
    _models("new"),
    ("new", "new/*", "features*"),
)
GO_ON_ONE, GO_ON_TWO = _going_on("halfway_one", 1), _going_on("halfway_two", 2)
AGAIN = Use(
    "train again",
    ("train", *KNOBS, EPOCHS, *FEATURES, "--run=run"),
    (*_DATA, "run", "features"),
    _models("run"),
    (*(f"run/{name}" for name in (*_OWN, "checkpoints/*")), "features*"),
)
EVALUATE = Use(
    "evaluate",
    ("evaluate", "run", "--shards=shards"),
    ("shards", "run"),
    (STDOUT, "run/evaluation/test.json*"),
    ("run/evaluation/*",),
)
EXTRACT = Use(
    "extract",
    ("extract", "run", "--lang=de", "Anna Berg kannte der alten Mühle hinter Köln kaum."),
    ("run",),
)
EXPORT = Use(
    "export",
    ("export", "run", "exported"),
    ("run", "shards"),
    ("exported/*",),
    ("exported", "exported/*"),
)
REPORT = Use(
    "report",
    ("report", "run", "run_b", "--out=report"),
    ("run", "run_b"),
    (STDOUT, "report/index.html"),
    ("report", "report/*", "run*/tensorboard/report*"),
)
COMPARE = Use("compare", ("compare", "run", "run_b"), ("run", "run_b"))
PRETRAIN_ON = Use(
    "pretrain on",
    (*PRETRAIN, "--out=halfway_mtmb"),
    ("corpus", "shards", "halfway_mtmb"),
    ("halfway_mtmb/model.safetensors",),
    ("halfway_mtmb/*",),
)
PRETRAIN_AGAIN = Use(
    "pretrain again", (*PRETRAIN, "--out=mtmb"), ("corpus", "shards", "mtmb"), ("mtmb/model.safetensors",), ("mtmb/*",)
)
START = Use(
    "start from a run",
    (*ONE_STAGE, "--start=run"),
    (*_DATA, "run"),
    ("new/checkpoints/stage1/best/model.safetensors",),
    ("new", "new/*"),
)
TRAIN_MTMB = Use(
    "train from mtmb",
    (*ONE_STAGE, "--encoder_weights=mtmb"),
    (*_DATA, "mtmb"),
    ("new/checkpoints/stage1/best/model.safetensors",),
    ("new", "new/*"),
)
