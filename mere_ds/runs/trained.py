"""Which checkpoint of a run is scored or used, and what that checkpoint records about itself."""

from dataclasses import dataclass
from pathlib import Path

from mere_ds.config import PRESETS, TWO_STAGES, Which, spelt_as
from mere_ds.errors import UserError
from mere_ds.files import read_json
from mere_ds.hub_files import local
from mere_ds.runs.resume import DATA, STAGE_ONE
from mere_ds.runs.run_folder import RunFolder
from mere_ds.sums import STATE, identity_of, is_intact, recorded_digest

EXPORTED = "exported"
"""The entry of training.json that an exported model has, and a checkpoint doesn't."""
_OF_AN_EXPORT = ("from", "to", "precision")


@dataclass(frozen=True)
class TrainedModel:
    """A checkpoint of a run."""

    run: RunFolder
    folder: Path
    """The checkpoint's own folder, not a link: `best` and `latest` may change."""
    sha256: str
    """Digest of the checkpoint's SHA256SUMS, and so of all its files."""
    state: dict
    """Its training.json."""
    finished: bool
    """Whether training of its stage is finished."""
    stage_one: dict | None
    """For a stage two whose stage one is in the same run: the ingredients of that stage one."""

    @property
    def stage(self) -> int:
        return self.state["stage"]

    @property
    def step(self) -> int:
        return self.state["step"]

    @property
    def ingredients(self) -> dict:
        """Everything that determined the stage's result, see `resume.ingredients`."""
        return self.state["ingredients"]

    @property
    def system(self) -> str:
        return self.ingredients["--system"]

    @property
    def trained_on(self) -> str:
        """The sha256 of the shards' manifest.json."""
        return self.ingredients[DATA]

    @property
    def seed(self) -> int:
        return self.ingredients["--seed"]

    @property
    def exported(self) -> dict | None:
        """Of an exported model: what it was made "from" (a checkpoint's `sha256`), "to" which format, and in which
        "precision"; None for a checkpoint."""
        return self.state.get(EXPORTED)

    def check_language(self, language: str) -> str:
        """As the model spells it, or `AUTO`; needs no torch. Raises UserError if it wasn't trained on it."""
        known = self._config().get("languages")
        if not isinstance(known, list) or not all(isinstance(name, str) for name in known):
            return language  # loading the model will report what is wrong
        spelt = spelt_as(language, known)
        if not spelt:
            raise UserError(f"--lang={language}: unknown to this model: pass one of {', '.join(known)}, or auto")
        return spelt

    def check_k(self, k: int | None) -> None:
        """Raises UserError if the model can't run with `k` sub-modules, as `check_k` does; needs no torch. None fits
        every model."""
        config = self._config()
        if k is not None and config:
            check_k(k, config)

    def _config(self) -> dict:
        """The model's config.json; {} if it is damaged, which loading the model will report."""
        path = self.folder / "config.json"
        config = read_json(path, "copy the checkpoint again, or train this stage again (--overwrite)")
        return config if is_intact(path, recorded_digest(self.folder, path.name)) else {}

    @property
    def lacks_stage_two(self) -> bool:
        """Whether this is only the first half of its system."""
        return self.stage == 1 and self.system in TWO_STAGES


def check_k(k: int, config: dict) -> None:
    """Raises UserError if the Switcher of a model with this config.json can't run with `k` sub-modules."""
    layers = config.get("submodule_layers")
    if not config.get("use_ls") or config.get("stage") != 2:
        raise UserError(f"--k={k}: this model has no Switcher: remove --k")
    if config.get("routing") == "language" and k != 1:
        raise UserError(f"--k={k}: must be 1, since this model has one sub-module per language and no router")
    if isinstance(layers, list) and not 1 <= k <= len(layers):
        raise UserError(f"--k={k}: must be between 1 and {len(layers)}, the number of this model's sub-modules")


def check_limits(min_score: float | None, max_triples: int | None) -> None:
    """Raises UserError for limits that no answer can keep."""
    if min_score is not None and not 0 <= min_score <= 1:
        raise UserError(f"--min_score={min_score:g}: must be between 0 and 1")
    if max_triples is not None and max_triples < 1:
        raise UserError(f"--max_triples={max_triples}: must be at least 1")


def trained_model(run: RunFolder, which: Which = "best") -> TrainedModel:
    """The run's model to score or use.

    Raises UserError if there is none. Stage one never replaces a missing stage two, and a stage two is refused if its
    stage one has been trained again since.
    """
    check_run(run)
    link = "best" if which == "stage1" else which
    two = None if which == "stage1" else _read(run, 2, link)
    if two:
        return two
    one = _read(run, 1, link)
    if which != "stage1" and (run.has_begun(2) or (one and one.system in TWO_STAGES)):
        raise UserError(f"{run.root}: {_missing_stage_two(run, link, one)}")
    if one is None:
        raise UserError(f"{run.root}: no trained model (checkpoints/stage1/{link} is missing): train it first")
    return one


def check_run(run: RunFolder) -> None:
    """Raises UserError for what is no run's folder, with what to pass instead."""
    run.check_exists()
    root = run.root
    if (root / STATE).is_file():
        if EXPORTED in read_json(root / STATE, "pass the folder of a run"):
            raise UserError(f"{root}: is an exported model, not a run: pass the run that it was exported from")
        raise UserError(f"{root}: is a checkpoint, not a run: pass the folder of the run that it belongs to")
    if not (root / "checkpoints").is_dir() and is_model(root):
        raise UserError(f"{root}: is a model without {STATE}, not a run: pass the run that it is from")


