"""Prose that quotes results: text made by code, so that no figure in a notebook is typed."""

import math

from IPython.display import Markdown, display


def say(text: str) -> None:
    """Show Markdown."""
    display(Markdown(text))


def reveal(prediction, result: float, sentence: str) -> None:
    """Set a prediction beside the result, kindly; "{}" in the sentence stands for the result.

    None, or what is no number, is well too.
    """
    measured = f"**{sentence.format(amount(result))}**"
    if not isinstance(prediction, int | float) or isinstance(prediction, bool):
        say(f"{measured} You made no prediction: a guess, even a bad one, makes it stick.")
    else:
        say(f"{measured} You predicted {amount(prediction)}: {nearness(prediction, result)}")


def nearness(prediction: float, result: float) -> str:
    """How near, as a factor: people guess orders of magnitude."""
    if prediction <= 0 or result <= 0:
        return "well guessed." if prediction == result else "what made you think so?"
    factor = math.exp(abs(math.log(prediction / result)))
    if factor <= 1.15:
        return "well guessed."
    times = f"{amount(factor)} times too {'much' if prediction > result else 'little'}"
    return f"near, {times}." if factor <= 2 else f"{times}. What did you not count on?"


def amount(value: float) -> str:
    """Two or three digits, as many as a reader can use."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1 else f"{value:.2g}"
