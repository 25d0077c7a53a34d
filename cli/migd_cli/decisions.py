"""A decision in words: what was proposed, what it would cost and gain, and which gates it passed."""

from migd_cli.screen import Screen
from migd_core.api import CandidateView, DecisionView
from migd_core.units import format_bytes, format_duration

PASSED, STOPPED = "✓", "✗"


def decision_lines(view: DecisionView, candidates: list[CandidateView], screen: Screen) -> list[str]:
    """Return a decision with those of its candidates that matter here."""
    lines = screen.prose(
        f"Decision {view.cause}, {screen.clock(view.at)}, {screen.ago(view.at)}, {_author(view)}", "bold"
    )
    lines += screen.labelled("  ", view.text)
    for number, candidate in enumerate(view.candidates, start=1):
        if candidate in candidates:
            lines += ["", *candidate_lines(candidate, number, screen)]
    if (hidden := len(view.candidates) - len(candidates)) > 0:
        moves = "one more move was" if hidden == 1 else f"{hidden} more moves were"
        lines += ["", *screen.labelled("  ", f"{moves} considered: `migctl explain {view.cause}`", text_style="dim")]
    return lines


def candidate_lines(view: CandidateView, number: int, screen: Screen, *, is_plan: bool = False) -> list[str]:
    """Return one move that was considered: the verdict, the reason, the price, and each gate on a line."""
    label = f"  {number}. "
    indent = " " * len(label)
    style = "green" if view.accepted else "red"
    headline = f"{view.guest_name}: {view.source_name} → {view.target_name}, {verdict(view, is_plan=is_plan)}"
    lines = screen.labelled(label, headline, style="bold", text_style=style)
    lines += screen.labelled(indent, sentence(view.why))
    lines += screen.labelled(indent, price_sentence(view))
    for gate in view.gates:
        mark, gate_style = (PASSED, "green") if gate.passed else (STOPPED, "red")
        text_style = "" if gate.passed else "red"
        lines += screen.labelled(f"{indent}{mark} ", f"{gate.name}: {gate.text}", gate_style, text_style)
    return lines


def verdict(view: CandidateView, *, is_plan: bool = False) -> str:
    """Return what became of a candidate, in a few words."""
    if view.accepted:
        return "would be made" if is_plan else "accepted"
    stopping = [gate.name for gate in view.gates if not gate.passed]
    if stopping == ["phase"]:
        return "waits for a quiet phase"
    return f"stopped by {', '.join(stopping)}" if stopping else "refused"


def price_sentence(view: CandidateView) -> str:
    """Return what the move is expected to take, and what the jobs gain and lose by it."""
    if view.predicted_s is None:
        return "What it would take is not known."
    sentence = f"It is expected to take {format_duration(view.predicted_s)}{_between(view, 'total')}"
    if view.predicted_pause_s is not None:
        sentence += f", of which the guest stands still for {format_duration(view.predicted_pause_s)}"
        sentence += _between(view, "pause")
    if view.predicted_bytes is not None:
        sentence += f", and to send {format_bytes(view.predicted_bytes)}"
    if view.gain_s is not None and view.cost_s is not None:
        gain = "gain nothing" if view.gain_s == 0 else f"gain {format_duration(view.gain_s)}{_between(view, 'gain')}"
        if view.gain_s < 0:
            gain = f"lose {format_duration(-view.gain_s)} more afterwards"
        sentence += f". The jobs would {gain} and lose {format_duration(view.cost_s)}{_between(view, 'cost')}"
        sentence += " while it runs"
    return sentence + "."


def _between(view: CandidateView, what: str) -> str:
    """Return the range of a figure; where no dirty page was ever counted, that of what a move may take at all."""
    if view.least is not None and view.most is not None and what != "gain":
        ends = getattr(view.least, f"{what}_s"), getattr(view.most, f"{what}_s")
    elif (interval := getattr(view, what)) is not None:
        ends = interval.low, interval.high
    else:
        return ""
    low, high = (format_duration(each) for each in ends)
    return f" ({low} to {high})" if low != high else ""


def _author(view: DecisionView) -> str:
    return f"policy {view.policy}" if " " not in view.policy else view.policy


def sentence(text: str) -> str:
    """Return `text` as a sentence."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
