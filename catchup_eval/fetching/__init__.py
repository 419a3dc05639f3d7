"""Getting the files of image sets: from the net, from archives, and looking whether they are right.

A folder beside `datasets/`, not inside it: `datasets` reads what lies in the data root and never
asks a network; this folder puts files there and reads no image. Each works without the other.

archives.toml   where the files of each set are, their sizes and checksums; `archives.py` reads it
recognise.py    what bytes are: a web page, a foreign file, a checksum
partial.py      what has come of a file so far, and what it belongs to
transfer.py     one request: the rest of a file
download.py     a file: mirrors, new tries, and the sentence where all fail
unpack.py       a tar or zip archive, into place only when it is whole and harmless
check.py        what lies in the data root: ok, absent, cut short, a web page
fetch.py        an image set: what is missing is downloaded and unpacked

No download library: pooch, which was tried, neither resumes nor, without a hash, notices a cut.
"""
