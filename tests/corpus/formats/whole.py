"""A small whole corpus of each format, for what must hold of all of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mere_ds.corpus.folder import Corpus, open_corpus
from mere_ds.corpus.formats.options import SourceOptions
from tests.corpus.formats.damage import Files, lines


class Made(NamedTuple):
    """A small valid corpus of a format, with two or more texts and relations."""

    files: Files
    options: dict[str, Any] = {}  # noqa: RUF012 (never changed)
    """Of `SourceOptions`, where the format needs any."""


def written(folder: Path, files: Files) -> Path:
    """The folder with these files alone."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def opened(folder: Path, name: str, **options: Any) -> Corpus:
    """German training texts of a format; `options` are those of its sample, and others."""
    return open_corpus(folder, options=SourceOptions(**{"format": name, "split": "train", "lang": "de", **options}))


def brat() -> Made:
    ann = "T1\tPER 0 3\tIda\nT2\tPlace 13 22\tNorth Sea\nR1\tleft Arg1:T1 Arg2:T2\t\n*\tnear T1 T2\n"
    pieces = "T1\tPER 0 3;8 10\tIda Bo\nT2\tPlace 4 7\tsaw\nR1\tby ARG2:T1 Arg1:T2\n#1\tNote T1\twhy\n"
    return Made(
        {"train/a.txt": b"Ida left the North Sea\n", "train/a.ann": ann.encode()}
        | {"train/b.txt": b"Ida saw Bo", "train/b.ann": pieces.encode()}
    )


def conll04() -> Made:
    row = {"tokens": ["Ida", "left", "Oslo"], "relations": [{"type": "Left", "head": 0, "tail": 1}], "orig_id": 1}
    entities = [{"type": "Peop", "start": 0, "end": 1}, {"type": "Loc", "start": 2, "end": 3}]
    tags = row | {"tags": ["U-Peop", "O", "U-Loc"]}
    return Made({"train.json": json.dumps([row | {"entities": entities}] * 2).encode(), "train_tags.json": lines(tags)})


def crossre() -> Made:
    row = {
        "doc_key": "a-1",
        "sentence": ["Ida", "left", "North", "Sea", "."],
        "ner": [[0, 0, "person"], [2, 3, "place"]],
    }
    relation = [0, 0, 2, 3, "part-of", "", False, False]
    chars = {
        "token2charspan": [[0, 3], [4, 8], [9, 14], [15, 18], [18, 19]],
        "sentence-detokenized": "Ida left North Sea.",
    }
    return Made(
        {"train.json": lines(row | {"relations": [relation]}, row | chars | {"relations": [relation, relation]})}
    )


def doccano() -> Made:
    entities = [{"id": 5, "label": "x", "start_offset": 0, "end_offset": 3}]
    entities.append({"id": 6, "label": "x", "start_offset": 9, "end_offset": 13})
    relations = [{"id": 1, "from_id": 5, "to_id": 6, "type": "left"}]
    row = {"id": 1, "text": "Ida left Oslo", "entities": entities, "relations": relations, "Comments": []}
    return Made({"train.jsonl": lines(row, row | {"id": 2})}, {"offsets": "utf16"})


def docred() -> Made:
    ida, oslo = (
        {"name": name, "pos": [at, at + 1], "sent_id": 0, "type": "x"} for name, at in (("Ida", 0), ("Oslo", 2))
    )
    she = {"name": "She", "pos": [0, 1], "sent_id": 1, "type": "x"}
    labels = [{"h": 0, "t": 1, "r": "P1", "evidence": [0]}, {"h": 1, "t": 0, "r": "P2", "evidence": []}]
    row = {"title": "T", "vertexSet": [[ida, she], [oslo]], "sents": [["Ida", "left", "Oslo", "."], ["She", "ran"]]}
    return Made({"train.json": json.dumps([row | {"labels": labels}] * 2).encode()})


