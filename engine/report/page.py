"""The report of a period as a page of its own: what does not work first, then the measures, and all that came back."""

from __future__ import annotations

from html import escape as escaped

from engine.core.learning.prevention import Effect, Proof
from engine.core.learning.remedies import Times
from engine.report import plots, words
from engine.report.period import Report, named
from engine.report.sheet import day, moment, sheet, span, table, tile

MANY = 60
"""So many rows of a table are shown; the first are what counts most."""
KINDS = {Effect.WORKS: "well", Effect.HARMFUL: "ailing", Effect.NONE: "doubtful", Effect.EARLY: "unsure"}


def page(report: Report) -> str:
    """Return the page as HTML."""
    title = f"Report, {day(report.since)} to {day(report.until)}"
    notes = "".join(f'<p class="caption">{escape(each)}</p>' for each in words.notes(report))
    head = f"<h1>{escape(words.headline(report))}</h1>{notes}"
    if report.began is None or report.empty:
        return sheet(title, (head, foot(report)))
    return sheet(
        title,
        (
            head,
            failing(report),
            tiles(report),
            "<h2>Faults by day</h2>",
            plots.days(report.daily, report.since),
            times(report),
            preventions(report),
            recurring(report),
            remedies(report),
            guards(report),
            advice(report),
            foot(report),
        ),
    )


def escape(text: str) -> str:
    """Return text as HTML shows it, what cannot be seen marked."""
    return escaped("".join(char if char.isprintable() else "�" for char in text))


def tiles(report: Report) -> str:
    """Return the four measures."""
    own, done = report.measures, report.prevented

    def of(name: str, row: Times) -> str:
        more = f"middle of {row.count}; worst {span(row.worst)}" if row.count else "never measured"
        return tile(span(row.median), name, more)

    proved = f"{done.none + done.harmful} without effect or harmful, {done.early} too early"
    good = False if done.none + done.harmful else True if done.works else None
    return (
        f'<div class="tiles">{of("to detect", own.detect)}{of("to localize", own.localize)}{of("to recover", own.recover)}'
        f"{tile(str(done.works), 'preventions proved', proved, good)}"
        f"{tile(f'{done.spared:.0f}' if done.works else '-', 'faults spared', 'by those that are proved')}</div>"
    )


def failing(report: Report) -> str:
    """Return what does not work."""
    if not report.failing:
        return ""
    rows = [
        (f"<b>{escape(each.name)}</b>", escape(each.kind), f'<span class="verdict no">{each.verdict}</span>',
         escape(each.sentence))
        for each in report.failing[:MANY]
    ]  # fmt: skip
    return f"<h2>Does not work</h2>{table(('what', 'kind', 'verdict', 'because'), rows)}"


def times(report: Report) -> str:
    """Return how long everything took."""
    own = report.measures
    rows = (("detect", own.detect), ("localize", own.localize), ("recover", own.recover), ("by itself", own.alone))
    drawn = plots.spread(rows)
    return f'<h2>Times</h2><p class="caption">A point a fault, the line in the middle of them; equal ways are equal factors.</p>{drawn}'


def preventions(report: Report) -> str:
    """Return what is known of each prevention."""
    if not report.preventions:
        return ""
    rows = [
        (
            f"<b>{'&ensp;' if each.part else ''}{escape(named(each))}</b><br><small>{escape(each.sentence)}</small>",
            f'<span class="verdict {KINDS[each.effect]}">{each.effect}</span>',
            plots.strip(each.times, span_of(each, report), report.until, each.at),
            plots.ratio(each.ratio, each.interval, KINDS[each.effect]),
        )
        for each in report.preventions[:MANY]
    ]
    heads = ("prevention", "verdict", "faults, and when it began", "rate since by rate before: less · same · more")
    caption = (
        "The bar is where the truth lies with 99 % confidence, for reports are read again and again; the dashed line is no effect. The run-up to a prevention is left out, "
        "for people act after a bad week, and a better one follows anyway."
    )
    return f'<h2>Preventions</h2><p class="caption">{caption}</p>{table(heads, rows)}'


def span_of(each: Proof, report: Report) -> float:
    """Return where the strip of a prevention begins: with its first fault, or with the period."""
    return min([*each.times, each.at, report.since])


def recurring(report: Report) -> str:
    """Return what came back."""
    if not report.recurring:
        return ""
    rows = [
        (
            f"<b>{escape(each.name)}</b><br><small>{escape('; '.join(habit.sentence for habit in each.habits))}</small>",
            plots.strip(each.times, report.since, report.until),
            str(each.count),
            words.rate(each),
            words.every(each),
            escape(words.causes(each)),
            words.length(each.down),
        )
        for each in report.recurring[:MANY]
    ]
    heads = ("fault", "when", "times", "in 30 days with data", "every", "causes", "lasted")
    return f"<h2>What came back</h2>{table(heads, rows, frozenset({2, 3, 4, 6}))}"


def remedies(report: Report) -> str:
    """Return how remedies did."""
    if not report.remedies:
        return ""
    rows = [
        (
            f"<b>{escape(each.remedy)}</b><br><small>{escape(each.runbook)}</small>",
            f'<span class="verdict {"no" if not each.works else "unsure" if each.verdict == "too early" else "well"}">{each.verdict}</span>',
            plots.share(each.rate, each.interval, each.works),
            words.healing(each),
            span(each.seconds),
        )
        for each in report.remedies[:MANY]
    ]
    heads = ("remedy", "verdict", "healed, none to all", "healed", "takes")
    return f"<h2>Remedies</h2>{table(heads, rows, frozenset({3, 4}))}"


def guards(report: Report) -> str:
    """Return which guards held."""
    if not report.guards:
        return ""
    rows = [
        (f"<b>{escape(words.guard(each))}</b><br><small>{escape(each.sentence)}</small>", str(each.incidents),
         str(each.targets), str(each.healed_alone), str(each.remedied))
        for each in report.guards[:MANY]
    ]  # fmt: skip
    heads = ("guard, and what it said last", "incidents held", "hosts", "healed alone after", "remedied after")
    return f"<h2>Guards that held</h2>{table(heads, rows, frozenset({1, 2, 3, 4}))}"


def advice(report: Report) -> str:
    """Return what could be done."""
    if not report.advice:
        return ""
    rows = [
        (f"<b>{escape(each.resource)} of {escape(each.target)}</b>", f"{escape(each.runbook)}<br><small>{escape(each.summary)}</small>",
         escape(each.mode or "not in this project"), escape(each.sentence))
        for each in report.advice[:MANY]
    ]  # fmt: skip
    heads = ("against", "prevention", "today", "worth")
    lead = '<p class="caption">To be reviewed by a person: <code>mendbook report --advice DIR</code> writes them as runbooks in shadow. Nothing is enabled by itself.</p>'
    return f"<h2>Advice</h2>{lead}{table(heads, rows)}"


def foot(report: Report) -> str:
    """Return what the numbers are."""
    return (
        f"<footer>As of {moment(report.until)}. Intervals are exact: at 95 % of rates by Garwood (1936) and of shares by Clopper and Pearson "
        "(1934), at 99 % of rates before and after by Przyborowski and Wilenski (1940), widened where faults come in bursts. Habits are "
        "told where chance explains them in less than one of twenty reports (Rayleigh's test, Holm's correction).</footer>"
    )
