"""The plans are the paper's rows, and train nothing twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.corpus.languages import SMILER_LANGUAGES
from mere_ds.reproduction.plan import EVERYTHING, TARGETS, Setting, make_plan, nearest_multiple

ALL = Setting(languages=SMILER_LANGUAGES)


def rows(target: str, setting: Setting = ALL, seeds: int = 1) -> dict[str, dict]:
    """Job -> its knobs except for seed and stage, and the job that it needs."""
    jobs = make_plan(target, setting, seeds).jobs
    hidden = ("seed", "stage")
    return {job.name: {k: v for k, v in job.knobs.items() if k not in hidden} | {"needs": job.needs} for job in jobs}


def basic(system: str, **knobs) -> dict:
    return {"system": system, "needs": None, **knobs}


LS = "mERE-LS-seed0"


def test_table_2_has_the_papers_rows():
    mono = {f"mERE-LS-LA-MONO-{x}-seed0": basic("mERE-LS-LA", languages=x) for x in SMILER_LANGUAGES}
    assert rows("table 2") == {
        LS: basic("mERE-LS"),
        "mERE-seed0": {"system": "mERE", "needs": LS},
        "mERE-LS-LA-seed0": basic("mERE-LS-LA"),
        "HERBERTa-seed0": basic("HERBERTa"),
        "mBERT-seed0": basic("mBERT"),
        "MTMB-seed0": basic("MTMB", encoder_weights="akoksal/MTMB"),
        "mERE-EURO-seed0": basic("mERE", languages="EURO"),
        "mERE-SVO-seed0": basic("mERE", languages="SVO"),
        **mono,
    }
    assert make_plan("table 2", ALL, 1).left_out == {}


def test_stages_of_table_2():
    stages = {job.name: job.stages for job in make_plan("table 2", ALL, 1).jobs}
    assert stages["mERE-seed0"] == (2,) and stages[LS] == stages["mBERT-seed0"] == stages["MTMB-seed0"] == (1,)
    assert stages["HERBERTa-seed0"] == stages["mERE-EURO-seed0"] == (1, 2)


def test_table_3_tunes_ten_switchers_over_one_stage_one():
    plan = rows("table 3")
    layers = [knobs.pop("submodule_layers", None) for knobs in plan.values()]
    pairs = [None, "1-1", None, "1-3", "1-4", "2-2", "2-3", "2-4", "3-3", "3-4", "4-4"]  # LS, and mERE itself is 1-2
    assert layers == [p and (int(p[0]),) * 3 + (int(p[2]),) * 3 for p in pairs]
    assert list(plan)[:3] == [LS, "mERE-layers-1-1-seed0", "mERE-seed0"]
    assert all(knobs == {"system": "mERE", "needs": LS} for name, knobs in plan.items() if name != LS)


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("figure 3", [LS, "mERE-seed0", "mERE-LS-LA-seed0"]),
        ("figure 4", [LS, "mERE-seed0"]),
        ("figure 5", [LS, "mERE-seed0", "mERE-LS-LA-seed0"]),
        ("figure 7", [LS, "mERE-seed0", "mERE14-seed0", "mERE-LS-LA-seed0"]),
        ("figure 8", [LS, "mERE-seed0"]),
        ("sweep k", [LS, "mERE-seed0"]),
    ],
)
def test_jobs_of_the_others(target, names):
    assert list(rows(target)) == names


def test_figure_6_keeps_the_batch_as_near_as_s_lets_it():
    assert rows("figure 6") == {
        "mERE-LS-s1-seed0": basic("mERE-LS", concatenate=1),
        LS: basic("mERE-LS"),
        "mERE-LS-s3-seed0": basic("mERE-LS", concatenate=3, batch_size=15),
        "mERE-LS-s4-seed0": basic("mERE-LS", concatenate=4),
        "mERE-LS-s5-seed0": basic("mERE-LS", concatenate=5, batch_size=15),
    }


def test_the_sweep_of_k_only_scores():
    *_, mere = make_plan("sweep k", ALL, 1).jobs
    assert mere.ks == (1, 2, 3, 4, 5, 6)
    *_, mere = make_plan("sweep k", Setting(("de", "fr"), submodule_layers=(1, 2)), 1).jobs
    assert mere.ks == (1, 2)


def test_the_sweep_of_t_has_half_of_one_layer_and_half_of_two():
    plan = rows("sweep T")
    assert {name: knobs.get("submodule_layers") for name, knobs in plan.items()} == {
        LS: None,
        "mERE-T2-seed0": (1, 2),
        "mERE-T4-seed0": (1, 1, 2, 2),
        "mERE-seed0": None,
        "mERE-T8-seed0": (1,) * 4 + (2,) * 4,
        "mERE-T10-seed0": (1,) * 5 + (2,) * 5,
        "mERE-T12-seed0": (1,) * 6 + (2,) * 6,
    }
    assert [knobs["top_k"] for knobs in plan.values() if "top_k" in knobs] == [2], "k can't be more than T"


@pytest.mark.parametrize("target", TARGETS)
def test_every_job_comes_once_after_what_it_needs_seed_by_seed(target):
    jobs = make_plan(target, ALL, 3).jobs
    names = [job.name for job in jobs]
    assert len(set(names)) == len(names)
    assert all(job.needs is None or names.index(job.needs) < place for place, job in enumerate(jobs))
    seeds = [job.knobs["seed"] for job in jobs]
    assert seeds == sorted(seeds) and set(seeds) == {0, 1, 2}
    assert all(job.needs is None or job.needs.endswith(f"seed{job.knobs['seed']}") for job in jobs)


def test_everything_is_all_targets_with_what_they_share_once():
    everything = {job.name: job for job in make_plan(EVERYTHING, ALL, 1).jobs}
    for target in TARGETS:
        for job in make_plan(target, ALL, 1).jobs:
            assert everything[job.name].knobs == job.knobs and set(everything[job.name].ks) >= set(job.ks)
    assert everything["mERE-seed0"].ks == (1, 2, 3, 4, 5, 6)


def test_few_languages_leave_rows_out_and_say_so():
    plan = make_plan("table 2", Setting(("de", "en"), mtmb=None), 1)
    assert plan.left_out.keys() == {"mERE (EURO)", "mERE (SVO)", "MTMB"}
    assert "all of these" in plan.left_out["mERE (EURO)"]
    assert not [job.name for job in plan.jobs if "EURO" in job.name or "SVO" in job.name or "MTMB" in job.name]
    assert "none of these" in make_plan("table 2", Setting(("ko", "fa")), 1).left_out["mERE (SVO)"]
    assert "mERE-LS-LA (MONO)" in make_plan("table 2", Setting(("ko",)), 1).left_out


@pytest.mark.parametrize("target", TARGETS)
def test_any_number_of_triples_leaves_herberta_alone_out(target):
    plan, usual = make_plan(target, Setting(SMILER_LANGUAGES, triples="many"), 2), make_plan(target, ALL, 2)
    assert plan.jobs == [job for job in usual.jobs if job.knobs["system"] != "HERBERTa"]
    assert plan.left_out.keys() == ({"HERBERTa"} if len(plan.jobs) < len(usual.jobs) else set())


def test_a_choice_of_languages_goes_into_every_job():
    plan = rows("table 2", Setting(("de", "ru", "ko"), choice="ko,de,ru"))
    assert plan[LS]["languages"] == plan["mERE-seed0"]["languages"] == "ko,de,ru"
    assert plan["mERE-EURO-seed0"]["languages"] == "de" and plan["mERE-SVO-seed0"]["languages"] == "de,ru"
    assert plan["mERE-LS-LA-MONO-ru-seed0"]["languages"] == "ru"


@given(st.integers(1, 50), st.integers(1, 500))
def test_nearest_multiple(of, to):
    found = nearest_multiple(of, to)
    assert found > 0 and found % of == 0
    assert abs(found - to) <= of / 2 or found == of
