"""Every entry of the bibliography is cited, leads somewhere, and says where it was published."""

import re
from pathlib import Path

import pytest
from pybtex.database import Entry, parse_file

ROOT = Path(__file__).resolve().parents[1]
ENTRIES = parse_file(ROOT / "book" / "references.bib").entries


def cited() -> set[str]:
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "book").rglob("*.md") if "_build" not in page.parts]
    calls = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", "\n".join(pages))
    return {key.strip() for call in calls for key in call.split(",")}


def faults(entry: Entry) -> list[str]:
    """What a reader would miss or find wrong."""
    fields, found = entry.fields, []
    if not {"doi", "eprint", "url"} & set(fields):
        found.append("no link: needs a doi, an eprint or a url")
    if "doi" in fields and not re.fullmatch(r"10\.\d{4,}/\S+", fields["doi"]):
        found.append(f"doi {fields['doi']!r} is no DOI")
    if "eprint" in fields and not re.fullmatch(r"\d{4}\.\d{4,5}", fields["eprint"]):
        found.append(f"eprint {fields['eprint']!r} is no arXiv number")
    if any("arxiv" in fields.get(name, "").lower() for name in ("howpublished", "note", "journal")):
        found.append("the arXiv number belongs into eprint, where it becomes a link")
    if entry.type == "article" and fields["journal"] != "Transactions on Machine Learning Research":
        found += [f"no {name}" for name in ("volume", "pages") if name not in fields]
    return found


@pytest.mark.parametrize("key", ENTRIES)
def test_entry(key):
    assert not faults(ENTRIES[key])


def test_nothing_is_listed_that_nobody_cites_and_nothing_cited_that_is_not_listed():
    assert cited() == set(ENTRIES)


def test_family_names_of_two_words():
    authors = {person.last_names[-1]: person for entry in ENTRIES.values() for person in entry.persons["author"]}
    assert authors["Nia"].last_names == ["Partovi", "Nia"]
    assert authors["Chowdhury"].last_names == ["Basu", "Roy", "Chowdhury"]
    assert authors["Loan"].last_names == ["Van", "Loan"]


def test_a_bare_entry_would_be_found():
    bare = Entry("article", [("title", "A"), ("journal", "B"), ("note", "arXiv:2212.10650")])
    assert len(faults(bare)) == 4
    assert faults(Entry("misc", [("doi", "doi.org/10.1/x"), ("eprint", "arXiv:2212.10650")]))
