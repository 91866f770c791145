"""The reports of ``jaxdnn run``, one module for each workflow.

A report runs its workflow with a given configuration, collects the figures that the document
prints, and remarks on errors in the document. Each module is a `jaxdnn.runs.workflow.Report`: it
has ``SEED``, ``Config``, ``Inputs`` and ``run(request) -> Result``. Start with `mnist_dnn`.
"""