def duie() -> Made:
    several = {"subject": "李华", "predicate": "饰演", "object": {"@value": "王明", "inWork": "长夜"}}
    plain = {"subject": "长夜", "predicate": "导演", "object": "周可", "subject_type": "影视", "object_type": "人物"}
    rows = [{"text": "李华在《长夜》里饰演王明", "spo_list": [several]}, {"text": "周可的长夜", "spo_list": [plain]}]
    return Made({"train.json": lines(*rows)})


def fewrel() -> Made:
    row = {"tokens": ["Ida", "left", "Oslo"], "h": ["ida", "Q1", [[0]]], "t": ["oslo", "Q2", [[2]]]}
    return Made({"train.json": json.dumps({"P1": [row, row], "P2": [row]}).encode()})


def gliner2() -> Made:
    relations = [{"sold": {"head": "Ida", "tail": ["tea", "Rum"]}}, {"sale": {"who": "Ida", "what": "tea", "to": "Bo"}}]
    rows = [{"input": "Ida sold Bo tea and rum", "output": {"relations": relations, "entities": {"p": ["Ida"]}}}]
    return Made({"train.jsonl": lines(*rows, {"text": "Bo left", "schema": {"relations": []}})})


def glirel() -> Made:
    head, tail = {"mention": "Ida", "position": [0, 0], "type": "x"}, {"mention": "North Sea", "position": [2, 3]}
    said = {
        "head_pos": [0, 1],
        "tail_pos": [2, 4],
        "head_text": ["Ida"],
        "tail_text": ["North", "Sea"],
        "label": "left",
    }
    row = {"ner": [[0, 0, "x", "Ida"]], "tokenized_text": ["Ida", "left", "North", "Sea"]}
    rows = [row | {"relations": [{"head": head, "tail": tail, "relation_text": "left"}]}, row | {"relations": [said]}]
    return Made({"train.jsonl": lines(*rows)})


def klue() -> Made:
    head, tail = (
        {"word": "Ida", "start_idx": 0, "end_idx": 2, "type": "P"},
        {"word": "Oslo", "start_idx": 9, "end_idx": 12},
    )
    row = {"guid": "k-1", "sentence": "Ida left Oslo", "subject_entity": head, "object_entity": tail, "label": "left"}
    columns = f'id,sentence,subject_entity,object_entity,label\n1,Ida left Oslo,"{head}","{tail}",left\n'
    return Made({"train.json": json.dumps([row, row]).encode(), "train.csv": columns.encode()})


def label_studio() -> Made:
    places = (("a", 0, 3, "Ida"), ("b", 9, 13, "Oslo"))
    result: list[Any] = [
        {"id": own, "type": "labels", "from_name": "label", "to_name": "text"}
        | {"value": {"start": start, "end": end, "text": text, "labels": ["x"]}}
        for own, start, end, text in places
    ]
    result.append({"from_id": "a", "to_id": "b", "type": "relation", "direction": "bi", "labels": ["left", "saw"]})
    annotation = {"id": 1, "result": result, "was_cancelled": False, "ground_truth": False}
    task = {"id": 31, "annotations": [annotation], "data": {"text": "Ida left Oslo"}, "predictions": []}
    return Made({"train.json": json.dumps([task, task]).encode()})


def marked_text() -> Made:
    semeval = '1\t"<e1>Ida</e1> left <e2>Oslo</e2>."\nLeft(e1,e2)\nComment: none\n\n'
    kbp = '7\t" In <e1> Oslo </e1> is <e2> Ida </e2> . "\norg:in(e2,e1)\n\n\n'
    return Made({"train.txt": semeval.replace("\n", "\r\n").encode() * 2, "train_2.txt": kbp.encode() * 2})


def nyt() -> Made:
    row = {"text": "Ida left the North Sea", "triple_list": [["Ida", "left", "North Sea"], ["Ida", "saw", "Ida"]]}
    placed = {"tokens": ["Bo", "saw", "Ida"], "spo_list": [["Bo", "saw", "Ida"]]}
    details = placed | {"spo_details": [[0, 1, "", "saw", 2, 3, ""]]}
    return Made({"train.json": json.dumps([row, details]).encode(), "more/train.json": lines(row)})


