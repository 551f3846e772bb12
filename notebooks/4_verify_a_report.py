# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4. Verify somebody else's report
#
# A laboratory sends you a folder: a report, a ledger, the released weights. It also gave
# you its public key, by another route. You need no record, no network and no graphics card
# to check what it claims; verifying does not even load the training code.
#
# First, the laboratory's side, out of your sight.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

from diffusion.data import load_private
from diffusion.run import train
from privplan import PlanRequest, Wishes, keys, make_plan
from privplan.run_report import write_report

work = TemporaryDirectory()
folder = Path(work.name) / "sent"
plan = make_plan(PlanRequest(target_epsilon=2.0, wishes=Wishes(steps=20)))
train(plan, load_private("digits"), folder)
secret = Path(work.name) / "trainer.key"
trusted = keys.new_key(secret, role=keys.Role.TRAINER, passphrase=None)
_ = write_report(plan, folder, keys.load_key(secret))

# %% [markdown]
# ## Verify
# Each step recomputes one thing. A step that lacks a file is *not taken*, and says so.

# %%
from privplan.verify import verify

text = (folder / "report.json").read_bytes()
verdict = verify(text, folder=folder, trusted=[trusted])
verdict

# %% [markdown]
# What was verified, in short. Read *not covered* with care: these are ways to lose privacy
# beside this training, and the claim is silent about them.

# %%
verdict.predicate

# %% [markdown]
# The whole plan is inside the report, so you can draw what it spent, and when:

# %%
verdict.predicate.plan.plot()

# %% [markdown]
# The same as a page to print, with figures; `privplan report render` writes it too. Its
# first part is what an officer signs or refuses:

# %%
from IPython.display import Markdown

from privplan.render_report import html, markdown, page, source

shown = page.reported(source.read(text))
Markdown(markdown.write(shown).split("\n## ")[0])

# %% [markdown]
# With the report alone, and none of its files, less can be checked, but still the
# claim:

# %%
empty = Path(work.name) / "empty"
empty.mkdir()
verify(text, folder=empty, trusted=[trusted])

# %% [markdown]
# ## What tampering looks like
# **A smaller number.** Somebody edits the claim in the file. The signature was over the
# old bytes.

# %%
from privplan import dsse
from privplan.views import failures

envelope, payload = dsse.unpack(text)
smaller = payload.replace(b'"target":"2.0"', b'"target":"1.0"')
signatures = [signature.model_dump() for signature in envelope.signatures]
failures(verify(dsse.write(smaller, signatures), folder=folder, trusted=[trusted]))

# %% [markdown]
# **Another key.** They sign again with a key of their own. It is a good signature, of the
# wrong person. This is why the key must reach you by another route than the report.

# %%
from privplan import canonical, signing

other = Path(work.name) / "other.key"
stranger = keys.new_key(other, role=keys.Role.TRAINER, passphrase=None)
said = canonical.read_json(payload, what="statement")
said["predicate"]["claim"]["epsilon"]["upper"] = "0.5"
forged = signing.sign(said, keys.load_key(other))
failures(verify(forged, folder=folder, trusted=[trusted]))

# %% [markdown]
# **A lie that is signed.** Suppose you had trusted that key. The claim is recomputed from
# the plan's events all the same, and does not hold.

# %%
failures(verify(forged, folder=folder, trusted=[stranger]))

# %% [markdown]
# **Other weights.** One byte is added to the released model. The report names its digest.

# %%
model = folder / "checkpoint" / "model.safetensors"
whole = model.read_bytes()
model.write_bytes(whole + b"\0")
found = verify(text, folder=folder, trusted=[trusted])
model.write_bytes(whole)
failures(found)

# %% [markdown]
# **A ledger with room for more.** In its first entry, 20 steps become 99. Each entry holds
# the hash of the one before it.

# %%
edited = Path(work.name) / "edited.sqlite"
ledger_bytes = (folder / "ledger.sqlite").read_bytes()
edited.write_bytes(ledger_bytes.replace(b'"steps":20', b'"steps":99'))
failures(verify(text, folder=folder, trusted=[trusted], ledger_path=edited))

# %% [markdown]
# **A retouched page.** The printed page shows another epsilon than the signed report
# inside it. A page is made again and compared, letter by letter.

# %%
from privplan.render_report import comparing

written = html.write(shown)
retouched = written.replace("(2.0000, ", "(1.0000, ", 1)
found = comparing.extend(verdict, retouched.encode())
failures(found)
