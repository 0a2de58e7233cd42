"""The trainings and evaluations behind the paper's tables and figures, as plain data from pure functions.

Stage one is expensive, so a plan trains none twice: that of mERE-LS, which has only stage one, also serves mERE, mERE14
and all other choices of sub-modules. Equal jobs of two plans have equal names, so plans share trained models.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mere_ds.config import PUBLISHED_MTMB, TrainConfig
from mere_ds.corpus.languages import GROUPS

LAYER_PAIRS = ((1, 1), (1, 2), (1, 3), (1, 4), (2, 2), (2, 3), (2, 4), (3, 3), (3, 4), (4, 4))
"""Table 3: the layers of the first and of the last three sub-modules."""
CONCATENATED = (1, 2, 3, 4, 5)
"""Figure 6: the numbers s of sentences that LA concatenates."""
SUB_MODULES = (2, 4, 6, 8, 10, 12)
"""The numbers T of sub-modules in our own sweep: half of them with one layer, half with two."""
PAPER_LAYERS, PAPER_CONCATENATE = TrainConfig.submodule_layers, TrainConfig.concatenate
"""train.py's defaults: a job with these needs no knobs, and so is shared with other plans."""

EVERYTHING = "all"
"""The target that includes all others."""


@dataclass(frozen=True)
class Job:
    """One training and the evaluations of its best model on the test split: as trained, and with each k of `ks`."""

    name: str
    """Its run folder is OUT/runs/NAME."""
    knobs: dict[str, Any]
    """The knobs that this job sets itself, as values of `TrainConfig`."""
    needs: str | None = None
    """The job whose stage one this stage two starts from."""
    ks: tuple[int, ...] = ()

    @property
    def stages(self) -> tuple[int, ...]:
        return {"1": (1,), "2": (2,), "all": (1, 2)}[self.knobs["stage"]]


@dataclass(frozen=True)
class Setting:
    """What a plan depends on, besides its table or figure and the seed."""

    languages: tuple[str, ...]
    """The chosen languages that the shards have."""
    choice: str = "all"
    """all, or languages and groups as in `--languages`."""
    batch_size: int = TrainConfig.batch_size
    submodule_layers: tuple[int, ...] = PAPER_LAYERS
    top_k: int = TrainConfig.top_k
    mtmb: str | None = PUBLISHED_MTMB
    """Folder or hub name of MTMB's weights; None leaves its row out."""
    triples: str = "one"
    """How many a sentence has, "one" or "many"; many leave HERBERTa's row out."""


@dataclass
class Plan:
    """Jobs in an order in which they can run, and the paper's rows that this setting can't reproduce."""

    jobs: list[Job]
    left_out: dict[str, str] = field(default_factory=dict)
    """Row or job -> why."""


def make_plan(target: str, setting: Setting, seeds: int) -> Plan:
    """The jobs of one of `TARGETS`, seed by seed, without duplicates."""
    jobs: dict[str, Job] = {}
    for seed in range(seeds):
        for job in TARGETS[target](setting, seed):
            before = jobs.get(job.name, job)
            jobs[job.name] = replace(before, ks=tuple(sorted({*before.ks, *job.ks})))
    return Plan(list(jobs.values()), _left_out(setting) if target in ("table 2", EVERYTHING) else {})


