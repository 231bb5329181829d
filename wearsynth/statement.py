"""What is said about a promise that was kept: data, text, what lies outside of it."""

import math
from importlib.metadata import version
from typing import Any

from wearsynth.accounting import rdp_epsilon
from wearsynth.privacy import UNITS, Promise, spent_together
from wearsynth.tf_privacy import why_missing

LARGE_DELTA = 0.1  # of one over the number of units

OUTSIDE_GUARANTEE = (
    "how many windows and subjects there are, and how many windows a subject has, count as public",
    "a window or an event is one of the 1 Hz table, an event left out takes the windows over it along; the table's "
    "resampling and heart rate reach over more of the recording, which only the epsilon for a subject covers",
    "the settings (steps, sampling, clipping, network, release) were chosen on simulated people, on the public cohort "
    "and on WESAD's S2-S6, and so were the prior variances, how far real people are expected to lie from the prior's; "
    "how donors are chosen and moved was found on WESAD's 15 people; how sessions are made of them, and how detectors' "
    "windows are scaled, on S2-S6 and the public cohort",
    "the share of stress is the protocol's nominal one, or what the user says: whoever reads it off the recordings "
    "publishes that number",
    "whether a recording or a run is refused, or a person left out where the study file says so, depends on the data: "
    "on missing values, dead signals, a person without a window of one class",
    "digests of the recordings (SHA-256) stand in metrics.json, in notebook 1 and in the ledger: they confirm who "
    "guesses a whole recording",
    "the tables, scores and figures that the notebooks and report.html show of the recordings are made without noise",
    "one generator is covered, the one of everybody, and what it draws; each that leaves somebody out is one more use "
    "of the others' data, and so is every other run on the same recordings",
    "Gaussian noise is drawn in floating point (Mironov 2012): the guarantee is that of the real-valued mechanism",
)


def statement(
    promise: Promise,
    steps: int,
    *,
    seeded: bool,
    uses: int,
    n_units: int,
    windows_per_second: int,
    most_windows_per_subject: int,
    cross_checked: bool = True,
    so_far: dict[str, Any] | None = None,
    prior: str = "none",
) -> dict:
    """Says what was promised and what was spent.

    Args:
        promise: what was promised.
        steps: steps really taken by the discriminator.
        seeded: whether the noise came from a seed, which protects nobody.
        uses: how many generators of this run saw one and the same unit, at most.
        n_units: how many units there are.
        windows_per_second: most windows that share one second of signal.
        most_windows_per_subject: most windows that one subject has.
        cross_checked: whether other accountants are asked, too; that takes seconds.
        prior: in words, who the people are that generators start from.
        so_far: what is known of other releases of the same people, from `Ledger.spent`; none of simulated ones.

    Returns:
        The record `privacy` of metrics.json.
    """
    private = promise.private and not seeded
    return {
        "private": private,
        "unit": promise.unit,
        "neighbours": f"data sets that differ by adding or removing one {promise.unit}; its place stays, and counts",
        "epsilon": promise.epsilon,
        "delta": promise.delta,
        "noise_multiplier": promise.noise_multiplier,
        "clip_norm": promise.clip_norm,
        "sampling_probability": promise.sampling_probability,
        "windows_per_subject": promise.windows_per_subject,
        "steps": steps,
        "engine": promise.engine,
        "release_share": promise.release_share,
        "release_noise_multiplier": promise.release_noise_multiplier,
        "accountant": f"PLD, dp-accounting {version('dp-accounting')}",
        "noise_source": "seeded" if seeded else "operating system's entropy, no seed recorded",
        "spent": promise.epsilons(steps, windows_per_second, most_windows_per_subject),
        "spent_all_generators": spent_together([(promise, steps)] * uses, promise.delta),
        "spent_so_far": so_far and so_far | {"whole": so_far["trainings"] + so_far["not_private"] >= uses},
        "prior": prior,
        "delta_times_units": promise.delta * n_units,
        "cross_check": cross_check(promise, steps, n_units) if private and cross_checked else None,
        "outside_guarantee": list(OUTSIDE_GUARANTEE),
    }


