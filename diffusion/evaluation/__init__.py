"""What samples are worth: classifiers, distances, copies, each with its label.

features      what an image is turned into before distances are taken
distances     Frechet, kernel, precision and recall between two sets of features
classifiers   trained on one set of images, tested on another
baseline      images from the plan's noisy Gaussian alone, without a network
copies        whether samples lie closer to training images than to unseen ones
outcomes      charged, public or local: what a number may be shown to
scores        all of it, for one set of samples
"""
