"""The command `mere-ds serve`."""

from pathlib import Path
from typing import Any

from mere_ds.config import NO_RELATION, Precision, Which
from mere_ds.knobs import takes_knobs
from mere_ds.serving.settings import ServeSettings, listener, token_of_environment


@takes_knobs(ServeSettings)
def serve(
    run: str,
    *,
    min_score: float | None = None,
    max_triples: int | None = None,
    negative_label: tuple[str, ...] = (NO_RELATION,),
    keep_negative: bool = False,
    k: int | None = None,
    which: Which = "best",
    precision: Precision = "auto",
    threads: int | None = None,
    **given: Any,
) -> None:
    """Answer texts with their triples over HTTP, until Ctrl-C or SIGTERM.

    POST /extract takes {"text": ..., "lang": "de"}, {"texts": [...], "lang": "de"} or {"document": ..., "lang": "de"},
    with "min_score" and "max_triples" if wanted, and answers as mere-ds extract does, with or without --document; the
    language may be "auto". /openapi.json describes it. GET /healthz says whether the server answers, /metrics what it
    has done so far, for Prometheus; / is a page to try the model with. Texts that arrive together are computed
    together. Too large a request is refused by status 413, and one that finds the queue full by 429.

    If the environment has MERE_DS_TOKEN, clients must send it (Authorization: Bearer TOKEN), except for /healthz
    and the page's files. An address that other machines reach is refused without one. On Ctrl-C or
    SIGTERM the server answers the requests that it has accepted, and ends.

    Examples:
        mere-ds serve runs/a
        mere-ds serve runs/a --port=9000 --min_score=0.7
        MERE_DS_TOKEN=... mere-ds serve runs/a --host=0.0.0.0

    Args:
        run: Run folder, the folder of a checkpoint or of an exported model, or hf://org/name on the hub.
        min_score: Least score of a triple where a request has none, 0 to 1 (None: the model's threshold, or any).
        max_triples: Maximum number of triples per text where a request has none (None: no maximum).
        negative_label: Relations that mean that there is none; answers leave them out.
        keep_negative: Give triples with these relations too.
        k: Number of sub-modules to run (None: as trained, 3 by default).
        which: The best or the latest model of the last stage; stage1: the best model of stage one.
        precision: Number format of the computation; auto: the fastest of the hardware.
        threads: How many threads compute on a CPU (None: one for each core).
    """
    settings, token = ServeSettings(**given), token_of_environment()
    from mere_ds.runs.trained import check_limits, model_folder

    check_limits(min_score, max_triples)
    folder = model_folder(run, which)
    with listener(settings, token) as listening:  # an address that can't be had is refused before the model is loaded
        from mere_ds.inference import Extractor
        from mere_ds.serving.program import engine_of, serve_model

        negative = () if keep_negative else negative_label
        extractor = Extractor.load(folder, k, min_score, max_triples, negative, threads, precision=precision)
        serve_model(engine_of(extractor, Path(run).resolve().name), listening, settings, token)
