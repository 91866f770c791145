"""The lessons: the workflows of the five tutorials as pure functions, one module a family.

Each module has a mirror of the same name in ``reference_torch.workflows``, with the same functions
in the same order: read the two side by side. A lesson has a ``Config``, a frozen dataclass whose
floats are leaves of a pytree, so that they can be traced and vmapped. One that trains a network has
``init``, ``loss``, ``optimizer`` and ``fit(key, config, data)``, which calls `jaxdnn.training.fit`.

Lessons know nothing of commands, files, figures or devices: that is `jaxdnn.runs`. Start with
`mnist_dnn`, or with `gradient_descent` for the smallest loop.
"""
