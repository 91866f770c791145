"""The lessons in torch, one module for each of `jaxdnn.workflows`, with the same name.

The same functions stand in the same order on both sides, so that the two can be read side by side.
Each is written as torch's own tutorials are: modules that own their parameters, criterion objects,
loaders, and a loop in which ``backward`` fills gradients and ``step`` uses them. Start with
`two_layer_net`, which has no module yet, or with `mnist_dnn`.
"""
