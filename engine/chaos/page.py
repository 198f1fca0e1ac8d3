"""The page of a scorecard: everything at a glance first, then each experiment with its timelines. One file, nothing to fetch."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from engine.chaos.drawing import large, ruler, scale_of, small
from engine.chaos.experiment import Ending
from engine.chaos.figures import Figures, Proof, Times, figures, proofs, recovery
from engine.chaos.result import Result
from engine.chaos.scorecard import Card, Quiet
from engine.report.sheet import counted, day, moment, sheet, span, tile

LEGEND = (
    ('<line class="zero" x1="9" x2="9" y1="0" y2="14"/>', "fault injected"),
    ('<rect class="ill" x="0" y="2" width="18" height="10" rx="3"/>', "ill, seen from outside"),
    ('<path class="mark alert" transform="translate(9,7)" d="M-5,4 L0,-5 L5,4 Z"/>', "alert"),
    ('<path class="mark incident" transform="translate(9,7)" d="M-5,0 L0,-5 L5,0 L0,5 Z"/>', "incident"),
    ('<circle class="mark decision" cx="9" cy="7" r="4"/>', "decision"),
    ('<circle class="hold" cx="9" cy="7" r="3"/>', "held back"),
    ('<rect class="run" x="0" y="3" width="18" height="8" rx="3"/>', "playbook"),
    ('<path class="mark verified" transform="translate(9,7)" d="M-5,0 L-1.5,4 L5,-4"/>', "verified"),
    ('<line class="end" x1="9" x2="9" y1="0" y2="14"/>', "undone"),
)


def page(card: Card) -> str:
    """Return the page as HTML."""
    results = card.results
    by: dict[str, list[Result]] = {}
    for result in results:
        by.setdefault(result.experiment, []).append(result)
    worst_first = sorted(by.items(), key=lambda each: (all(result.passed for result in each[1]), each[0]))
    total = figures(results)
    parts = [
        head(results, total),
        tiles(total) if results else "",
        overview(sorted(by.items()))
        if results
        else '<p class="lead">No drill has run yet: <code>mendbook drill run --all</code>.</p>',
        quiet(card.quiets) if card.quiets else "",
        runbooks(proofs(results)) if results else "",
        f"<h2>Drill by drill</h2>{legend()}" if results else "",
        *(article(name, ran) for name, ran in worst_first),
        foot(results),
    ]
    title = f"Drills: {total.passed} of {total.drills} passed"
    return sheet(title, parts)


def head(results: Sequence[Result], total: Figures) -> str:
    """Return the headline: what came of it, over what, and when."""
    if not results:
        return "<h1>Drills</h1>"
    kinds = len({result.experiment for result in results})
    first, last = day(min(each.at for each in results)), day(max(each.at for each in results))
    when = first if first == last else f"{first} to {last}"
    line = (
        "Every fault was healed, or rightly left to a person."
        if total.passed == total.drills
        else f"{total.drills - total.passed} were not handled as they are to be."
    )
    said = f"{counted(total.drills, 'drill')} of {counted(kinds, 'experiment')}, {when}. Each breaks a node of the lab for real, while money moves through it; the engine is told nothing."
    return f"<h1>{total.passed} of {total.drills} drills passed</h1><p class='lead'>{line} {said}</p>"


def tiles(total: Figures) -> str:
    """Return the four measures, and what it cost."""
    share = f"{100 * total.first / total.named:.0f}%" if total.named else "-"
    cells = [
        tile(span(total.detected.median), "to detect", worst(total.detected)),
        tile(
            share,
            "first suspect right",
            f"{total.first} of {total.named}; of three {total.third}",
            total.first == total.named,
        ),
        tile(span(total.recovered.median), "to recover", worst(total.recovered)),
        tile(
            str(total.lost),
            "rows lost",
            f"of {total.acknowledged:,} acknowledged" + (f"; {total.unknown} uncounted" if total.unknown else ""),
            total.lost == 0,
        ),
        tile(str(total.acts), "wrong acts", f"{total.false_alarms} false alarms", total.acts == 0),
        tile(
            f"{100 * total.failed / total.requests:.1f}%" if total.requests else "-",
            "requests failed",
            f"{total.failed:,} of {total.requests:,}",
        ),
    ]
    return f'<div class="tiles">{"".join(cells)}</div>'


def overview(by: Sequence[tuple[str, Sequence[Result]]]) -> str:
    """Return the table of all experiments, times drawn on one scale."""
    longest = (
        max(
            (
                max(recovery(found) or 0.0, found.detected or 0.0)
                for _, ran in by
                for each in ran
                for found in each.found
            ),
            default=1.0,
        )
        or 1.0
    )
    rows = []
    for name, ran in by:
        own = figures(ran)
        dots = "".join(
            f'<span class="dot{"" if each.passed else " no"}" title="#{each.repeat} {"passed" if each.passed else "; ".join(map(escape, each.failures))}"></span>'
            for each in ran
        )
        right = f"{own.first}/{own.named}" if own.named else "-"
        lost = own.lost if not own.unknown else "?"
        rows.append(
            f'<tr><td>{link(name)}</td><td class="dots">{dots}</td><td>{spread(ran, longest)}</td>'
            f'<td class="r">{span(own.detected.median)}</td><td class="r{bad(own.first < own.named)}">{right}</td><td class="r">{span(own.recovered.median)}</td>'
            f'<td class="r">{span(own.recovered.worst)}</td><td class="r">{own.failed:,}</td><td class="r{bad(bool(own.lost))}">{lost}</td><td class="r{bad(own.acts > 0)}">{own.acts}</td></tr>'
        )
    heads = (
        "<th>experiment</th><th>drills</th>"
        f'<th>detected, recovered <span class="num">(0 to {span(longest)})</span></th><th class="r">detected</th><th class="r">right</th>'
        '<th class="r">recovered</th><th class="r">worst</th><th class="r">failed</th><th class="r">lost</th><th class="r">wrong acts</th>'
    )
    return f'<h2>At a glance</h2><div class="wrap"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def bad(wrong: bool) -> str:
    """Return what makes a cell stand out."""
    return " bad" if wrong else ""


def spread(ran: Sequence[Result], longest: float) -> str:
    """Return the times of all repeats as points on a line: detected, and recovered."""
    parts = ['<line class="rail" x1="4" x2="246" y1="13" y2="13"/>']
    for each in ran:
        for found in each.found:
            for at, kind in ((found.detected, " detected"), (recovery(found), "")):
                if at is not None:
                    parts.append(
                        f'<circle class="pin{kind}" cx="{4 + 242 * min(1.0, at / longest):.1f}" cy="13" r="4.5" opacity=".75"><title>#{each.repeat}{kind or " recovered"} after {span(at)}</title></circle>'
                    )
    return (
        f'<svg class="spread" viewBox="0 0 250 26" role="img" aria-label="times of all repeats">{"".join(parts)}</svg>'
    )


def quiet(quiets: Sequence[Quiet]) -> str:
    """Return the times in which nothing was injected."""
    rows = "".join(
        f'<tr><td>{day(each.at)}</td><td class="r">{span(each.seconds)}</td><td class="r">{", ".join(map(str, each.rates))}</td>'
        f'<td class="r">{each.requests:,}</td><td class="r">{each.failed:,}</td><td class="r{bad(bool(each.incidents))}">{len(each.incidents)}</td>'
        f'<td class="r{bad(bool(each.started))}">{len(each.started)}</td></tr>'
        for each in quiets
    )
    heads = '<th>quiet time</th><th class="r">length</th><th class="r">transfers a second</th><th class="r">requests</th><th class="r">failed</th><th class="r">incidents</th><th class="r">remedies started</th>'
    return f'<h2>Nothing injected, nothing started</h2><div class="wrap"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def runbooks(proved: Sequence[Proof]) -> str:
    """Return when each runbook was last proved, and on what."""
    if not proved:
        return ""
    rows = "".join(
        f"<tr><td>{escape(each.runbook)}</td><td>{day(each.at)}</td><td>{', '.join(map(link, each.experiments))}</td>"
        f'<td class="r">{each.passed} of {each.drills}</td><td class="r">{escape(each.version)}</td></tr>'
        for each in proved
    )
    heads = '<th>runbook</th><th>last proved</th><th>on</th><th class="r">drills passed</th><th class="r">version</th>'
    return f'<h2>Runbooks, proved</h2><div class="wrap"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def link(name: str) -> str:
    """Return an experiment's name as a link to it."""
    return f'<a href="#{escape(name)}">{escape(name)}</a>'


