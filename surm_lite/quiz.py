"""Questions that a reader answers before looking: a guess at the start of a chapter, a check of oneself at its end.

The right answer is a value that cells computed, so it follows when they change. Every choice is a fold that holds its
own explanation; that works on a plain page, in print and in a notebook that nobody trusted. On the site
``_static/quiz.js`` locks the first choice, marks it and remembers it on the reader's machine.
"""

import hashlib
import html
import os
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from surm_lite.viz import number

FEWEST, MOST = 3, 5
_MARKUP = re.compile(r"\$([^$]+)\$|`([^`]+)`|\*([^*\s][^*]*)\*")


def guess(question: str, choices: Mapping[Any, str], *, right: object, title: str = "Commit to a guess") -> "Question":
    """One question with choices, of which the right one was computed; shown alone or inside ``quiz``.

    Args:
        question: one sentence or two. ``$math$``, `code` and *emphasis* are set as such, here and in explanations.
        choices: choice -> why it is right, or why it tempts and fails. Two at least; numbers, words or booleans.
        right: the right choice, as the chapter's cells computed it. Compared as a reader sees it: to three digits, a
            boolean as "yes" or "no".
        title: the line above it where it is shown alone.

    Returns:
        An object that a notebook shows as the question; ``right`` is the right choice as it is shown.

    Raises:
        ValueError: for fewer than two choices, two that look alike, a missing text, or a right answer that is none.

    Example:
        >>> import surm_lite as sl
        >>> W = sl.Circulant(torch.tensor([1.0, 2.0, 3.0]))
        >>> asked = sl.guess(
        ...     "How many numbers describe a circulant of width 3?",
        ...     {3: "One column says it all.", 9: "The nine entries are three numbers, three times each."},
        ...     right=W.n_params,
        ... )
        >>> print(asked.as_text())
        Commit to a guess: How many numbers describe a circulant of width 3?
        -> 3: One column says it all.
           9: The nine entries are three numbers, three times each.

    Taught in:
        01_low_rank
    """
    if not isinstance(choices, Mapping):
        raise TypeError(f"choices is a {type(choices).__name__}, must be a mapping: choice -> explanation")
    shown = {number(choice): text for choice, text in choices.items()}
    if len(choices) < 2 or len(shown) < len(choices):
        raise ValueError(f"choices are {list(map(number, choices))}, must be two at least, none shown like another")
    for argument, text in {"question": question, **{f"choices[{key!r}]": text for key, text in shown.items()}}.items():
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{argument} is {text!r}, must be a text")
    if number(right) not in shown:
        raise ValueError(f"right is {number(right)!r}, must be one of the choices {list(shown)}")
    return Question(question, shown, number(right), title)


def quiz(*questions: "Question", title: str = "Check yourself") -> "Quiz":
    """Three to five questions about why, with a count at the end.

    Args:
        *questions: made by ``guess``.
        title: the line above them.

    Returns:
        An object that a notebook shows as the questions.

    Raises:
        ValueError: for fewer than three or more than five questions, or one that stands twice.
        TypeError: for something that ``guess`` did not make.

    Example:
        >>> import surm_lite as sl
        >>> three = [sl.guess(f"{k} + {k}?", {2 * k: "Twice.", k * k + 5: "No."}, right=k + k) for k in (1, 2, 3)]
        >>> print(sl.quiz(*three).as_text())
        Check yourself, 3 questions
        1. 1 + 1?
        -> 2: Twice.
           6: No.
        2. 2 + 2?
        -> 4: Twice.
           9: No.
        3. 3 + 3?
        -> 6: Twice.
           14: No.

    Taught in:
        01_low_rank
    """
    if wrong := [type(asked).__name__ for asked in questions if not isinstance(asked, Question)]:
        raise TypeError(f"questions hold {wrong}, must be made by sl.guess")
    if not FEWEST <= len(questions) <= MOST:
        raise ValueError(f"questions are {len(questions)}, must be {FEWEST} to {MOST}")
    if len({asked.key for asked in questions}) < len(questions):
        raise ValueError("questions hold one twice, must be different")
    return Quiz(questions, title)


