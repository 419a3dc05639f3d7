"""Puts the files of datasets into the data root; the rest of `datasets` reads what lies there.

`sources.toml` lists the files of each dataset, `sources.py` reads it, `fetch.py` downloads (by
:mod:`catchup_eval.core.http`), compares and unpacks.

No download library: pooch, which was tried, neither resumes nor, without a hash, notices a cut.
"""
