"""Readers: one file per form in which images come in; `diffusion.data` picks one.

    image_set   what comes out: PrivateImages or PublicImages, and their digest
    records     what a reader is, what it may refuse, how large a file may claim to be
    idx, npz, folder, labels_csv, embedded_digits     the forms themselves

Edges: every reader touches files, and only reads.
"""
