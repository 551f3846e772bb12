"""What a screen says besides the terms: numbered steps, and other names of terms.

A person asks about the word that was printed. A column has room for "back*" where the
term is "given back", and a verification speaks of V13.
"""

from __future__ import annotations

_VERIFY = "privplan/verify.py"
_OFFICE = "privplan/oversight.py"
_LEDGER = "privplan/ledger_checks.py"

STEPS: dict[str, tuple[str, str]] = {
    "V1": ("Signature: the report is whole and a key you trust signed it.", _VERIFY),
    "V2": ("Schema: it is a privplan report, every field in place.", _VERIFY),
    "V3": (
        "Plan: the plan inside is sealed, and the plan.json beside it is that plan.",
        _VERIFY,
    ),
    "V4": (
        "Artefacts: the files the report names, such as the weights, are unchanged.",
        _VERIFY,
    ),
    "V5": (
        "Ledger: its chain is whole, it belongs to this plan, and the report saw it.",
        _VERIFY,
    ),
    "V6": (
        "Steps: no more was begun than planned, and the report says what the ledger "
        "says.",
        _VERIFY,
    ),
    "V7": (
        "Epsilon: computed anew from the events. The claim is not below it, the target "
        "not below the claim.",
        _VERIFY,
    ),
    "V8": ("Second opinion: other people's accountants agree, asked anew.", _VERIFY),
    "V9": (
        "Exclusions: all that the guarantee does not cover is named in the report.",
        _VERIFY,
    ),
    "V10": (
        "Verdict: the report makes a claim, and its sentence is what its numbers say.",
        _VERIFY,
    ),
    "V11": (
        "Signers: whoever signed may act in that role, and no key is revoked. Taken "
        "with --trust or --require.",
        _OFFICE,
    ),
    "V12": (
        "Register: the run was paid for before it began, by this register. Taken with "
        "--register.",
        _OFFICE,
    ),
    "V13": (
        "Anchor: the ledger still holds what an officer noted elsewhere, so it was not "
        "rolled back. Taken with --anchor.",
        _OFFICE,
    ),
    "V14": (
        "Policy: the run kept the rules of a policy, and began under what it says. "
        "Taken with --policy.",
        _OFFICE,
    ),
    "V15": (
        "Preflight: engine, noise and sampling were tried before the run, and were in "
        "their ranges; no audit that is named found a violation.",
        _VERIFY,
    ),
    "P1": (
        "Page: everything a report.html shows is what its signed report gives.",
        "privplan/render_report/comparing.py",
    ),
    "L1": ("Chain: every entry of the ledger follows from the one before it.", _LEDGER),
    "L2": ("Counts: no phase began more steps than it may.", _LEDGER),
    "L3": ("Plan: the ledger belongs to this plan, phase by phase.", _LEDGER),
    "L4": ("Anchor: the ledger still holds what was noted elsewhere.", _LEDGER),
}
"""Step of a verification: what it shows, and where it is done."""

ALIASES: dict[str, str] = {
    "add or remove one": "adjacency",
    "replace one": "adjacency",
    "zero out": "adjacency",
    "neighbours": "adjacency",
    "back": "given back",
    "clipping norm": "clipping",
    "cleaning": "stage",
    "coarse": "stage",
    "context": "stage",
    "learns from": "source",
    "draws": "draw",
    "noise draws per record": "noise multiplicity",
    "efficiency": "privacy efficiency",
    "eps": "epsilon",
    "eps alone": "epsilon alone",
    "expected batch": "expected batch size",
    "f": "feasibility",
    "f0": "feasibility",
    "found of 100": "false alarm",
    "members": "false alarm",
    "noise": "noise multiplier",
    "noise/signal": "noise to signal",
    "rate": "sample rate",
    "renyi dp": "renyi",
    "rdp": "renyi",
    "risk": "false alarm",
    "second opinions": "second opinion",
    "settled": "settle",
    "taken": "reservation",
    "left": "register",
    "granted": "register",
    "whole plan": "composition",
}
"""What is printed, without hyphens and stars: the term or field it stands for."""
