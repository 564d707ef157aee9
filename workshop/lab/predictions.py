"""Prose that quotes results: text made by code, so that no figure in a notebook is typed."""

import math

from workshop.measuring.formatting import format_number


def show_markdown(text: str) -> None:
    from IPython.display import Markdown, display  # comes with Jupyter

    display(Markdown(text))


def reveal(prediction: float | None, result: float, sentence: str) -> None:
    """Show the result beside the prediction, kindly; "{}" in the sentence stands for the result.

    A prediction of None, or one that is no number, is fine too.
    """
    measured = f"**{sentence.format(format_number(result))}**"
    if not isinstance(prediction, int | float) or isinstance(prediction, bool):
        reply = "You made no prediction: a guess, even a bad one, makes it stick."
    else:
        reply = f"You predicted {format_number(prediction)}: {nearness(prediction, result)}"
    show_markdown(f"{measured} {reply}")


def nearness(prediction: float, result: float) -> str:
    """How near, as a factor: people guess orders of magnitude."""
    if prediction <= 0 or result <= 0:
        return "well guessed." if prediction == result else "what made you think so?"
    factor = math.exp(abs(math.log(prediction / result)))
    if factor <= 1.15:
        return "well guessed."
    times = f"{format_number(factor)} times too {'much' if prediction > result else 'little'}"
    return f"near, {times}." if factor <= 2 else f"{times}. What did you not count on?"
