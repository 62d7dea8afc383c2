"""The teacher's pages: nothing of a chapter is lost on the way, and the plans can be followed."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import teaching  # noqa: E402  (a Sphinx extension, not a package)

BOOK = ROOT / "book"
LESSONS = teaching.lessons(BOOK)
CELLS = [
    (
        "markdown",
        ":::{exercise} A title · easy, 5 min\n:label: ex-a\n\nFind $x$ by {doc}`01_b`.\n\n$$ x = 1 $$ (eq-a)\n:::",
    ),
    ("code", "def f(x):\n    ...  # your turn"),
    ("markdown", "```{solution-start} ex-a\n:class: dropdown\n```\n\nIt is one.\n"),
    ("code", "assert f(1) == 1"),
    ("markdown", "```{solution-end}\n```\n\n## What breaks\n\nNot a part of it."),
    ("code", "something_else()"),
]


def test_an_exercise_is_its_text_the_cell_to_fill_in_and_its_solution():
    cells = [{"cell_type": kind, "source": [source], "metadata": {}} for kind, source in CELLS]
    (found,) = teaching.exercises(cells, "part1")
    assert found.label == "ex-a"
    assert found.title == "A title · easy, 5 min"
    assert found.problem == [
        "Find $x$ by {doc}`/part1/01_b`.\n\n$$ x = 1 $$",
        "````python\ndef f(x):\n    ...  # your turn\n````",
    ]
    assert found.solution == ["It is one.", "````python\nassert f(1) == 1\n````"]


def test_links_lead_from_any_page_and_labels_stay_where_they_are():
    text = "(here)=\n{doc}`02_x`, {doc}`/a/b`, {doc}`words <03_y>`\n:label: eq\n"
    assert teaching.portable(text, "part1") == "{doc}`/part1/02_x`, {doc}`/a/b`, {doc}`words </part1/03_y>`"


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.number)
def test_every_exercise_of_a_chapter_is_there_whole(lesson):
    text = (BOOK / f"{lesson.page}.md").read_text(encoding="utf-8")
    assert [one.label for one in lesson.exercises] == re.findall(r"^:label: (ex-[\w-]+)", text, re.M)
    for exercise in lesson.exercises:
        words = [part for part in exercise.problem if not part.startswith("````")]
        assert len(" ".join(words)) > 40, exercise.label
        assert any(part.startswith("````python") for part in exercise.solution), exercise.label
        assert "{solution-" not in str(exercise)
    titles = [int(re.search(r"(\d+) min", exercise.title)[1]) for exercise in lesson.exercises]
    assert abs(lesson.extra - sum(titles)) <= 3, "minutes for the exercises, to five"
    assert lesson.minutes >= 15
    assert len(lesson.objectives) > 60


FIRST_PARTS = {lesson.page.split("/")[1] for lesson in LESSONS if lesson.page < "part4"}


@pytest.mark.parametrize(
    ("plan", "weeks", "known"), [("Four weeks", 4, ()), ("Twelve weeks", 12, ()), ("Four weeks more", 4, FIRST_PARTS)]
)
def test_a_plan_brings_what_a_chapter_needs_before_it(plan, weeks, known):
    text = (BOOK / "teach.md").read_text(encoding="utf-8").split(f"### {plan}\n")[1].split("\n## ")[0]
    needs = {lesson.page: lesson.needs for lesson in LESSONS}
    read, text = set(known), text.split("\n### ")[0]
    rows = re.findall(r"^\| (\d+) \| (.*) \| \{minutes:([^}]*)\} \|$", text, re.M)
    assert [int(week) for week, _, _ in rows] == list(range(1, weeks + 1))
    for _, pages, counted in rows:
        names = re.findall(r"\{doc\}`/(part\d/[^`]*)`", pages)
        assert [re.match(r"\d+b?", name.split("/")[1])[0] for name in names] == counted.split()
        for name in names:
            assert set(needs[name]) <= read, f"{name} needs {needs[name]}"
            read.add(name.split("/")[1])


def test_the_plans_of_the_whole_book_leave_no_chapter_out():
    text = (BOOK / "teach.md").read_text(encoding="utf-8").split("### Twelve weeks")[1].split("\n## ")[0]
    assert {lesson.page for lesson in LESSONS} == set(re.findall(r"\{doc\}`/(part\d/[^`]*)`", text))


def test_minutes_are_added_and_a_chapter_that_is_not_there_is_an_error():
    first, fourth = LESSONS[0], LESSONS[3]
    assert teaching.fill("{minutes: 01 04}", LESSONS) == str(first.minutes + fourth.minutes)
    with pytest.raises(KeyError):
        teaching.fill("{minutes: 99}", LESSONS)
