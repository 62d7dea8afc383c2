"""Questions: the right choice follows what was computed, every choice explains itself, nothing needs a script."""

import re
from html.parser import HTMLParser

import pytest
import torch

import surm_lite as sl

WHY = {1: "because", 24: "because not"}


def asked(question="How many?", choices=WHY, right=24, **options):
    return sl.guess(question, choices, right=right, **options)


class Folds(HTMLParser):
    """The folds of a page: the words of each, and which are marked as right."""

    def __init__(self, page):
        super().__init__()
        self.words, self.right, self.open = [], [], []
        self.feed(page)
        assert not self.open, "every tag is closed"

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "details":
            self.words.append("")
            self.right.append(("class", "surm-right") in attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "details" in self.open:
            self.words[-1] += f"{data} "


@pytest.mark.parametrize(
    ("choices", "right", "shown"),
    [
        ((1, 24), 24, "24"),
        ((1, 24), torch.tensor(24), "24"),
        ((0.5, 0.125), 0.12500001, "0.125"),
        ((589824, 1536), 768 * 768, "589,824"),
        (("yes", "no"), False, "no"),
        (("circulant", "Toeplitz"), "Toeplitz", "Toeplitz"),
    ],
)
def test_the_right_choice_is_the_computed_value_as_it_is_shown(choices, right, shown):
    question = asked(choices=dict.fromkeys(choices, "why"), right=right)
    assert question.right == shown
    folds = Folds(question.as_html())
    assert [words.startswith(shown) for words in folds.words] == folds.right
    assert folds.right.count(True) == 1
    assert re.findall("^-> (.*):", question.as_text(), re.M) == [shown]


def test_every_choice_holds_its_own_explanation_and_a_verdict():
    assert Folds(asked().as_html()).words == ["1 Not this one.  because ", "24 Right.  because not "]
    assert asked(title="Predict, then run").as_text().startswith("Predict, then run: How many?\n   1: because\n")


def test_texts_are_escaped_and_mathematics_code_and_emphasis_are_set():
    page = asked("Is $a<b$ <i>so</i>?", {"`x_1`": "*not* 2*3*4", "$x$": "a & b"}, "$x$").as_html()
    assert r'<span class="math notranslate nohighlight">\(a&lt;b\)</span> &lt;i&gt;so&lt;/i&gt;?' in page
    assert all(part in page for part in ("<code>x_1</code>", "<em>not</em>", "a &amp; b"))
    assert "<i>" not in page


def test_a_changed_question_or_choice_is_a_new_one_to_the_memory():
    keys = {asked().key, asked("How few?").key, asked(choices={1: "x", 24: "y", 3: "z"}).key}
    assert len(keys) == 3
    assert asked(choices={1: "said better", 24: "said better"}).key == asked().key, "a better reason is no new question"
    assert f'data-key="{asked().key}"' in asked().as_html()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"choices": {1: "only"}}, r"choices are \['1'\], must be two at least"),
        ({"choices": {0.12345: "a", 0.12346: "b"}}, "none shown like another"),
        ({"choices": {1: "a", 24: " "}}, r"choices\['24'\] is ' ', must be a text"),
        ({"question": ""}, "question is '', must be a text"),
        ({"right": 12}, r"right is '12', must be one of the choices \['1', '24'\]"),
    ],
)
def test_bad_questions_are_named(arguments, says):
    with pytest.raises(ValueError, match=says):
        asked(**arguments)


def test_choices_without_reasons_are_refused(own_errors):
    with pytest.raises(TypeError, match="choices is a list, must be a mapping"):
        asked(choices=[1, 24])


def test_a_check_is_three_to_five_different_questions(own_errors):
    questions = [asked(f"{k}?") for k in range(6)]
    for few_or_many in (questions[:2], questions):
        with pytest.raises(ValueError, match=f"questions are {len(few_or_many)}, must be 3 to 5"):
            sl.quiz(*few_or_many)
    with pytest.raises(ValueError, match="hold one twice"):
        sl.quiz(*questions[:3], questions[0])
    with pytest.raises(TypeError, match=r"questions hold \['str'\], must be made by sl.guess"):
        sl.quiz(*questions[:3], "why?")
    shown = sl.quiz(*questions[:4])
    assert len(Folds(shown.as_html()).words) == 8
    assert re.findall("^[1-9]. .*", shown.as_text(), re.M) == ["1. 0?", "2. 1?", "3. 2?", "4. 3?"]
    assert shown.as_text().count("->") == 4


def test_the_stored_form_is_what_the_site_styles_and_a_notebook_at_work_brings_its_own(monkeypatch):
    monkeypatch.setenv("SURM_BOOK", "1")
    assert asked()._repr_mimebundle_() == {"text/html": asked().as_html(), "text/plain": asked().as_text()}
    monkeypatch.delenv("SURM_BOOK")
    live = asked()._repr_mimebundle_()["text/html"]
    assert live.endswith(asked().as_html())
    assert "<style>" in live
    assert ".surm-quiz" in live
