"""Getting the files of image sets: from the net, from archives, and looking whether they are right.

The rest of :mod:`catchup_eval.datasets` reads what lies in the data root and never asks a network;
this folder puts files there and reads no image. Each works without the other.

sources.toml    where the files of each set are, their sizes and checksums; `sources.py` reads it
unpack.py       a tar or zip archive, into place only when it is whole and harmless
fetch.py        an image set: what lies in the data root (ok, absent, cut short, a web page), and
                what is missing downloaded and unpacked

A file itself comes by :mod:`catchup_eval.core.http`: what has come of it so far, requests for its
rest, mirrors, new tries, and the sentence where all fail. What bytes are (a web page, a foreign
file) is told by :mod:`catchup_eval.core.readers`, a checksum by :mod:`catchup_eval.core.files`.

No download library: pooch, which was tried, neither resumes nor, without a hash, notices a cut.
"""