def opennre() -> Made:
    h, t = {"id": "Q1", "name": "ida", "pos": [0, 3]}, {"id": "Q2", "name": "Oslo", "pos": [9, 13]}
    row = {"text": "Ida left Oslo", "h": h, "t": t, "relation": "left"}
    tokens = row | {"token": ["Ida", "left", "Oslo"], "h": h | {"pos": [0, 1]}, "t": t | {"pos": [2, 3]}}
    del tokens["text"]
    return Made({"train.txt": lines(row, row), "train_2.txt": lines(tokens)})


def prodigy() -> Made:
    tokens = [{"text": "Ida", "start": 0, "end": 3, "id": 0}, {"text": "left", "start": 4, "end": 8, "id": 1}]
    span = {"start": 0, "end": 3, "token_start": 0, "token_end": 0, "label": "PER"}
    row = {"text": "Ida left", "tokens": tokens, "spans": [span], "answer": "accept"}
    relation = {"head": 0, "child": 1, "head_span": span, "label": "did"}
    return Made({"train.jsonl": lines(row | {"relations": [relation]}, row | {"relations": [relation]})})


def rebel() -> Made:
    ida, sea = (
        {"uri": "Q1", "boundaries": place, "surfaceform": name}
        for place, name in (([0, 3], "Ida"), ([15, 24], "North Sea"))
    )
    name = {"uri": "P1", "boundaries": None, "surfaceform": "left"}
    first = {"subject": ida, "predicate": name, "object": sea, "confidence": 0.9}
    row = {"docid": "1", "text": "Ida left the North Sea. Bo came.", "entities": [ida, sea]}
    second = {"subject": 0, "predicate": "left", "object": 1}
    return Made({"train.jsonl": lines(row | {"triples": [first]}, row | {"lan": "de", "relations": [second]})})


def scierc() -> Made:
    row = {"doc_key": "d", "sentences": [["Ida", "parses", "text"], ["Bo", "too"]], "clusters": []}
    ner = [[[0, 0, "Task"], [2, 2, "Task"]], [[3, 3, "Task"], [4, 4, "Task"]]]
    relations = [[[2, 2, 0, 0, "USED-FOR"]], [[3, 3, 4, 4, "COMPARE"]]]
    return Made({"train.json": lines(row | {"ner": ner, "relations": relations})})


def saved_dataset() -> Made:
    """What `datasets` saves, which is Arrow's stream format with a list of files."""
    import pyarrow.ipc

    rows = pyarrow.Table.from_pylist([_TABLE_ROW, _TABLE_ROW | {"id": "2"}])
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    state = json.dumps({"_data_files": [{"filename": "data.arrow"}], "_split": "train"}).encode()
    files = {"train/state.json": state, "train/data.arrow": sink.getvalue().to_pybytes()}
    return Made(files | {"dataset_dict.json": b'{"splits": ["train"]}'}, {"end": "exclusive"})


def spacy() -> Made:
    """Relations in both of the ways that are read, written by spaCy."""
    from spacy.tokens import Doc, DocBin, Span
    from spacy.vocab import Vocab

    docs = [Doc(Vocab(), words=["Ida", "left", "Oslo"]) for _ in range(2)]
    for name, at in (("relation_heads", 0), ("relation_tails", 2)):
        docs[0].spans[name] = [Span(docs[0], at, at + 1, "left")]
    docs[1].ents = [Span(docs[1], 0, 1, "x"), Span(docs[1], 2, 3, "x")]
    docs[1].user_data["._.", "rel", None, None] = {(0, 2): {"left": 1.0, "saw": 0.9}}
    return Made({"train.spacy": DocBin(store_user_data=True, docs=docs).to_bytes()})


