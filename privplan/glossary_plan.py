"""Every field of a plan in plain words, by the class that holds it."""

from __future__ import annotations

_EVENT = "What one step does to the records, as the accountant counts it."
_KIND = "Which kind of phase this is; it decides the other fields."
_STEPS = "How often it runs; the ledger allows so many and no more."
_RATE = "Learning rate of the optimiser in this phase."
_BATCH = "Images per step; exact, because nobody is protected here."
_NAME = "Name of the phase, as the ledger and the report call it."

PLAN_FIELDS: dict[str, dict[str, str]] = {
    "Plan": {
        "format": "Which version of the plan format this is.",
        "privplan_version": "The privplan that made the plan.",
        "budget": "What may be spent, and against which neighbour.",
        "data": "What is declared about the data; all of it becomes public.",
        "stages": "Which interval of sigma learns from which source.",
        "phases": "What runs, in order, and what each step does to the records.",
        "training": "Network, loss and optimiser; public constants.",
        "accounting": "What the whole plan costs, by our accountant and by others.",
        "digest": "SHA-256 of everything else here; ledger and report carry it.",
    },
    "PlanBudget": {
        "target_epsilon": "The epsilon that this plan may cost; never exceeded.",
        "target_delta": "The delta that goes with the target epsilon.",
        "earlier_epsilon": "Epsilon that was spent on these data before this plan.",
        "earlier_delta": "Delta that was spent on these data before this plan.",
        "adjacency": "Which two data sets count as neighbours.",
        "unit": "Whom the promise protects: a record, or a person.",
        "max_records_per_unit": "The most records that one unit may have.",
    },
    "PlanData": {
        "records": "n, of records or of units; public because somebody declared it.",
        "records_status": "Says that n is public by declaration: nothing protects it.",
        "channels": "1 for grey images, 3 for colour.",
        "height": "Of an image, in pixels.",
        "width": "Of an image, in pixels.",
        "classes": "How many labels there are.",
        "unit_column": "The column that says whose a record is; then n counts units.",
        "caption_column": "The column of captions, which stand in for classes.",
        "embedded": "'digits' where the data come with privplan, else nothing.",
    },
    "PlanStage": {
        "name": "coarse, context or cleaning: from high sigma to low.",
        "source": "What the stage learns from: private, synthetic, public, gaussian.",
        "sigma_min": "Lower end of its interval of sigma, in data units.",
        "sigma_max": "Upper end of its interval of sigma, in data units.",
    },
    "PrivatePhase": {
        "kind": _KIND,
        "name": _NAME,
        "steps": _STEPS,
        "event": _EVENT,
        "expected_batch_size": "Records per step, expected. The noisy sum is divided "
        "by it; the true size is random and private.",
        "noise_multiplicity": "Noisy versions of each record, averaged before the one "
        "clip; costs time, no privacy.",
        "max_grad_norm": "C: the length to which each record's gradient is pulled in.",
        "clipping": "fixed: C stays. normalised: every gradient gets length C. "
        "adaptive: C follows the median by a noisy count.",
        "adaptive": "How C follows the gradients; nothing where it does not.",
        "learning_rate": _RATE,
        "synthetic_weight": "Length of the synthetic gradient in a mixture, over C; 0 "
        "where nothing is mixed.",
    },
    "PlanAdaptive": {
        "quantile": "The part of the gradients that should be shorter than C.",
        "count_noise": "Standard deviation of the noise on the count of short "
        "gradients.",
        "learning_rate": "How fast C follows, per step.",
    },
    "QueryPhase": {
        "kind": _KIND,
        "name": _NAME,
        "steps": "How often it is asked; each time costs.",
        "event": _EVENT,
        "asks": "Which query: labels, count, mean, moments, scores, select.",
        "asked_as": "The text it was asked with.",
        "releases": "What becomes public by it.",
    },
    "GaussianPhase": {
        "kind": _KIND,
        "name": _NAME,
        "steps": "Always 1: one noisy sum.",
        "event": _EVENT,
        "centre": "Grey value from which the query measures; a public guess.",
        "radius": "Distance from the centre at which records are pulled in; public.",
        "shares": "How sensitivity is split: class sums, class counts, second moments.",
    },
    "PublicPhase": {
        "kind": _KIND,
        "name": _NAME,
        "steps": _STEPS,
        "event": "A no-op: no private record is touched, and the cost is 0.",
        "data_name": "What the public images are called.",
        "data_digest": "SHA-256 of their content; others are refused.",
        "declared_by": "Who says that they are public.",
        "batch_size": _BATCH,
        "learning_rate": _RATE,
    },
    "PretrainedPhase": {
        "kind": _KIND,
        "name": _NAME,
        "steps": _STEPS,
        "event": "A no-op: no private record is touched, and the cost is 0.",
        "checkpoint_digest": "SHA-256 of the checkpoint; another one is refused.",
        "lineage": "What it learned from before: public images, or drawn ones.",
    },
    "SyntheticPhase": {
        "kind": _KIND,
        "name": _NAME,
        "steps": _STEPS,
        "event": "A no-op: images are drawn by a program, and the cost is 0.",
        "generator": "Which program draws the images.",
        "seed": "Public seed of the images: the same plan, the same images.",
        "batch_size": _BATCH,
        "learning_rate": _RATE,
    },
    "PlanTraining": {
        "network": "Shape of the U-Net.",
        "parameterisation": "What the network is asked to predict: edm, v, vp, ve, or "
        "a correction of a Gaussian.",
        "sharing": "What the networks of the stages have in common.",
        "p_mean": "Mean of ln sigma in the loss.",
        "p_std": "Standard deviation of ln sigma in the loss.",
        "sigma_data": "Assumed standard deviation of the images, in data units.",
        "sigma_min": "Lowest sigma of training and sampling.",
        "sigma_max": "Highest sigma of training and sampling.",
        "mixture": "Shares of low, middle and high sigma in training, if any.",
        "flip": "Whether records are also shown mirrored, before the one clip.",
        "shift": "By how many pixels records are also moved, before the one clip.",
        "label_dropout": "How often the label is hidden, so that guidance works.",
        "tune": "Which parts of the network learn from records; the rest stays.",
        "ema_decay": "How slowly the averaged weights follow; near 1 is slow.",
        "latent": "The latent space that records are brought to, if any.",
        "text": "The encoder of the captions that records have instead of classes.",
        "optimiser": "adam, adamw or sgd; sees noisy gradients only.",
    },
    "ElsewherePhase": {
        "kind": _KIND,
        "name": _NAME,
        "steps": "Always 1: what happened before is not counted here.",
        "event": "A no-op: no private record is touched, and the cost is 0.",
        "data_name": "What the weights are said to have learned from.",
        "weights_digest": "SHA-256 of the weights as they came.",
        "declared_by": "Who says that what they learned from is public.",
    },
    "PlanBorrowed": {
        "library": "Which library the network is of.",
        "kind": "Its class there.",
        "config": "Its configuration in that library's words, as JSON.",
        "schedule": "Which timestep stands for which sigma.",
        "layers": "Every layer with parameters; the network is compared with them.",
        "seed": "Public seed of what the weights do not give.",
    },
    "PlanSchedule": {
        "timesteps": "How many there are.",
        "betas": "How the noise of a step grows: linear, scaled_linear, or cosine.",
        "beta_start": "Noise of the first step, where the rule has one.",
        "beta_end": "Noise of the last step, where the rule has one.",
        "prediction": "What the network predicts: the noise, v, or the image.",
    },
    "PlanLatent": {
        "autoencoder_digest": "Digest of the one autoencoder that may be used.",
        "kind": "kl, vq, or an AutoencoderKL of diffusers.",
        "scale": "What latents are multiplied by; from public images.",
        "image_channels": "1 for grey images, 3 for RGB.",
        "image_height": "Rows of an image, in pixels.",
        "image_width": "Columns of an image, in pixels.",
        "lineage": "What the autoencoder learned from, and who called it public.",
    },
    "PlanText": {
        "library": "Which library the encoder is of.",
        "kind": "Its class there.",
        "name": "What its folder was called.",
        "encoder_digest": "Digest of the one encoder and tokeniser that may be used.",
        "tokens": "How many tokens of a caption are read; the rest is not.",
        "width": "Numbers per token that the network is shown.",
        "lineage": "What the encoder learned from, and who called it public.",
    },
    "PlanNetwork": {
        "base_width": "Channels of the first level.",
        "width_multipliers": "Channels of each level over the first.",
        "blocks": "Residual blocks per level.",
        "attention_resolutions": "Image sides at which attention is used.",
        "patch": "Side of the squares of pixels that become one position.",
        "seed": "Public seed of the first weights.",
    },
    "PlanMixture": {
        "cuts": "The two values of sigma between low, middle and high.",
        "shares": "How often sigma is drawn low, middle and high.",
    },
    "PlanAccounting": {
        "epsilon_lower": "The true epsilon is not below this.",
        "epsilon_upper": "The true epsilon is not above this; it is what is claimed.",
        "method": "How epsilon was computed.",
        "composition": "'committed': exact for a plan that was fixed beforehand.",
        "second_opinions": "What other accountants say of the same events.",
    },
    "PlanOpinion": {
        "name": "Which accountant.",
        "version": "Which version of it.",
        "method": "How it counts.",
        "lower": "Lower end of its interval for epsilon.",
        "upper": "Upper end of its interval for epsilon.",
    },
}
"""Words by class and field; `tests/privplan/test_glossary.py` asks for all of them."""

EVENT_FIELDS: dict[str, str] = {
    "type": "Which mechanism: gaussian, poisson-sampled-gaussian, no-op, and so on.",
    "noise_multiplier": "Standard deviation of the noise over the sensitivity.",
    "sample_rate": "Probability of a record per step.",
    "count": "How often the inner event happens.",
    "event": "The inner event.",
    "events": "The inner events, composed.",
}
"""Words for the fields of an event in JSON."""