def used_model(place: str | Path, which: Which = "best") -> TrainedModel:
    """The model in `place`, which is a run's folder (see `trained_model`), the folder of a checkpoint or of an exported
    model, or one on the hub (see `hub_files.local`). Raises UserError."""
    folder = local(place, STATE)
    if not (folder / STATE).is_file():
        return trained_model(RunFolder(folder), which)
    if which != "best":
        raise UserError(f"--which={which}: {folder} is a single checkpoint: remove --which, or pass the run's folder")
    folder = folder.resolve()
    # the user named this checkpoint, so whether training continued after it does not matter
    return TrainedModel(RunFolder(folder), folder, identity_of(folder), _state(folder), finished=True, stage_one=None)


def check_weights(model: TrainedModel) -> None:
    """Raises UserError for a model that was exported to a format without the weights that torch reads."""
    if model.exported and model.exported["to"] == "onnx":
        raise UserError(
            f"{model.folder}: is exported to ONNX, which has no weights for torch: pass the run that it was exported "
            "from, or its export without --to=onnx"
        )


def model_folder(place: str | Path, which: Which = "best") -> Path:
    """The folder with the model's own files (config.json, weights, tokenizer) in `place`: as `used_model`,
    or a folder that holds a model alone. Raises UserError."""
    folder = local(place, STATE)
    if (folder / STATE).is_file() or not is_model(folder):
        return used_model(folder, which).folder
    if which != "best":
        raise UserError(f"--which={which}: {folder} is a single model: remove --which, or pass the run's folder")
    return folder.resolve()


def is_model(folder: Path) -> bool:
    """Whether this is the folder of a model, a checkpoint or not, and no run's."""
    path = folder / "config.json"
    return path.is_file() and "model_type" in read_json(path, "pass a folder saved by mere-ds")


def _missing_stage_two(run: RunFolder, link: str, one: TrainedModel | None) -> str:
    """What is wrong with a run that lacks its stage two, and what to do."""
    advice = [f"finish stage two (train.py --stage=2 --run={run.root})"]
    if link == "best" and (run.model(2, "latest") / STATE).is_file():
        advice.append("use its newest checkpoint (--which=latest)")
    if one:
        advice.append("use stage one only (--which=stage1)")
    what = f"stage two has no {link} checkpoint"
    if one and not run.has_begun(2):
        what = f"{one.system} has not been trained through stage two"
    return f"{what}: {', or '.join(advice)}"


def _read(run: RunFolder, stage: int, link: str) -> TrainedModel | None:
    """A stage's checkpoint; None if there is none. Raises UserError if it is damaged."""
    folder = run.model(stage, link)
    if not (folder / STATE).is_file():
        return None
    folder = folder.resolve()
    state = _state(folder, stage)
    latest = run.model(stage, "latest")
    finished = _state(latest.resolve(), stage)["finished"] if (latest / STATE).is_file() else state["finished"]
    own = _own_stage_one(run, state) if stage == 2 else None
    return TrainedModel(run, folder, identity_of(folder), state, finished, own)


def _state(folder: Path, stage: int | None = None) -> dict:
    """The checked content of training.json, which must be of `stage` if given. Raises UserError."""
    path, advice = folder / STATE, "copy the checkpoint again, or train this stage again (--overwrite)"
    state = read_json(path, advice)
    if not is_intact(path, recorded_digest(folder, STATE)):
        raise UserError(f"{path}: damaged, its sha256 is not the recorded one: {advice}")
    stages = (1, 2) if stage is None else (stage,)
    ingredients = state.get("ingredients")
    recorded = ingredients if isinstance(ingredients, dict) else {}
    whole = type(state.get("step")) is int and type(state.get("finished")) is bool and state.get("stage") in stages
    known = (
        recorded.get("--system") in PRESETS
        and type(recorded.get("--seed")) is int
        and isinstance(recorded.get(DATA), str)
    )
    made = state.get(EXPORTED, dict.fromkeys(_OF_AN_EXPORT, ""))
    traced = isinstance(made, dict) and all(isinstance(made.get(name), str) for name in _OF_AN_EXPORT)
    if not (whole and known and traced):
        raise UserError(f"{path}: does not record how this stage was trained: {advice}")
    return state


def _own_stage_one(run: RunFolder, state: dict) -> dict | None:
    """The ingredients of this run's own stage one, if stage two started from it. Raises UserError if that stage one has
    been trained again since."""
    best, elsewhere = run.model(1, "best"), run.settings(2).get("stage_one_run")
    if elsewhere is not None and Path(elsewhere).resolve() != run.root.resolve():
        return None
    if not (best / STATE).is_file():
        return None
    then, now = state["ingredients"].get(STAGE_ONE), recorded_digest(best, "model.safetensors")
    if then != now:
        raise UserError(
            f"{run.root}: stage two was trained on a different stage one (sha256 {str(then)[:12]}...) than the current "
            f"one ({now[:12]}...): train stage two again (train.py --stage=2 --overwrite --run={run.root}), or use "
            "stage one only (--which=stage1)"
        )
    return _state(best.resolve(), 1)["ingredients"]