def cross_check(promise: Promise, steps: int, n_units: int) -> dict:
    """Computes what the same run has spent for one unit by the RDP accountant and by tensorflow-privacy.

    The latter covers the steps alone. It takes examples, batches and epochs: given the number of units, the expected
    number that a step draws, and how often each is expected to be drawn, it comes by the same sampling probability and
    steps; it rounds steps upwards, which floating point may turn into one step too many.

    Args:
        promise: what was promised; private.
        steps: steps really taken.
        n_units: how many units there are.

    Returns:
        'rdp_epsilon', at the promise's delta; 'tensorflow_privacy', the text of its privacy statement, or None; and in
        'missing' why there is none although there were steps.
    """
    spent = rdp_epsilon(promise.mechanism(steps), promise.delta)
    if steps == 0 or why_missing():
        return {"rdp_epsilon": spent, "tensorflow_privacy": None, "missing": why_missing() if steps else ""}
    # Here and not above: it takes TensorFlow along, and a promise is also checked where nothing is trained.
    from tensorflow_privacy.privacy.analysis.compute_dp_sgd_privacy_lib import compute_dp_sgd_privacy_statement

    text = compute_dp_sgd_privacy_statement(
        number_of_examples=n_units,
        batch_size=promise.sampling_probability * n_units,
        num_epochs=promise.sampling_probability * steps,
        noise_multiplier=promise.noise_multiplier,
        delta=promise.delta,
        used_microbatching=False,  # each unit is clipped on its own
        max_examples_per_user=None,  # its group privacy takes long, and is looser than the reading for a subject
    )
    return {"rdp_epsilon": spent, "tensorflow_privacy": text, "missing": ""}


def statement_text(privacy: dict[str, Any]) -> str:
    """Puts the privacy statement of metrics.json into sentences, in Markdown."""
    if not privacy["private"]:
        why = "epsilon is infinite" if privacy["epsilon"] in ("inf", math.inf) else "its noise came from a seed"
        return f"**No privacy guarantee**: {why}. These windows may give away the people they were learned from."
    unit, delta, spent = privacy["unit"], privacy["delta"], privacy["spent"]
    outside = "\n".join(f"- {item}" for item in privacy["outside_guarantee"])
    most = f", at most {privacy['windows_per_subject']} windows of a drawn subject" if unit == "subject" else ""
    kept = []
    if privacy["release_share"]:
        kept.append(
            f"one release of clipped vectors, a {unit} each, with noise multiplier "
            f"{privacy['release_noise_multiplier']:.4g} (by itself {privacy['release_share']:.0%} of epsilon)"
        )
    if privacy["steps"]:
        kept.append(
            f"{privacy['steps']} steps of DP-SGD with noise multiplier {privacy['noise_multiplier']:.4g}, clip norm "
            f"{privacy['clip_norm']:g} and Poisson sampling at {privacy['sampling_probability']:g}{most}, clipped by "
            f"{privacy['engine']}"
        )
    return f"""**({spent[unit]:.3g}, {delta:g})-differentially private for one {unit}**;
neighbours are {privacy["neighbours"]}.

| protected, at delta {delta:g} | epsilon at most |
|---|---|
| a window | {spent["window"]:.3g} |
| an event (one second of the 1 Hz table) | {spent["event"]:.3g} |
| a subject (all of a person's windows) | {spent["subject"]:.3g} |
| a {unit}, should all generators of this run be shared | {privacy["spent_all_generators"]:.3g} |
{_large_delta(privacy)}{_so_far(privacy)}
Kept by {" and by ".join(kept)}; accountant {privacy["accountant"]}; noise from the {privacy["noise_source"]}.
Prior: {privacy["prior"]}.
{_cross_check(privacy)}
Outside the guarantee:

{outside}
"""


def _large_delta(privacy: dict[str, Any]) -> str:
    share = privacy["delta_times_units"]
    if share <= LARGE_DELTA:
        return ""
    return f"""
**Delta is large**: {share:.3g} of one over the number of units, where {LARGE_DELTA:g} is the most that is usual. A
mechanism that publishes one {privacy["unit"]} in {1 / privacy["delta"]:,.0f} as it is would keep such a promise.
"""


def _so_far(privacy: dict[str, Any]) -> str:
    said = privacy["spent_so_far"]
    if said is None:
        return ""
    epsilons = [f"epsilon {said[unit]:.3g} for a {unit}" for unit in UNITS if unit in said]
    together = f": together {' and '.join(epsilons)}, were all of them shared" if epsilons else ""
    without = f" {said['not_private']} more had no guarantee at all." if said["not_private"] else ""
    kept = f" (From the ledger, `{said['file']}`.)" if "file" in said else ""  # which is nobody else's business
    lacking = " **That is too low**: not even all trainings of this run are in it, as where another ledger was in use."
    return f"""
**On these recordings so far**, this run included, {said["trainings"]} trainings under a promise have seen one person's
data{together}.{without}{kept}{"" if said["whole"] else lacking}
"""


def _cross_check(privacy: dict[str, Any]) -> str:
    said, unit = privacy["cross_check"], privacy["unit"]
    if said is None:
        return ""
    text = f"""
Cross-check: the RDP accountant, a looser upper bound, gives epsilon {said["rdp_epsilon"]:.3g} for a {unit}.
"""
    if said["missing"]:
        text += f"(The statement of tensorflow-privacy is left out: {said['missing']}.)\n"
    if said["tensorflow_privacy"] is None:
        return text
    return f"""{text}tensorflow-privacy covers the steps alone, without the release. In its words a {unit} is an
*example*; its line for Poisson sampling is the one that holds here.

```text
{said["tensorflow_privacy"]}```
"""
