"""Words of differential privacy and diffusion in plain words, each with its source."""

from __future__ import annotations

_DWORK = "Dwork and Roth 2014, doi:10.1561/0400000042"
_ABADI = "Abadi et al. 2016, arXiv:1607.00133"
_KARRAS = "Karras et al. 2022, arXiv:2206.00364"
_DPDM = "Dockhorn et al. 2023, arXiv:2210.09929"
_GDP = "Dong, Roth, Su 2022, arXiv:1905.02383"

TERMS: dict[str, tuple[str, str]] = {
    "epsilon": (
        "How much more likely any result can become because one record is there: by a "
        "factor of e^epsilon at most, up to delta. Smaller is more private; 0 is "
        "perfect. Always printed rounded up.",
        _DWORK,
    ),
    "delta": (
        "The probability with which the promise of epsilon may fail altogether. Keep "
        "it well below 1/n, or losing one whole record in n would be allowed.",
        _DWORK,
    ),
    "adjacency": (
        "Which two data sets the promise compares. add-or-remove-one: with and without "
        "one record. replace-one: the same number, one record exchanged; about twice "
        "as strict.",
        _DWORK,
    ),
    "unit": (
        "Whom the promise protects: one record, or one person with several records.",
        "NIST SP 800-226, section 2",
    ),
    "privacy budget": (
        "The epsilon and delta that everything done to the data may cost together.",
        _DWORK,
    ),
    "composition": (
        "What several mechanisms cost together. Counted jointly this is less than "
        "their sum. 'committed' means: exact for a plan fixed beforehand.",
        "Koskela et al. 2020, arXiv:1906.03049",
    ),
    "noise multiplier": (
        "Standard deviation of the noise over the most that one record can contribute. "
        "Larger is more private and less accurate. Not sigma, which belongs to "
        "diffusion.",
        _ABADI,
    ),
    "clipping": (
        "Pulling the gradient of each record down to length C, so that one record can "
        "contribute so much and no more.",
        _ABADI,
    ),
    "dp-sgd": (
        "Training in which each step draws a random batch, clips each record's "
        "gradient, sums, adds Gaussian noise and divides by a constant.",
        _ABADI,
    ),
    "poisson sampling": (
        "Each record is in a step's batch with one fixed probability, on its own coin. "
        "The batch size is random, and private.",
        "Mironov et al. 2019, arXiv:1908.10530",
    ),
    "sample rate": (
        "The probability with which a record is in the batch of a step.",
        _ABADI,
    ),
    "noise multiplicity": (
        "How many noisy versions of each record are averaged before the one clip. More "
        "costs time and no privacy.",
        _DPDM,
    ),
    "noise to signal": (
        "Length of a step's noise over the most its signal could have: noise "
        "multiplier times the root of the trained parameters, over the expected batch.",
        "privplan/summary.py",
    ),
    "privacy efficiency": (
        "The part of what a budget allows that a plan reaches, 0 to 100 %. Large "
        "batches raise it.",
        "Sander et al. 2023, arXiv:2210.03403",
    ),
    "feasibility": (
        "F: how far the signal of all records stands above the noise in all "
        "parameters, over a whole run. A guide to what can be learned, not a promise.",
        "privplan/efficiency.py",
    ),
    "epsilon alone": (
        "What one phase would cost if nothing else ran. These do not add up to the "
        "whole plan: together they cost less.",
        "privplan/summary.py",
    ),
    "given back": (
        "Epsilon that would be free again if only this phase were dropped. Less than "
        "its epsilon alone, because the noise of the others hides it too.",
        "privplan/summary.py",
    ),
    "so far": (
        "Epsilon of all phases up to this one, composed jointly.",
        "privplan/summary.py",
    ),
    "what if": (
        "The plan with one thing changed. Rows of the plan are estimates, good to a "
        "thousandth in most plans; --what-if plans them exactly.",
        "privplan/alternatives.py",
    ),
    "stage": (
        "An interval of sigma and what it learns from: coarse shapes, content, fine "
        "cleaning. Stages that read no record cost nothing.",
        "docs/stages.md",
    ),
    "accountant": (
        "What computes epsilon from the events of a plan. Ours gives a lower and an "
        "upper end; two libraries by others are asked the same.",
        "privplan/accounting.py",
    ),
    "second opinion": (
        "The epsilon of the same events by somebody else's accountant. A claim stands "
        "only if all of them have a value in common.",
        "privplan/opinions.py",
    ),
    "draw": (
        "One image going through the network once, forwards and back: what training "
        "costs in time. It says nothing about privacy.",
        "privplan/plan_size.py",
    ),
    "trained parameters": (
        "How many numbers private steps change. Noise lies on each of them, so fewer "
        "are easier to teach with the same budget.",
        "docs/fine-tuning.md",
    ),
    "edm": (
        "How the network's answer is scaled at each sigma, so that small and large "
        "noise are learned equally well. v, vp and ve are other ways.",
        _KARRAS,
    ),
    "anchor": (
        "One line that says how far a ledger has come. Kept where whoever trains "
        "cannot write, it shows later whether the ledger was rolled back.",
        "privplan/ledger_anchor.py",
    ),
    "intent": (
        "A ledger's entry that steps are about to begin, written before they do. From "
        "then on they count.",
        "privplan/ledger.py",
    ),
    "settle": (
        "A ledger's entry that steps were finished; of a run in a register, its end "
        "for good, which may give back what was never begun.",
        "privplan/ledger.py",
    ),
    "phase": (
        "Something that runs: a query, training on synthetic, public or private "
        "images. Phases are what is paid for.",
        "privplan/plan_phases.py",
    ),
    "sigma": (
        "Standard deviation of the noise that diffusion adds to an image, in data "
        "units. Large sigma is coarse shape, small is detail. It protects nobody.",
        _KARRAS,
    ),
    "ema": (
        "Averaged weights: a running mean of the weights over the steps. They are what "
        "is released and sampled from; averaging is post-processing.",
        _DPDM,
    ),
    "post-processing": (
        "Whatever is computed from a private result without the records. It costs no "
        "privacy, however often it is done.",
        _DWORK,
    ),
    "preview": (
        "Images drawn from the averaged weights during a run. Post-processing: it "
        "costs time and no privacy.",
        "diffusion/previews.py",
    ),
    "ledger": (
        "The append-only record of what was begun, written before it happens. What was "
        "begun counts as spent, also after a crash.",
        "privplan/ledger.py",
    ),
    "register": (
        "The budget of a data set over all its runs: what was granted, reserved and "
        "left.",
        "privplan/register.py",
    ),
    "reservation": (
        "A part of a data set's budget set aside for one run before it reads anything.",
        "privplan/register.py",
    ),
    "digest": (
        "SHA-256 of the content in canonical form: the same content has the same "
        "digest everywhere, and any change changes it.",
        "RFC 8785",
    ),
    "attestation": (
        "A signed statement. It proves who said it and that it was not edited; it does "
        "not prove that noise was drawn.",
        "DSSE v1, protocol.md",
    ),
    "renyi": (
        "An older way of counting, the default of many libraries. Never below the "
        "truth, and looser than what privplan claims.",
        "Mironov 2017, arXiv:1702.07476",
    ),
    "mu": (
        "One number for a whole privacy curve, by comparison with a Gaussian: telling "
        "two normals apart whose means differ by mu.",
        _GDP,
    ),
    "privacy profile": (
        "The smallest delta for every epsilon. One run has many pairs, all true.",
        "Balle, Barthe, Gaboardi 2018, arXiv:1807.01647",
    ),
    "trade-off curve": (
        "The most members that any attack can find, for each rate of false alarms.",
        _GDP,
    ),
    "false alarm": (
        "Somebody called a member of the data who is none. 'Found of 100' is what an "
        "attacker finds at most who accepts 1 false alarm in 100.",
        "Carlini et al. 2022, arXiv:2112.03570",
    ),
    "local": (
        "Computed from private records without being charged. For the screen of the "
        "data holder, never for a release.",
        "diffusion/local.py",
    ),
    "public": (
        "Declared to concern nobody who is to be protected, or computed from what is "
        "public already.",
        "NIST SP 800-226",
    ),
    "charged": (
        "Computed from private records with noise that the budget paid for.",
        "privplan/budget_lines.py",
    ),
}
"""Term in lower case: what it means, and where to read more."""
