"""`mere-ds report`: makes the page, the plot files and TensorBoard's images from run folders."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from mere_ds.errors import from_os_error
from mere_ds.evaluation.report.figures import Drawing, draw_all
from mere_ds.evaluation.report.many import TABLES, figure_reliability
from mere_ds.evaluation.report.page import make_page
from mere_ds.evaluation.report.plots import png
from mere_ds.evaluation.report.runs import Row, have_many, load_rows
from mere_ds.evaluation.report.sources import format_sources
from mere_ds.evaluation.report.tables import all_scores, format_table, table_2, table_3, table_k
from mere_ds.files import write_whole, writing

log = logging.getLogger("mere_ds")


def make_report(runs: Sequence[str], out: str) -> Path:
    """Write OUT/index.html, OUT/tables.txt, OUT/figures/*.png and each RUN/tensorboard/report; returns the page's path.

    Raises UserError for a folder that is not an evaluated run, MachineError if a file can't be written.
    """
    return report_on(load_rows(runs), out)


def report_on(rows: Sequence[Row], out: str) -> Path:
    """`make_report` for loaded runs."""
    kinds, drawings = [table_2, table_3, table_k, all_scores], draw_all(rows)
    if have_many(rows):
        kinds += TABLES
        drawings.append(figure_reliability(list(rows)))
    tables = [table(rows) for table in kinds]
    sources = format_sources(rows)
    text = "\n\n".join([*(format_table(table) for table in tables if table.lines), sources])
    page = Path(out) / "index.html"
    try:
        _write_plots(page.with_name("figures"), drawings, sources)
        _write_board(drawings, sources)
        write_whole(page.with_name("tables.txt"), f"{text}\n".encode())
        write_whole(page, make_page(rows, tables, drawings).encode())
    except OSError as error:
        raise from_os_error(error) from None
    return page


def _write_plots(folder: Path, drawings: Sequence[Drawing], sources: str) -> None:
    """Write a PNG file for each plot; remove those that only an earlier report drew."""
    for drawing in drawings:
        path = folder / f"{drawing.name}.png"
        if drawing.plot:
            write_whole(path, png(drawing.plot, sources))
        else:
            path.unlink(missing_ok=True)


def _write_events(path: Path, drawings: Sequence[Drawing], sources: str) -> None:
    """Write TensorBoard's file atomically; TensorBoard's own writer is a thread, whose OSErrors become tracebacks."""
    from tensorboard.compat.proto.event_pb2 import (
        Event,
    )  # imported late: torch takes longer than all the rest of a report
    from tensorboard.summary.writer.record_writer import RecordWriter
    from torch.utils.tensorboard import summary
    from torch.utils.tensorboard._utils import figure_to_image

    with writing(path) as file:
        records = RecordWriter(file)
        records.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        shown = [summary.text("report/made from", sources)]
        for drawing in drawings:
            pixels = figure_to_image(drawing.plot, close=False)
            shown.append(summary.image(f"report/{drawing.name}", pixels, dataformats="CHW"))
        for one in shown:
            records.write(Event(wall_time=time.time(), summary=one).SerializeToString())


def _write_board(drawings: Sequence[Drawing], sources: str) -> None:
    """Write the plots into the TensorBoard folders of the runs they show, replacing those of an earlier report."""
    of_run: dict[Path, list[Drawing]] = {}
    for drawing in drawings:
        for run in (run for row in drawing.rows for result in row.results for run in result.runs):
            of_run.setdefault(run.run.report_board, []).append(drawing)
    for folder, shown in tqdm(of_run.items(), desc="TensorBoard", unit="run", disable=None):
        path = folder / f"events.out.tfevents.{time.time_ns()}.report"
        try:
            _write_events(path, shown, sources)
            for earlier in set(folder.iterdir()) - {path}:
                earlier.unlink()
        except OSError as error:  # a run may be another user's
            log.warning("%s: %s; skipping the images for TensorBoard there", folder, error.strerror)
