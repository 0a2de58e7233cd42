import re
from contextlib import suppress

import pytest
from cassis import Cas, TypeSystem
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.registry import recognised
from mere_ds.corpus.rows import Tally
from mere_ds.errors import UserError

ANNOTATION, STRING = "uima.tcas.Annotation", "uima.cas.String"
SENTENCE = "de.tudarmstadt.ukp.dkpro.core.api.segmentation.type.Sentence"
TEXT = "🜚 Ida left Rome.\r\nShe🜚 was late."


def types(features=("value",), roles=("Governor", "Dependent"), layer="webanno.custom.Tie"):
    system = TypeSystem()
    for name in (SENTENCE, "webanno.custom.Thing"):
        system.create_type(name=name)
    tie = system.create_type(name=layer)
    for role in roles:
        system.create_feature(tie, role, "webanno.custom.Thing")
    for feature in features:
        system.create_feature(tie, feature, STRING)
    return system


class Document:
    """A CAS as INCEpTION would make it; spans are given as their texts."""

    def __init__(self, system=None, text=TEXT, layer="webanno.custom.Tie"):
        self.system = system or types()
        self.cas = Cas(typesystem=self.system)
        self.cas.sofa_string = text
        self.text, self._layer = text, layer

    def thing(self, text, index=True):
        at = self.text.index(text)
        found = self.system.get_type("webanno.custom.Thing")(begin=at, end=at + len(text))
        if index:
            self.cas.add(found)
        else:
            found.sofa = self.cas.get_sofa()
        return found

    def tie(self, head, tail, roles=("Governor", "Dependent"), **features):
        ends = {role: its for role, its in zip(roles, (head, tail), strict=True) if its is not None}
        begin = tail.begin if tail is not None else 0
        self.cas.add(self.system.get_type(self._layer)(begin=begin, end=begin + 1, **ends, **features))

    def write(self, folder):
        self.system.to_xml(folder / "TypeSystem.xml")
        self.cas.to_xmi(folder / "x.xmi")
        return folder / "x.xmi"


def read(path, **given):
    options = SourceOptions(**{"format": "xmi", "lang": "en", "split": "train", "cut": "document", **given})
    corpus = open_corpus(path, options=options)
    tally = Tally(corpus.files[0])
    examples = list(corpus.read(corpus.files[0], tally=tally))
    counts = tally.counts[-1]
    assert counts.rows == counts.kept + sum(counts.rejected.values())
    return [(e.text, triples(e)) for e in examples], counts


def triples(example):
    cut = example.text
    return [(cut[slice(*head)], label, cut[slice(*tail)]) for head, label, tail in example.triples]


def test_the_governor_is_the_head_and_utf16_offsets_become_code_points(tmp_path):
    document = Document()
    document.tie(document.thing("Rome"), document.thing("She🜚"), value="of")
    document.tie(document.thing("Ida left"), document.thing("Rome"), value="from")
    path = document.write(tmp_path)
    assert f'end="{TEXT.index("Rome") + 5}"' in path.read_text()  # one more than code points: the file counts UTF-16
    kept, counts = read(path)
    assert kept == [(TEXT, [("Rome", "of", "She🜚"), ("Ida left", "from", "Rome")])] and not counts.left_out


def test_an_argument_that_is_in_no_index_has_offsets_of_utf16(tmp_path):
    document = Document()
    document.tie(document.thing("She", index=False), document.thing("Rome"), value="in")
    path = document.write(tmp_path)
    shifted = TEXT.index("She") + 1  # dkpro-cassis writes what it holds, but UIMA's own files count UTF-16 everywhere
    old = rf'(xmi:id="\d+" )(sofa="\d+" )?begin="{shifted - 1}" end="{shifted + 2}"'
    path.write_text(re.sub(old, rf'\1begin="{shifted}" end="{shifted + 3}"', path.read_text()), newline="")
    assert read(path)[0][0][1] == [("She", "in", "Rome")]