_TABLE_LINK = {"head_start": 0, "head_end": 3, "relation": "left", "tail_start": 9, "tail_end": 13}
_TABLE_ROW = {"id": "1", "text": "Ida left Oslo", "triples": [_TABLE_LINK, _TABLE_LINK | {"relation": "saw"}]}


def table() -> Made:
    import pyarrow.parquet

    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([_TABLE_ROW] * 2), sink)
    columns = 'id;text;head;tail;label\n1;"Ida left\nOslo";Ida;Oslo;left\n2;Bo saw Ida;Bo;Ida;saw\n'.replace(";", ",")
    files = {"a.train.parquet": sink.getvalue().to_pybytes(), "b.train.csv": columns.encode()}
    return Made(files | {"c.train.json": lines(_TABLE_ROW, _TABLE_ROW)}, {"end": "exclusive"})


def tacred() -> Made:
    ends = {"subj_start": 0, "subj_end": 0, "obj_start": 2, "obj_end": 3}
    row = {"id": "1", "token": ["Ida", "left", "North", "Sea"], "relation": "left(e2,e1)", **ends}
    return Made({"train.json": json.dumps([row, row]).encode()})


def webanno_tsv() -> Made:
    span = "webanno.custom.Thing"
    head = f"#FORMAT=WebAnno TSV 3.3\n#T_SP={span}|kind\n#T_RL=webanno.custom.Tie|value|BT_{span}\n\n\n"
    rows = ["1-1 0-3 Ida PER[1]|X[2] _ _", "1-2 4-8 left _ _ _", "1-3 9-13 Rome LOC from|saw 1-1[1_0]|1-1[2_0]"]
    more = ["2-1 14-16 🜚 PER _ _", "2-2 17-20 ran LOC by 2-1"]
    first, second = ("".join("\t".join(row.split(" ")) + "\t\n" for row in its) for its in (rows, more))
    return Made({"train.tsv": f"{head}#Text=Ida left Rome\n{first}\n#Text=🜚 ran\n{second}".encode()})


def xmi() -> Made:
    """One document of two lines, written by dkpro-cassis, so that the files are as INCEpTION's."""
    from cassis import Cas, TypeSystem

    system = TypeSystem()
    thing, tie = (system.create_type(name=f"webanno.custom.{name}") for name in ("Thing", "Tie"))
    for role in ("Governor", "Dependent"):
        system.create_feature(tie, role, thing)
    system.create_feature(tie, "value", "uima.cas.String")
    cas = Cas(typesystem=system)
    cas.sofa_string = "🜚 Ida left Oslo.\r\nBo ran."
    ida, oslo, bo, ran = (thing(begin=a, end=b) for a, b in ((2, 5), (11, 15), (18, 20), (21, 24)))
    cas.add_all([ida, oslo, bo, ran, tie(begin=11, end=15, Governor=ida, Dependent=oslo, value="left")])
    cas.add(tie(begin=21, end=24, Governor=bo, Dependent=ran, value="by"))
    files = {"train/TypeSystem.xml": system.to_xml(), "train/a.xmi": cas.to_xmi()}
    return Made({name: content.encode() for name, content in files.items()})


SAMPLES: dict[str, Callable[[], Made]] = {
    "brat": brat,
    "conll04": conll04,
    "crossre": crossre,
    "datasets": saved_dataset,
    "doccano": doccano,
    "docred": docred,
    "duie": duie,
    "fewrel": fewrel,
    "gliner2": gliner2,
    "glirel": glirel,
    "klue": klue,
    "label-studio": label_studio,
    "marked-text": marked_text,
    "nyt": nyt,
    "opennre": opennre,
    "prodigy": prodigy,
    "rebel": rebel,
    "scierc": scierc,
    "spacy": spacy,
    "table": table,
    "tacred": tacred,
    "webanno-tsv": webanno_tsv,
    "xmi": xmi,
}
"""Builders by the name of the format; each new format adds its own."""