def legend() -> str:
    """Return what the signs mean."""
    signs = "".join(
        f'<span><svg viewBox="0 0 18 14" aria-hidden="true">{sign}</svg>{text}</span>' for sign, text in LEGEND
    )
    return f'<div class="legend">{signs}</div>'


def article(name: str, ran: Sequence[Result]) -> str:
    """Return one experiment: its facts, the most telling drill drawn large, and all repeats on one scale."""
    shown = telling(ran)
    passed = sum(each.passed for each in ran)
    verdict = f'<span class="verdict{"" if passed == len(ran) else " no"}">{passed} of {len(ran)} passed</span>'
    why = "".join(f"<li>#{each.repeat}: {escape(failure)}</li>" for each in ran for failure in each.failures)
    repeats = ""
    if len(ran) > 1:
        scale = scale_of(ran)
        lines = "".join(small(each, scale) for each in ran)
        repeats = f'<p class="caption">All repeats, on one scale</p><div class="figure">{lines}{ruler(scale)}</div>'
    caption = f"Repeat {shown.repeat}, {moment(shown.at)}" + ("" if len(ran) == 1 else ", the most telling one")
    return (
        f'<article id="{escape(name)}"><header><h3>{escape(name)}</h3><span class="sum">{escape(shown.summary)}</span>{verdict}</header>'
        f'{facts(ran)}{f"<ul class=why>{why}</ul>" if why else ""}<p class="caption">{caption}</p>'
        f'<div class="figure">{large(shown, scale_of([shown]))}</div>{repeats}</article>'
    )


