"""Verification: the original signal again, on time with data alone."""

from __future__ import annotations

from dataclasses import replace

from engine.core.detect import Answers
from engine.model.incident import Progress, Verification
from engine.model.runbook import Scope, Verify
from engine.model.target import Target
from engine.model.truth import Truth


def verify(
    condition: Verify, progress: Progress, answers: Answers, target: Target | None, now: float, interval: float
) -> tuple[Verification, Progress]:
    """Count one more tick; return the verdict so far and the progress to be kept.

    It passes once the condition has held for `for_` (and for one interval at the least, so that what was measured
    before the remedy ended cannot pass it), fails once it is false after `within` of time with data, and is unknown once it has been
    without data for as long, in one piece or in many. Time in which nobody looked (more than two intervals between two ticks) counts for nothing.
    """
    step = max(0.0, now - progress.judged_at)
    watched = step <= 2 * interval
    truth, sentence = ask(condition, answers, target)
    if truth is Truth.UNKNOWN:
        blind = progress.blind + (step if watched else 0.0)
        kept = replace(progress, blind=blind, held=0.0, true_before=False, judged_at=now, sentence=sentence)
        return (Verification.UNKNOWN if blind >= condition.within else Verification.WAITING), kept
    observed = progress.observed + (step if watched else 0.0)
    if truth is Truth.FALSE:
        kept = replace(progress, observed=observed, held=0.0, true_before=False, judged_at=now, sentence=sentence)
        return (Verification.FAIL if observed >= condition.within else Verification.WAITING), kept
    held = progress.held + step if progress.true_before and watched else 0.0
    kept = replace(progress, observed=observed, held=held, true_before=True, judged_at=now, sentence=sentence)
    if held >= max(condition.for_, interval) - 1e-6:
        return Verification.PASS, kept
    return Verification.WAITING, kept


def ask(condition: Verify, answers: Answers, target: Target | None) -> tuple[Truth, str]:
    """Return what the condition says about the target, in words with numbers too."""
    answer = answers.get(condition.expr)
    if answer is None:
        return Truth.UNKNOWN, "not asked yet"
    if condition.scope is Scope.FLEET:
        truth, missing, samples = answer.fleet_truth(), answer.fleet_missing(), answer.samples
    elif target is None:
        return Truth.UNKNOWN, "the target is no longer in the inventory"
    else:
        truth, missing = answer.truth(target.instances), answer.missing(target.instances)
        samples = answer.about(target.instances)
    match truth:
        case Truth.UNKNOWN:
            return truth, "; ".join(missing)
        case Truth.TRUE:
            return truth, f"{condition.expr} holds ({samples[0].value:.6g})"
        case Truth.FALSE:
            return truth, f"{condition.expr} does not hold"
