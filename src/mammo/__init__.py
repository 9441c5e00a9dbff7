"""Breast density from mammograms; the map of the library, from the ground up.

errors      what a user, or one file, did wrong
paths       every path of the pipeline
params      the loader of params.yaml
stage       how a stage runs: its inputs watched, every end with a message
dvc_yaml    what DVC will lock for a stage, read from dvc.yaml
fingerprint what a stage's inputs are when it starts, compared with when it ends
locks       one process at a time
renamed     keys of params.yaml that have another name now
storage     files and folders written whole, digests, the scratch store, sharded tensors
running     many files side by side: worker processes, or a cluster
cohort      who is studied: classes, the table of images, patients and labels, and the splits
datasets    one publisher's label table a module, read into rows of one image each
dicom       one file -> stored values: parsing, header, grey scale, codestreams, decoders, pictures
ingest      which images are believed: rules, duplicates, quarantine, keys, the summary
preprocess  stored values -> one tensor an image: breast, crop, resize, shards
phantom     the synthetic default data set: its plan, drawing, exposure, DICOM files
network     blocks, cut, weights, arithmetic: a backbone is an ordered list of blocks
embedding   what crosses the cut, computed once: augmented views, grey features, stores, sources
evaluation  metrics, collapse, the prediction table, the deployed path, the suffix as a file
heads       convex heads on tables of features: proportional odds, softmax, path, kernel
training    train a suffix: settings, loop, watch, resume, balancing, losses
comparison  arms side by side: intervals, paired tests, calibration, baselines, the page
figures     tables of curves and the pictures drawn from them
pages       pages to look at images with: contact sheets, the review
predict     the bundle, and what is done with one: predict, explain, evaluate, inspect, export
check       params.yaml, and the files and folders that it names, before anything runs
"""

import os

# GNU's OpenMP reads these when torch loads it, which every module does after this one. A thread
# that waits spins for some microseconds, which bridges the gaps of a training step, then sleeps,
# which leaves the core to a neighbour (docs/speed.md). No result depends on it.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
