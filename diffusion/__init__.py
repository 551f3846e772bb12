"""What touches images and the accelerator: the second of the three houses.

    randomness, noise_levels, ema, network        floor 0
    poisson, per_example, privatize               the three places privacy is made
    precond, loss, sampler, synthetic             the diffusion model
    data                                          images in; private or public by type
    trainer, checkpoint                           one step; what a run needs to go on
    enforce, phases, run                          nothing runs that was not reserved
    sampling, evaluate                            images out, and what they are worth

Start with `poisson`, `per_example` and `privatize`, then `trainer` and `run`.
"""
