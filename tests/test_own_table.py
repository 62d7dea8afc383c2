"""A CSV file of one's own sentences."""

from __future__ import annotations

import csv

import pytest
import torch
from torch import nn

import surm_lite as sl
from surm_lite.data import from_csv, load, table
from surm_lite.data.tokens import tokenize

ROWS = [(f"{'so very ' * (k % 3)}{word} film, \u201cno. {k}\u201d", label) for k in range(12)
        for word, label in (("fine", "good"), ("dull", "bad"))]  # fmt: skip


def letters(sentences):
    """A tokenizer: the first ten letters."""
    ids = torch.zeros(len(sentences), 10, dtype=torch.int64)
    for row, one in zip(ids, sentences):
        row[: len(one)] = torch.tensor([ord(c) for c in one[:10]], dtype=torch.int64)
    return ids


def write(path, rows=ROWS, header=("id", "text", "label"), **how):
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, **how)
        out.writerow(header)
        out.writerows((k, *row) for k, row in enumerate(rows))
    return path


def pairs(part, classes):
    return {(tuple(ids), classes[label]) for ids, label in zip(part.inputs.tolist(), part.labels)}


def test_sentences_keep_their_labels(tmp_path):
    data = from_csv(write(tmp_path / "films.csv"), tokenizer=letters)
    assert data.credit == "sentences of the file films.csv"
    assert (data.name, data.classes) == ("films", ("bad", "good"))
    assert [len(part) for part in data.parts.values()] == [16, 4, 4]
    want = {(tuple(letters([text])[0].tolist()), label) for text, label in ROWS}
    found = set().union(*(pairs(part, data.classes) for part in data.parts.values()))
    assert found == want
    assert all(part.labels.bincount().tolist() == [len(part) // 2] * 2 for part in data.parts.values())
    assert torch.equal(from_csv(tmp_path / "films.csv", tokenizer=letters).test.inputs, data.test.inputs)


def test_other_names_tabs_marks_and_quotes(tmp_path):
    rows = [(text + ',\n"quoted"', f" {label} ") for text, label in ROWS]
    plain = from_csv(write(tmp_path / "a.csv"), tokenizer=letters)
    for name, how in (("b.tsv", {"delimiter": "\t"}), ("c.csv", {"lineterminator": "\n"})):
        path = write(tmp_path / name, rows, ("n", "review", "verdict"), **how)
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        data = from_csv(path, text="review", label="verdict", tokenizer=letters)
        assert data.classes == plain.classes
        assert torch.equal(data.train.inputs, plain.train.inputs)


def test_parts_may_have_files_of_their_own(tmp_path):
    write(tmp_path / "test.csv", [("a surprise", "good"), ("a bore", "bad"), ("a bore indeed", "bad")])
    data = from_csv(write(tmp_path / "films.csv"), test=tmp_path / "test.csv", tokenizer=letters)
    assert [len(part) for part in data.parts.values()] == [20, 4, 3]
    assert data.test.labels.tolist() == [1, 0, 0]
    write(tmp_path / "test.csv", [("a surprise", "great")])
    with pytest.raises(ValueError, match="test: has the label 'great', which is none of the classes"):
        from_csv(tmp_path / "films.csv", test=str(tmp_path / "test.csv"), tokenizer=letters)


def test_a_few_rows_without_a_text_are_left_out_and_named(tmp_path):
    """As files that are no pictures; a column that is doubled and not asked for is nobody's loss."""
    rows = [(text, "", label, "") for text, label in [*ROWS[:4], (" ", "good"), *ROWS[4:], ("", "bad")]]
    path = write(tmp_path / "films.csv", rows, ("id", "text", "note", "label", "note"))
    said = r"^films\.csv: 2 of 26 rows cannot be used: line 6 \(no text\), line 27 \(no text\)$"
    with pytest.warns(UserWarning, match=said):
        data = from_csv(path, tokenizer=letters)
    plain = from_csv(write(tmp_path / "plain.csv"), tokenizer=letters)
    assert all(torch.equal(data.parts[name].inputs, part.inputs) for name, part in plain.parts.items())
    assert all(torch.equal(data.parts[name].labels, part.labels) for name, part in plain.parts.items())


def test_it_trains_and_predicts(tmp_path):
    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.vectors, self.head = nn.Embedding(9000, 8, padding_idx=0), nn.Linear(8, 2)

        def forward(self, ids):
            return self.head(self.vectors(ids).sum(1))

    torch.manual_seed(0)
    data = from_csv(write(tmp_path / "films.csv", [("fine", "good"), ("dull", "bad")] * 10), tokenizer=letters)
    model = sl.adapt(Bag(), "full")
    assert sl.train(model, data, epochs=20, lr=0.05, progress=False, device="cpu").test_score == 1
    assert [one.label for one in sl.predict(model, letters(["dull", "fine"]))] == ["bad", "good"]


def test_as_it_stands_the_tokens_are_those_of_minilm(tmp_path):
    pytest.importorskip("tokenizers", reason="needs the text extra")
    data = from_csv(write(tmp_path / "films.csv"))
    want = {tuple(ids) for ids in tokenize([text for text, _ in ROWS]).tolist()}
    assert {tuple(ids) for part in data.parts.values() for ids in part.inputs.tolist()} == want


def refused(path, words, error=ValueError, **arguments):
    with pytest.raises(error, match=words):
        from_csv(path, **{"tokenizer": letters} | arguments)


def test_what_cannot_be_read_is_refused_by_its_line(tmp_path, own_errors):
    path = write(tmp_path / "films.csv")
    refused(tmp_path / "none.csv", "path: there is no file", FileNotFoundError)
    refused(path, r"test: there is no file .*none\.csv", FileNotFoundError, test=tmp_path / "none.csv")
    refused(path, r"text: unknown column of .*'txt'; did you mean 'text'", text="txt")
    refused(path, r"label: unknown column of .*'verdict'; known: 'id', 'text', 'label'", label="verdict")
    refused(path, "label: got a int, need the name of a column", TypeError, label=3)
    refused(path, "text, label: got 'label' for both, need two columns", text="label")
    refused(path, r"tokenizer: got shape \(24, 0\), need", tokenizer=lambda texts: torch.zeros(len(texts), 0).long())
    refused(path, "tokenizer: got 3, need a function", TypeError, tokenizer=3)
    refused(3, "path: got 3, need a path", TypeError)
    lines = path.read_text(encoding="utf-8").splitlines()
    for change, words in (
        ([*lines[:5], "7,no label,", *lines[5:]], "line 6, has no label"),
        ([*lines[:5], "7,short", *lines[5:]], "line 6, has other columns than the first"),
        ([*lines[:5], "7,too,long,by far", *lines[5:]], "line 6, has other columns than the first"),
        (lines[:1], "has no row with a text below the names"),
        (
            [*lines[:3], *(f"{k}, ,good" for k in range(4))],
            r"path: bad\.csv: 4 of 6 rows cannot be used: line 4 \(no text",
        ),
        (
            ["id,text,label,text", *(f"{line},again" for line in lines[1:])],
            r"text: .* has 2 columns of the name 'text'",
        ),
        (["label,text,label", *lines[1:]], r"label: .* has 2 columns of the name 'label', need one"),
        ([line for line in lines if not line.endswith("bad")], r"label: every example has the label 'good', need two"),
        ([], "text: unknown column"),
        ([*lines, '8,"an open quote,good'], "is no CSV file in UTF-8"),
        (lines[:3], r"label: too few examples of class 'bad' \(1\), 'good' \(1\)"),
    ):
        (tmp_path / "bad.csv").write_text("\n".join(change), encoding="utf-8")
        refused(tmp_path / "bad.csv", words)
    (tmp_path / "bad.csv").write_bytes(path.read_bytes() + b"\xff\xfe,\xff,good\n")
    refused(tmp_path / "bad.csv", "is no CSV file in UTF-8")


@pytest.mark.parametrize(
    "wrong",
    [lambda s: [[1]] * len(s), lambda s: torch.zeros(len(s), 3), lambda s: torch.zeros(len(s)).long(),
     lambda s: torch.zeros(3, 3).long()],
)  # fmt: skip
def test_a_tokenizer_that_gives_something_else_is_refused(tmp_path, wrong, own_errors):
    refused(
        write(tmp_path / "films.csv"), r"tokenizer: gives .* for 24 sentences, need int64", TypeError, tokenizer=wrong
    )


def test_a_tokenizer_that_fails_is_named(tmp_path):
    refused(write(tmp_path / "films.csv"), "tokenizer: .* does not take a list", TypeError, tokenizer=str.split)


def test_pictures_and_tables_do_not_mix(tmp_path):
    """A model of pictures says no to token ids, before anything is trained."""
    data = from_csv(write(tmp_path / "films.csv"), tokenizer=letters)
    model = sl.adapt(sl.models.tiny_vit(num_classes=2), "head")
    with pytest.raises(ValueError, match="model: does not take the examples of films"):
        sl.train(model, data, epochs=1, progress=False, device="cpu")
    assert table.tokenize is tokenize
    assert load("digits", train=10).train.inputs.dtype == torch.uint8
