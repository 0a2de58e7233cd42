"""A plan's results: the report of all its runs, and the target's tables as text."""

from mere_ds.evaluation.report.making import report_on
from mere_ds.evaluation.report.many import TABLES
from mere_ds.evaluation.report.runs import Row, have_many, load_rows
from mere_ds.evaluation.report.sources import format_sources
from mere_ds.evaluation.report.tables import all_scores, format_table, table_2, table_3, table_k
from mere_ds.files import write_whole
from mere_ds.reproduction.place import Workspace
from mere_ds.reproduction.plan import EVERYTHING, Plan


def write_report(target: str, plan: Plan, place: Workspace) -> str:
    """Write OUT/report and the target's tables as text (OUT/table2.txt and the like); returns that text."""
    rows = load_rows(str(place.run(job.name).root) for job in plan.jobs if job.name not in plan.left_out)
    page = report_on(rows, str(place.out / "report"))
    text = f"{text_of(target, rows)}\n\n{format_sources(rows)}"
    path = place.out / f"{target.replace(' ', '')}.txt"
    write_whole(path, f"{text}\n".encode())
    return f"{text}\n\nreport: {page}; this text: {path}"


def text_of(target: str, rows: list[Row]) -> str:
    """A target's tables as text; for any number of triples with all that tell what they got right."""
    own = {"table 3": [table_3], "sweep T": [table_3], "sweep k": [table_k], "figure 6": [all_scores]}
    own[EVERYTHING] = [table_2, table_3, table_k, all_scores]
    tables = [*own.get(target, [table_2]), *(TABLES if have_many(rows) else ())]
    return "\n\n".join(format_table(table(rows)) for table in tables)