def test_an_offset_inside_of_a_character_is_told_and_not_taken_as_code_points(tmp_path):
    document = Document()
    document.tie(document.thing("She🜚"), document.thing("Rome"), value="in")
    path = document.write(tmp_path)
    end = TEXT.index("She") + len("She🜚") + 2
    path.write_text(path.read_text().replace(f'end="{end}"', f'end="{end - 1}"'), newline="")
    kept, counts = read(path)
    assert kept == [(TEXT, [])] and counts.left_out == {"span_out_of_text": 1}


def test_a_document_is_cut_at_its_own_sentences(tmp_path):
    document = Document()
    for text in ("🜚 Ida left Rome.", "She🜚 was late."):
        at = TEXT.index(text)
        document.cas.add(document.system.get_type(SENTENCE)(begin=at, end=at + len(text)))
    document.tie(document.thing("Ida"), document.thing("Rome"), value="from")
    kept, _ = read(document.write(tmp_path), cut="auto")
    assert kept == [("🜚 Ida left Rome.", [("Ida", "from", "Rome")]), ("She🜚 was late.", [])]


@pytest.mark.parametrize("roles", [("source", "target"), ("Head", "Tail"), ("arg1", "arg2"), ("subject", "object")])
def test_other_names_of_the_two_ends(tmp_path, roles):
    document = Document(types(roles=roles))
    document.tie(document.thing("Ida"), document.thing("Rome"), roles, value="from")
    assert read(document.write(tmp_path))[0][0][1] == [("Ida", "from", "Rome")]


def test_ends_whose_names_say_nothing_are_asked_for(tmp_path):
    document = Document(types(roles=("one", "two")))
    document.tie(document.thing("Ida"), document.thing("Rome"), ("one", "two"), value="from")
    path = document.write(tmp_path)
    kept, counts = read(path)
    assert kept == [(TEXT, [])] and counts.left_out == {"unknown_roles": 1}
    assert read(path, map=("head=two", "tail=one"))[0][0][1] == [("Rome", "from", "Ida")]
    with pytest.raises(UserError, match="pass both head=FEATURE and tail=FEATURE"):
        read(path, map=("head=two",))


def test_the_label_is_a_feature_that_the_type_system_names(tmp_path):
    document = Document(types(features=("type", "note")))
    document.tie(document.thing("Ida"), document.thing("Rome"), type_="from", note="sure")
    path = document.write(tmp_path)
    with pytest.raises(UserError, match="--map relation=NAME, one of .*type"):
        read(path)
    assert read(path, map=("relation=type",))[0][0][1] == [("Ida", "from", "Rome")]
    other = tmp_path / "other"
    other.mkdir()
    document = Document(types(features=()))
    document.tie(document.thing("Ida"), document.thing("Rome"))
    assert read(document.write(other))[0][0][1] == [("Ida", "Tie", "Rome")]


def test_relations_without_an_end_or_a_label_or_of_another_layer_are_counted(tmp_path):
    document = Document()
    document.tie(document.thing("Ida"), None, value="from")
    document.tie(document.thing("Ida"), document.thing("Rome"))
    document.tie(document.thing("Ida"), document.thing("Rome"), value="from")
    path = document.write(tmp_path)
    assert read(path)[1].left_out == {"unknown_entity": 1, "empty_label": 1}
    kept, counts = read(path, map=("layer=Other",))
    assert kept == [(TEXT, [])] and counts.left_out == {"other_layer": 3}


def test_types_of_the_tools_with_two_links_are_no_relations(tmp_path):
    name = "de.tudarmstadt.ukp.dkpro.core.api.segmentation.type.Token"
    document = Document(types(roles=("lemma", "pos"), layer=name), layer=name)
    document.tie(document.thing("Ida"), document.thing("Rome"), ("lemma", "pos"))
    kept, counts = read(document.write(tmp_path))
    assert kept == [(TEXT, [])] and not counts.left_out


