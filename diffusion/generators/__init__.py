"""Programs that make images; `diffusion.synthetic` runs them in blocks.

    draws             where all chance comes from: a public seed, nothing else
    canvas            how many images of which size; coordinates of their pixels
    dead_leaves, strokes, spectra, scenes, random_networks     one kind each

Every kind is a function of a canvas and draws, returning float32 [n, c, h, w] in
[-1, 1]. None reads a file, a clock or the global random state.
"""
