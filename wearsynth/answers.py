"""The report's first screen: five questions of whoever decides on the data, answered by rules that stand here alone.

Each answer is good, fair or bad by fixed limits on one figure of metrics.json; docs/method.md has them in words.
"""

import math
from typing import Any, NamedTuple

import pandas as pd

from wearsynth.scores import intervals_at_once

SIGNS = {"good": "✔ good", "fair": "○ fair", "bad": "✘ bad", "open": "? open", "left out": "– left out"}
USEFUL, LIFELIKE, ATTACKER = "Is it useful?", "Is it lifelike?", "What does an attacker gain?"
LOSS = 0.05  # of AUROC, from training on synthetic windows instead of real ones
NEAR, FAR = 0.05, 0.8  # worst two-sample test: so much above halves of the people; and at most
FOUND, ACCUSED = 0.6, 0.01  # AUROC of an attack that does harm; rate of false positives
FEW, MANY = 0.05, 0.5  # true positive rate at that rate that the promise allows


class Answer(NamedTuple):
    """To one question.

    Args:
        question: in plain words.
        sign: a key of SIGNS.
        figure: the number by which it goes, with what to hold it against.
        reason: in words.
    """

    question: str
    sign: str
    figure: str
    reason: str


def answers(metrics: dict[str, Any]) -> list[Answer]:
    """Answers the five questions; `metrics` is a finished run's metrics.json."""
    promised = _promised(metrics["privacy"])
    kind = metrics["run"]["recordings"]["kind"]
    return [
        _useful(metrics["detection"]),
        _lifelike(metrics["fidelity"]["c2st_worst"], metrics["yardstick"]["c2st_worst"]),
        _attacker(metrics["attacks"]),
        promised,
        _share(kind, metrics["privacy"], promised.sign),
    ]


def answers_to_hand_over(privacy: dict[str, Any]) -> list[Answer]:
    """Answers what the privacy statement of metrics.json answers by itself, and says why the rest is left out."""
    left_out = [
        Answer(USEFUL, "left out", "scores of detectors", "they were tested on people's recordings, without noise"),
        Answer(LIFELIKE, "left out", "distances", "they were measured to people's recordings, without noise"),
        Answer(ATTACKER, "left out", "scores of attacks", "they were tried with people's recordings, without noise"),
    ]
    return [_promised(privacy), *left_out]


def answer_table(given: list[Answer]) -> str:
    """Lays answers out as a table of HTML, which a narrow screen stacks."""
    table = pd.DataFrame([each._replace(sign=SIGNS[each.sign]) for each in given])
    return table.rename(columns={"sign": "", "figure": "by this figure"}).to_html(index=False, classes="answers")


def most_found(epsilon: float, delta: float, false_positive_rate: float = ACCUSED) -> float:
    """The highest true positive rate of any attack, whatever it knows (Kairouz, Oh and Viswanath 2015, arXiv
    1311.0776)."""
    at_most = math.exp(min(epsilon, 700.0)) * false_positive_rate + delta
    return min(1.0, at_most, 1 - math.exp(-epsilon) * (1 - delta - false_positive_rate))


def _useful(detection: dict[str, Any]) -> Answer:
    question, main = USEFUL, detection["protocols"]
    score, interval = main["tstr"]["mean"]["auroc"], main["tstr"]["ci95"]["auroc"]
    figure = f"AUROC {score:.2f}"
    difference = detection["differences"].get("tstr - trtr")
    if difference is None or interval is None or difference["ci95"]["auroc"] is None:
        return Answer(question, "open", figure, "nobody, or one person, was tested by a detector from real people, too")
    low, high = difference["ci95"]["auroc"]
    figure += f", from real people {main['trtr']['mean']['auroc']:.2f} (difference {low:+.2f} to {high:+.2f})"
    if interval[0] <= 0.5:
        return Answer(question, "bad", figure, "a detector trained on synthetic people does no better than guessing")
    if high < -LOSS:
        return Answer(question, "bad", figure, f"on average, detectors lose more than {LOSS:g} by learning from them")
    if low >= -LOSS:
        return Answer(question, "good", figure, f"on average, detectors lose {LOSS:g} at most by learning from them")
    return Answer(question, "fair", figure, "detectors work; what they lose is not known well enough")


def _lifelike(worst: float, half: float) -> Answer:
    question = LIFELIKE
    figure = f"worst two-sample test {worst:.2f}, half of the people {half:.2f} (0.5: not to be separated)"
    if worst <= max(half, 0.5) + NEAR:
        return Answer(question, "good", figure, "no test separates its windows much better than people's from others'")
    if worst <= FAR:
        return Answer(question, "fair", figure, "a classifier separates many of its windows from real ones")
    return Answer(question, "bad", figure, "a classifier separates most of its windows from real ones")


def _attacker(attacks: dict[str, Any]) -> Answer:
    question, ends = ATTACKER, intervals_at_once(attacks)
    if not ends:
        return Answer(question, "open", "no attack", "attacks take people who were held out, two at least")
    surely, maybe = (max(each[end] for each in ends.values()) for end in (0, 1))  # an attack reaches
    name = max(ends, key=lambda each: ends[each][0 if surely > 0.5 else 1])
    (low, high), score, called = ends[name], attacks[name]["score"], name.replace("_", " ")
    figure = f"of {len(ends)} attacks, {called}: AUROC {score:.2f} ({low:.2f} to {high:.2f}; 0.5: guessing)"
    if surely > FOUND:
        return Answer(question, "bad", figure, "it finds people who took part")
    if surely > 0.5:
        return Answer(question, "fair", figure, "it does better than guessing, by little")
    if maybe > FOUND:
        return Answer(
            question, "open", figure, "none is shown to do better than guessing; people are too few to rule it out"
        )
    return Answer(question, "good", figure, "none of them does better than guessing; a better one may come")


def _promised(privacy: dict[str, Any]) -> Answer:
    question = "What is promised to a person?"
    if not privacy["private"]:
        return Answer(question, "bad", "no guarantee", "the data may give away the people it was learned from")
    epsilon, delta = float(privacy["spent"]["subject"]), privacy["delta"]
    found = most_found(epsilon, delta)
    figure = (
        f"epsilon {epsilon:.3g}, delta {delta:g}: an attacker may find up to {found:.0%} of those who took part, at "
        f"{ACCUSED:.0%} false alarms"
    )
    if found <= FEW:
        return Answer(question, "good", figure, "nobody can say with any certainty whether somebody took part")
    if found <= MANY:
        return Answer(question, "fair", figure, "the strongest attacker may find some of those who took part")
    return Answer(question, "bad", figure, "no protection of a person is proven; only attacks that were tried say more")


def _share(kind: str, privacy: dict[str, Any], sign: str) -> Answer:
    question = "What may be shared?"
    if kind != "real":
        return Answer(question, "good", "all of it", "nobody's recordings are in it that are not public already")
    if not privacy["private"]:
        return Answer(question, "bad", "nothing", "without a guarantee, synthetic data is as private as the recordings")
    if sign == "bad":
        reason = "the promise proves no protection of a person: only where that risk is accepted"
        return Answer(question, sign, "at most the folder share/, never this page", reason)
    reason = "it alone is under the promise; this page holds real people's data, names or scores"
    return Answer(question, sign, "the folder share/, never this page", reason)