def telling(ran: Sequence[Result]) -> Result:
    """Return the drill that is worth the most room: the last that failed, or else the slowest."""
    failed = [each for each in ran if not each.passed]
    return (
        failed[-1]
        if failed
        else max(ran, key=lambda each: max((recovery(found) or 0.0 for found in each.found), default=0.0))
    )


def facts(ran: Sequence[Result]) -> str:
    """Return what is true of an experiment, and its times."""
    own = figures(ran)
    truths = dict.fromkeys(f"{found.resource}: {found.culprit}" for each in ran for found in each.found)
    expected = dict.fromkeys(str(found.expect) for each in ran for found in each.found)
    books = dict.fromkeys(book for each in ran for found in each.found for book in found.runbooks)
    said = [("truth", "; ".join(truths)), ("to be", ", ".join(expected)), ("acted", ", ".join(books) or "nobody")]
    said += [("detected", pair(own.detected)), ("localized", pair(own.localized))]
    if str(Ending.HEALED) in expected:
        said += [("recovered", pair(own.recovered)), ("verified", pair(own.verified))]
    return f'<div class="facts">{"".join(f"<span>{name} <b>{escape(value)}</b></span>" for name, value in said)}</div>'


def foot(results: Sequence[Result]) -> str:
    """Return where the drills ran, and what they prove."""
    if not results:
        return ""
    last = max(results, key=lambda each: each.at)
    around = ", ".join(f"{name} {value}" for name, value in last.surroundings.items())
    commit = f" ({last.commit})" if last.commit else ""
    return f"<footer>mendbook {escape(last.version)}{escape(commit)}; {escape(around)}. Times count from the injection; recovered is as seen from outside.</footer>"


def pair(times: Times) -> str:
    """Return the median, and the worst where there are several."""
    if not times.count:
        return "-"
    return span(times.median) if times.count == 1 else f"{span(times.median)}, worst {span(times.worst)}"


def worst(times: Times) -> str:
    """Return the worst of some times."""
    return f"median; worst {span(times.worst)}" if times.count else "never"