def test_slots_are_told(tmp_path):
    system = types()
    system.create_feature(system.create_type(name="webanno.custom.Event"), "roles", "uima.cas.FSArray")
    document = Document(system)
    roles = system.get_type("uima.cas.FSArray")(elements=[document.thing("Rome")])
    document.cas.add(system.get_type("webanno.custom.Event")(begin=0, end=1, roles=roles))
    assert read(document.write(tmp_path))[1].notes == {"other_links": 1}


def test_the_language_of_the_document_counts_unless_one_is_given(tmp_path):
    document = Document()
    document.cas.document_language = "pt"
    path = document.write(tmp_path)
    assert read(path, lang=None)[1].language == "pt"
    assert read(path)[1].language == "en"


def test_every_view_is_a_text(tmp_path):
    document = Document()
    other = document.cas.create_view("translation")
    other.sofa_string = "Ida war spät."
    path = document.write(tmp_path)
    assert [text for text, _ in read(path)[0]] == [TEXT, "Ida war spät."]


DOCTYPE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd"> <!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace("?>", "?>" + DOCTYPE, 1).replace("Ida", "&a;"), "document_type"),
        (lambda text: text.replace("</xmi:XMI>", ""), "invalid_xml"),
        (lambda text: text.replace("custom:Tie", "custom:Unknown"), "invalid_xmi"),
        (lambda text: re.sub('members="[^"]*', 'members="77777', text), "invalid_xmi"),
        (lambda text: re.sub('sofaString="[^"]*"', "", text), "empty_text"),
    ],
)
def test_a_damaged_document_is_rejected_and_no_document_type_is_read(tmp_path, change, reason):
    document = Document()
    document.tie(document.thing("Ida"), document.thing("Rome"), value="from")
    path = document.write(tmp_path)
    path.write_text(change(path.read_text()), newline="")
    kept, counts = read(path)
    assert not kept and counts.rejected == {reason: 1}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (None, None, "has no TypeSystem.xml beside it"),
        ("?>", "?>" + DOCTYPE, "is not a type system .the XML has a document type"),
        ("</types>", "", "is not a type system .the file is not well-formed XML"),
        ("uima.cas.String", "uima.cas.Strange", "is not a type system .KeyError"),
        ("<name>value", "<name>x=print(1)", "which dkpro-cassis can't read: rename it"),
        ("<name>value", "<nome>value", "is not a type system|which dkpro-cassis can't read: rename it"),
        ("<name>value</name>", "<name/>", "which dkpro-cassis can't read: rename it"),
        ("<name>value", "<name>class", "which dkpro-cassis can't read: rename it"),
    ],
)
def test_a_bad_type_system_is_one_line_and_runs_no_code(tmp_path, old, new, message):
    path = Document().write(tmp_path)
    system = tmp_path / "TypeSystem.xml"
    if old is None:
        system.unlink()
    else:
        system.write_text(system.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=message) as error:
        read(path)
    assert "\n" not in str(error.value)


def test_a_type_system_in_the_folder_above_and_of_any_name_is_found(tmp_path):
    folder = tmp_path / "train"
    folder.mkdir()
    Document().write(folder)
    (folder / "TypeSystem.xml").rename(tmp_path / "project.xml")
    assert list(recognised(folder)) == ["xmi"]
    assert read(folder)[0] == [(TEXT, [])]


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    document = Document()
    document.tie(document.thing("Ida"), document.thing("Rome"), value="from")
    return document.write(tmp_path_factory.mktemp("intact")).read_bytes()


@given(st.data())
def test_damaged_bytes_give_an_error_for_the_user_or_counted_rows(intact, tmp_path_factory, data):
    content = bytearray(intact)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.sampled_from(b'09"<>&a -\xff'))
    folder = tmp_path_factory.getbasetemp() / "intact0"
    (folder / "damaged.xmi").write_bytes(content)
    with suppress(UserError):
        read(folder / "damaged.xmi")
