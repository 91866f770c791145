"""torch's side of the study, the pages that ``jaxdnn study`` builds.

`figures` computes in torch the numbers that the tutorials print, which the pages show beside JAX's
own. The files in ``concepts/`` are not modules but short programs, one for each notion of the
concept map; the study executes them and shows what they print. Start with `figures.compute`.
"""
