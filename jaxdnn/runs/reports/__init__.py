"""One module for each workflow: what ``jaxdnn run`` does with it.

A report runs its workflow at the given settings, collects the figures that the document prints, and
says where the document is not what it says. Each is a `jaxdnn.runs.workflow.Report`: ``SEED``,
``Config``, ``Inputs`` and ``run(request) -> Result``. Start with `mnist_dnn`.
"""
