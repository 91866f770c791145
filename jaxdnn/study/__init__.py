"""The study: a static site that puts every lesson beside its torch mirror (``jaxdnn study``).

Nothing on a page is typed twice. `sources` cuts the two modules of a lesson into aligned pairs of
definitions; `gather` runs the lessons in both frameworks and measures what the pages show;
`examples` executes the short programs of the concept map and of the mistakes, and keeps what they
print. `curves` draws, `prose` turns docstrings and formulas into HTML, and `site` puts it all
together: start reading at `site.build`.

What takes too long for a build, or needs torch where it is missing, comes from ``recorded.json``,
which `recording.record` writes; the pages say which numbers were recorded, and when. Text that
belongs to no module is in ``text/``: notes between two definitions, equations, the glossary. The
programs are in ``concepts/``, ``gradients/`` and ``mistakes/``, with torch's in
``reference_torch/study/concepts/``: files to be run, not modules to be imported.

Only the command line imports this package.
"""