class _Shown:
    """What a notebook shows: folds that need no script, and all of it in words."""

    kind: str
    title: str

    def as_text(self) -> str:
        raise NotImplementedError

    def _body(self) -> str:
        raise NotImplementedError

    def as_html(self) -> str:
        """The folds; a script of the site turns them into a form that locks and remembers."""
        title = f'<p class="surm-title">{_set(self.title)}</p>'
        return f'<div class="surm-quiz" data-kind="{self.kind}">{title}{self._body()}</div>'

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        # The site has the style already; a notebook at work has not.
        book = os.environ.get("SURM_BOOK") == "1"
        names = () if book else ("explore.css", "quiz.css")
        style = "".join(f"<style>{(files('surm_lite') / '_static' / name).read_text()}</style>" for name in names)
        return {"text/html": style + self.as_html(), "text/plain": self.as_text()}


class Question(_Shown):
    """What ``guess`` returns: the question, its choices as they are shown, the right one."""

    kind = "guess"

    def __init__(self, question: str, choices: dict[str, str], right: str, title: str) -> None:
        self.question, self.choices, self.right, self.title = question, choices, right, title

    @property
    def key(self) -> str:
        """Changes with the question and its choices, so that an answer to an older one is not taken for one to this."""
        return hashlib.sha256("\0".join([self.question, *self.choices]).encode()).hexdigest()[:12]

    def as_text(self) -> str:
        """The question, and every choice with its explanation; an arrow at the right one."""
        return f"{self.title}: {self.question}\n{self.lines()}"

    def lines(self) -> str:
        marks = ("->" if choice == self.right else "  " for choice in self.choices)
        return "\n".join(f"{mark} {choice}: {text}" for mark, (choice, text) in zip(marks, self.choices.items()))

    def _body(self) -> str:
        return self.fieldset(_set(self.question))

    def fieldset(self, legend: str) -> str:
        folds = "".join(self._fold(choice, text) for choice, text in self.choices.items())
        return (
            f'<fieldset data-key="{self.key}"><legend>{legend}</legend><div class="surm-choices">{folds}</div>'
            '<p class="surm-status" role="status"></p></fieldset>'
        )

    def _fold(self, choice: str, text: str) -> str:
        is_right = choice == self.right
        kind, verdict = (' class="surm-right"', "Right.") if is_right else ("", "Not this one.")
        return (
            f"<details{kind}><summary>{_set(choice)}</summary><p><strong>{verdict}</strong> {_set(text)}</p></details>"
        )


class Quiz(_Shown):
    """What ``quiz`` returns."""

    kind = "quiz"

    def __init__(self, questions: tuple[Question, ...], title: str) -> None:
        self.questions, self.title = questions, title

    def as_text(self) -> str:
        """All questions with all their explanations."""
        asked = [f"{k}. {one.question}\n{one.lines()}" for k, one in enumerate(self.questions, 1)]
        return "\n".join([f"{self.title}, {len(asked)} questions", *asked])

    def _body(self) -> str:
        asked = (one.fieldset(f"{k}. {_set(one.question)}") for k, one in enumerate(self.questions, 1))
        return "".join(asked) + '<p class="surm-score" role="status"></p>'


def _set(text: str) -> str:
    """Plain text as HTML, with mathematics, code and emphasis."""
    parts, at = [], 0
    for mark in _MARKUP.finditer(text):
        math, code, emphasis = (html.escape(part) if part else "" for part in mark.groups())
        formula = f'<span class="math notranslate nohighlight">\\({math}\\)</span>'
        parts.append(html.escape(text[at : mark.start()]))
        parts.append(formula if math else f"<code>{code}</code>" if code else f"<em>{emphasis}</em>")
        at = mark.end()
    return "".join([*parts, html.escape(text[at:])])