def nearest_multiple(of: int, to: int) -> int:
    """The multiple of `of` nearest to `to`, at least `of` itself; the smaller one of two."""
    return min((n * of for n in range(1, to // of + 2)), key=lambda n: (abs(n - to), n))


def _job(
    setting: Setting,
    seed: int,
    system: str,
    variant: str = "",
    *,
    stage: str,
    needs: str = "",
    ks: Sequence[int] = (),
    **knobs: Any,
) -> Job:
    chosen = {} if setting.choice == "all" else {"languages": setting.choice}
    name = "-".join(part for part in (system, variant, f"seed{seed}") if part)
    return Job(name, chosen | knobs | {"system": system, "stage": stage, "seed": seed}, needs or None, tuple(ks))


def _without_ls(setting: Setting, seed: int) -> Job:
    """mERE-LS, which is also stage one of all systems with LS."""
    return _job(setting, seed, "mERE-LS", stage="1")


def _with_ls(
    setting: Setting, seed: int, system: str = "mERE", variant: str = "", ks: Sequence[int] = (), **knobs: Any
) -> Iterator[Job]:
    """The shared stage one, and then a switcher on top of it."""
    first = _without_ls(setting, seed)
    yield first
    yield _job(setting, seed, system, variant, stage="2", needs=first.name, ks=ks, **knobs)


def _basic(setting: Setting, seed: int) -> Job:
    return _job(setting, seed, "mERE-LS-LA", stage="1")


def _layers(setting: Setting, seed: int, variant: str, layers: tuple[int, ...]) -> Iterator[Job]:
    if layers == PAPER_LAYERS:
        return _with_ls(setting, seed)
    fewer: dict[str, Any] = {"top_k": len(layers)} if len(layers) < setting.top_k else {}
    return _with_ls(setting, seed, variant=variant, submodule_layers=layers, **fewer)


def _table_2(setting: Setting, seed: int) -> Iterator[Job]:
    yield from _with_ls(setting, seed)
    yield _basic(setting, seed)
    if setting.triples == "one":
        yield _job(setting, seed, "HERBERTa", stage="all")
    yield _job(setting, seed, "mBERT", stage="1")
    if setting.mtmb:
        yield _job(setting, seed, "MTMB", stage="1", encoder_weights=setting.mtmb)
    for group in GROUPS:
        if languages := _of_group(setting, group):
            choice = group if setting.choice == "all" else ",".join(languages)
            yield _job(setting, seed, "mERE", group, stage="all", languages=choice)
    if len(setting.languages) > 1:
        for language in setting.languages:
            yield _job(setting, seed, "mERE-LS-LA", f"MONO-{language}", stage="1", languages=language)


def _of_group(setting: Setting, group: str) -> list[str]:
    """The setting's languages of this group; none if these are all languages, which is no separate row."""
    languages = [language for language in setting.languages if language in GROUPS[group]]
    return languages if len(languages) < len(setting.languages) else []


def _left_out(setting: Setting) -> dict[str, str]:
    rows = {}
    for group in GROUPS:
        if not _of_group(setting, group):
            here = "all of these" if set(setting.languages) & set(GROUPS[group]) else "none of these"
            rows[f"mERE ({group})"] = f"{here} languages are of the group {group}: {', '.join(setting.languages)}"
    if len(setting.languages) == 1:
        rows["mERE-LS-LA (MONO)"] = "with one language it is the same as mERE-LS-LA"
    if setting.triples == "many":
        rows["HERBERTa"] = "it finds one triple a sentence, and the shards hold any number"
    if not setting.mtmb:
        rows["MTMB"] = "--mtmb=none"
    return rows


def _table_3(setting: Setting, seed: int) -> Iterator[Job]:
    for first, last in LAYER_PAIRS:
        yield from _layers(setting, seed, f"layers-{first}-{last}", (first,) * 3 + (last,) * 3)


def _against_basic(setting: Setting, seed: int) -> Iterator[Job]:
    yield from _with_ls(setting, seed)
    yield _basic(setting, seed)


def _figure_6(setting: Setting, seed: int) -> Iterator[Job]:
    """s must divide the batch size, so the multiple of s nearest to the requested batch size is used."""
    for s in CONCATENATED:
        batch = nearest_multiple(s, setting.batch_size)
        variant = f"s{s}" if s != PAPER_CONCATENATE else ""
        knobs: dict[str, Any] = {"concatenate": s} if variant else {}
        knobs |= {"batch_size": batch} if batch != setting.batch_size else {}
        yield _job(setting, seed, "mERE-LS", variant, stage="1", **knobs)


def _figure_7(setting: Setting, seed: int) -> Iterator[Job]:
    yield from _with_ls(setting, seed)
    yield from _with_ls(setting, seed, "mERE14")
    yield _basic(setting, seed)


def _sweep_k(setting: Setting, seed: int) -> Iterator[Job]:
    return _with_ls(setting, seed, ks=range(1, len(setting.submodule_layers) + 1))


def _sweep_t(setting: Setting, seed: int) -> Iterator[Job]:
    for number in SUB_MODULES:
        yield from _layers(setting, seed, f"T{number}", (1,) * (number // 2) + (2,) * (number // 2))


def _everything(setting: Setting, seed: int) -> Iterator[Job]:
    for target, jobs in TARGETS.items():
        if target != EVERYTHING:
            yield from jobs(setting, seed)


TARGETS: dict[str, Callable[[Setting, int], Iterator[Job]]] = {
    "table 2": _table_2,
    "table 3": _table_3,
    "figure 3": _against_basic,
    "figure 4": _with_ls,
    "figure 5": _against_basic,
    "figure 6": _figure_6,
    "figure 7": _figure_7,
    "figure 8": _with_ls,
    "sweep k": _sweep_k,
    "sweep T": _sweep_t,
    EVERYTHING: _everything,
}
"""What can be reproduced -> its jobs for a setting and a seed."""
