"""Of a sentence and its translations one stays."""

from benchmarks.one_language_each import main


def test_each_id_stays_in_one_language_and_test_files_stay_whole(tmp_path):
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    corpus.mkdir()
    for language in ("de", "fr", "sv"):
        for split in ("train", "test"):
            rows = [f"{language}-{split}-{i}\ta\tb\tno_relation\t<e1>a</e1> <e2>b</e2>\t{language}" for i in range(60)]
            text = "\n".join(["id\tentity_1\tentity_2\tlabel\ttext\tlang", *rows]) + "\n"
            (corpus / f"{language}_corpora_{split}.tsv").write_text(text)
    main(str(corpus), str(out))
    ids = {}
    for path in out.glob("*_train.tsv"):
        language = path.name[:2]
        ids[language] = {row.split("\t")[0].removeprefix(f"{language}-") for row in path.read_text().splitlines()[1:]}
    assert all(len(of_one) > 5 for of_one in ids.values()), "each language has some"
    assert sum(map(len, ids.values())) == len(set.union(*ids.values())) == 60
    for path in corpus.glob("*_test.tsv"):
        assert (out / path.name).read_bytes() == path.read_bytes()
